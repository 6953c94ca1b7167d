//! How many colours are drawn: the setting, else what the terminal reports.

use crate::{config::Color, ui::theme::ColorDepth};

/// The depth for a setting, in which `NO_COLOR` has had its say. `lookup` reads an environment variable.
pub(crate) fn depth(color: Color, lookup: impl Fn(&str) -> Option<String>) -> ColorDepth {
    match color {
        Color::Auto => detected(lookup),
        Color::Always => detected(lookup).max(ColorDepth::Sixteen),
        Color::Never => ColorDepth::Mono,
        Color::Ansi16 => ColorDepth::Sixteen,
        Color::Ansi256 => ColorDepth::Indexed,
        Color::Truecolor => ColorDepth::Truecolor,
    }
}

fn detected(lookup: impl Fn(&str) -> Option<String>) -> ColorDepth {
    let colorterm = lookup("COLORTERM").unwrap_or_default();
    let term = lookup("TERM").unwrap_or_default();
    if term == "dumb" {
        ColorDepth::Mono
    } else if matches!(colorterm.as_str(), "truecolor" | "24bit") || term.ends_with("-direct") {
        ColorDepth::Truecolor
    } else if term.contains("256color") {
        ColorDepth::Indexed
    } else {
        ColorDepth::Sixteen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn the_depth_follows_the_setting_then_the_terminal() {
        let term = [("TERM", "xterm-256color"), ("COLORTERM", "truecolor")];
        assert_eq!(depth(Color::Ansi16, env(&term)), ColorDepth::Sixteen);
        assert_eq!(depth(Color::Never, env(&term)), ColorDepth::Mono);
        assert_eq!(depth(Color::Auto, env(&term)), ColorDepth::Truecolor);
        assert_eq!(depth(Color::Auto, env(&term[..1])), ColorDepth::Indexed);
        assert_eq!(depth(Color::Auto, env(&[("TERM", "linux")])), ColorDepth::Sixteen);
        assert_eq!(depth(Color::Auto, env(&[("TERM", "xterm-direct")])), ColorDepth::Truecolor);
        assert_eq!(depth(Color::Auto, env(&[("TERM", "dumb")])), ColorDepth::Mono);
        assert_eq!(depth(Color::Always, env(&[("TERM", "dumb")])), ColorDepth::Sixteen);
    }
}
