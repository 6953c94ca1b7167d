//! Themes, made of the built-in ones by chance.

use super::theme;
use crate::fuzz::Target;

#[test]
fn any_theme_is_read_or_refused() {
    let target = Target {
        name: "theme",
        longest: 4096,
        memory: 1 << 20,
        words: &["heat = [", "groups = []\n", "\"#ff8700\"", "\"bold\"", "color256 = ", "=", "[", "{"],
    };
    target.run(|bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let Ok(theme) = theme::parse("own", text) else { return };
        for depth in [
            theme::ColorDepth::Mono,
            theme::ColorDepth::Sixteen,
            theme::ColorDepth::Indexed,
            theme::ColorDepth::Truecolor,
        ] {
            let palette = theme.palette(depth);
            for ratio in [0.0, 0.5, 1.0, 7.0, -1.0, f64::NAN, f64::INFINITY] {
                palette.heat(ratio);
            }
            palette.group("php-fpm: www");
        }
    });
}
