//! Themes: TOML files with a style per role, and how many colours the terminal has.
//! It owns parsing, overriding and the choice of the depth; which role goes where is the regions' matter.

use std::path::{Path, PathBuf};

use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;
use thiserror::Error;

use crate::system::small_file::{self, SmallFileError};

const BUILT_IN: [(&str, &str); 5] = [
    ("dark", include_str!("../../../themes/dark.toml")),
    ("light", include_str!("../../../themes/light.toml")),
    ("colorblind", include_str!("../../../themes/colorblind.toml")),
    ("16", include_str!("../../../themes/16.toml")),
    ("mono", include_str!("../../../themes/mono.toml")),
];

/// Why a theme cannot be used.
#[derive(Debug, Error)]
pub enum ThemeError {
    /// There is no such theme.
    #[error("no theme named {name:?}; choose one of {known}, or write {path}", path = .path.display())]
    Unknown {
        /// Name that was asked for.
        name: String,
        /// Names of the built-in themes.
        known: String,
        /// Where a theme of that name would be looked for.
        path: PathBuf,
    },
    /// The file is there but cannot be read.
    #[error("cannot read the theme {path}", path = .path.display())]
    Unreadable {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: SmallFileError,
    },
    /// The file is not a theme.
    #[error("theme {name}: {message}")]
    Invalid {
        /// Name or file.
        name: String,
        /// What is wrong, with line and key.
        message: String,
    },
}

/// How many colours the terminal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ColorDepth {
    /// None: bold, reverse and underline only.
    Mono,
    /// The 16 named colours.
    Sixteen,
    /// The 256 indexed colours.
    Indexed,
    /// 24 bits.
    Truecolor,
}

/// The built-in theme that suits a depth best.
pub(crate) fn default_name(depth: ColorDepth) -> &'static str {
    match depth {
        ColorDepth::Mono => "mono",
        ColorDepth::Sixteen => "16",
        ColorDepth::Indexed | ColorDepth::Truecolor => "dark",
    }
}

/// Names of the built-in themes.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// Loads `<user_dir>/themes/<name>.toml` if it is there, else the built-in theme of that name.
pub fn load(name: &str, user_dir: Option<&Path>, sudo_uid: Option<u32>) -> Result<Theme, ThemeError> {
    let path = user_dir.unwrap_or(Path::new("")).join("themes").join(format!("{name}.toml"));
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if user_dir.is_some() && plain {
        match small_file::read_text(&path, sudo_uid) {
            Ok(toml) => return parse(&path.display().to_string(), &toml),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(ThemeError::Unreadable { path, source }),
        }
    }
    match BUILT_IN.iter().find(|(known, _)| *known == name) {
        Some((name, toml)) => parse(name, toml),
        None => Err(ThemeError::Unknown { name: name.to_owned(), known: names().collect::<Vec<_>>().join(", "), path }),
    }
}

pub(super) fn parse(name: &str, toml: &str) -> Result<Theme, ThemeError> {
    toml::from_str(toml).map_err(|error| ThemeError::Invalid { name: name.to_owned(), message: error.to_string() })
}

/// A style per role. The background of the screen is always the terminal's own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Theme {
    text: Paint,
    muted: Paint,
    border: Paint,
    focus: Paint,
    selection: Paint,
    title: Paint,
    ok: Paint,
    warn: Paint,
    error: Paint,
    heat: Vec<Paint>,
    groups: Vec<Paint>,
    /// Without it frames are drawn with lines.
    #[serde(default)]
    flame: FlamePaints,
}

/// The table `[flame]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct FlamePaints {
    cpu: Vec<Paint>,
    wait: Vec<Paint>,
    more: Vec<Paint>,
    less: Vec<Paint>,
    other: Paint,
}

impl Theme {
    /// The styles for a terminal of that depth.
    pub fn palette(&self, depth: ColorDepth) -> Palette {
        let all = |paints: &[Paint]| paints.iter().map(|paint| paint.style(depth)).collect();
        Palette {
            text: self.text.style(depth),
            muted: self.muted.style(depth),
            border: self.border.style(depth),
            focus: self.focus.style(depth),
            selection: self.selection.style(depth),
            title: self.title.style(depth),
            ok: self.ok.style(depth),
            warn: self.warn.style(depth),
            error: self.error.style(depth),
            heat: all(&self.heat),
            groups: all(&self.groups),
            flame: FlameStyles {
                cpu: all(&self.flame.cpu),
                wait: all(&self.flame.wait),
                more: all(&self.flame.more),
                less: all(&self.flame.less),
                other: self.flame.other.style(depth),
            },
        }
    }
}

/// What the frame of a flame is painted for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum FlamePaint {
    /// CPU time; a number tells neighbours apart.
    Cpu(usize),
    /// Waiting.
    Wait(usize),
    /// More than in the span that is compared with; 0 to 1.
    More(f64),
    /// Less than there.
    Less(f64),
    /// It is not what is looked for.
    Other,
}

/// The styles of frames in a flame.
#[derive(Debug, Clone, Default, PartialEq)]
struct FlameStyles {
    cpu: Vec<Style>,
    wait: Vec<Style>,
    more: Vec<Style>,
    less: Vec<Style>,
    other: Style,
}

/// The styles of a theme at one depth.
#[derive(Debug, Clone, PartialEq)]
pub struct Palette {
    /// Plain text.
    pub text: Style,
    /// Text that matters less.
    pub muted: Style,
    /// Frames.
    pub border: Style,
    /// The frame of the focused pane and of the selected tile.
    pub focus: Style,
    /// The selected row.
    pub selection: Style,
    /// Titles and names.
    pub title: Style,
    /// All is well.
    pub ok: Style,
    /// Look here.
    pub warn: Style,
    /// Something is wrong.
    pub error: Style,
    heat: Vec<Style>,
    groups: Vec<Style>,
    flame: FlameStyles,
}

impl Palette {
    /// The style of a frame; `None` where the theme has no background for it, so that lines are needed to tell frames apart.
    pub(crate) fn flame(&self, paint: FlamePaint) -> Option<Style> {
        let flame = &self.flame;
        let step = |styles: &[Style], ratio: f64| {
            let last = styles.len().checked_sub(1)?;
            styles.get((ratio.clamp(0.0, 1.0) * last as f64).round() as usize).copied()
        };
        let turn = |styles: &[Style], number: usize| styles.get(number.checked_rem(styles.len())?).copied();
        let style = match paint {
            FlamePaint::Cpu(number) => turn(&flame.cpu, number),
            FlamePaint::Wait(number) => turn(&flame.wait, number),
            FlamePaint::More(ratio) => step(&flame.more, ratio),
            FlamePaint::Less(ratio) => step(&flame.less, ratio),
            FlamePaint::Other => Some(flame.other),
        };
        style.filter(|style| style.bg.is_some())
    }

    /// The colour of a ratio, 0 (cold) to 1 (hot).
    pub(crate) fn heat(&self, ratio: f64) -> Style {
        let last = self.heat.len().saturating_sub(1);
        let step = (ratio.clamp(0.0, 1.0) * last as f64).round() as usize;
        self.heat.get(step).copied().unwrap_or(self.text)
    }

    /// The colour of a group, the same for the same name at all times (FNV-1a).
    pub(crate) fn group(&self, name: &str) -> Style {
        let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        match self.groups.len() {
            0 => self.text,
            colours => self.groups[hash as usize % colours],
        }
    }
}

/// One style as written in a theme: up to three spellings of the colour (an index for 256 colours, `#rrggbb`, a name for 16),
/// the same for the background after `on`, and attributes: `255 #e6edf3 white on 24 #1d4e6b bold`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Paint {
    front: Spelling,
    back: Spelling,
    attributes: Modifier,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Spelling {
    index: Option<u8>,
    rgb: Option<(u8, u8, u8)>,
    name: Option<Color>,
}

impl Paint {
    fn style(&self, depth: ColorDepth) -> Style {
        let mut style = Style::new().add_modifier(self.attributes);
        style.fg = self.front.color(depth);
        style.bg = self.back.color(depth);
        style
    }
}

impl Spelling {
    fn color(self, depth: ColorDepth) -> Option<Color> {
        let rgb = self.rgb.map(|(r, g, b)| Color::Rgb(r, g, b));
        let index = self.index.map(Color::Indexed);
        match depth {
            ColorDepth::Mono => None,
            ColorDepth::Sixteen => self.name,
            ColorDepth::Indexed => index.or(self.name),
            ColorDepth::Truecolor => rgb.or(index).or(self.name),
        }
    }
}

impl TryFrom<String> for Paint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut paint = Self::default();
        let mut back = false;
        for word in text.split_whitespace() {
            let attribute = match word {
                "bold" => Some(Modifier::BOLD),
                "dim" => Some(Modifier::DIM),
                "italic" => Some(Modifier::ITALIC),
                "underline" => Some(Modifier::UNDERLINED),
                "reverse" => Some(Modifier::REVERSED),
                _ => None,
            };
            let spelling = if back { &mut paint.back } else { &mut paint.front };
            if let Some(attribute) = attribute {
                paint.attributes |= attribute;
            } else if word == "on" {
                back = true;
            } else if let Some(hex) = word.strip_prefix('#') {
                let rgb = (hex.len() == 6).then(|| u32::from_str_radix(hex, 16).ok()).flatten();
                let [_, r, g, b] = rgb.ok_or_else(|| format!("{word:?} is not a colour like #e6edf3"))?.to_be_bytes();
                spelling.rgb = Some((r, g, b));
            } else if let Ok(index) = word.parse() {
                spelling.index = Some(index);
            } else {
                spelling.name = Some(named(word).ok_or_else(|| {
                    format!("{word:?} is neither an index (0 to 255), #rrggbb, a colour of the 16, nor bold, dim, italic, underline, reverse, on")
                })?);
            }
        }
        Ok(paint)
    }
}

fn named(word: &str) -> Option<Color> {
    Some(match word {
        "default" => Color::Reset,
        "black" => Color::Black,
        "red" => Color::Red,
        "green" => Color::Green,
        "yellow" => Color::Yellow,
        "blue" => Color::Blue,
        "magenta" => Color::Magenta,
        "cyan" => Color::Cyan,
        "gray" => Color::Gray,
        "darkgray" => Color::DarkGray,
        "lightred" => Color::LightRed,
        "lightgreen" => Color::LightGreen,
        "lightyellow" => Color::LightYellow,
        "lightblue" => Color::LightBlue,
        "lightmagenta" => Color::LightMagenta,
        "lightcyan" => Color::LightCyan,
        "white" => Color::White,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_theme_loads() {
        for name in names() {
            let theme = load(name, None, None).unwrap();
            assert!(!theme.heat.is_empty() && !theme.groups.is_empty(), "{name}");
            let (palette, mono) = (theme.palette(ColorDepth::Sixteen), name == "mono");
            for paint in [FlamePaint::Cpu(7), FlamePaint::Wait(7), FlamePaint::More(0.5), FlamePaint::Less(1.0)] {
                assert_eq!(palette.flame(paint).is_none(), mono, "{name} {paint:?}");
            }
        }
    }

    #[test]
    fn a_paint_has_a_colour_for_each_depth() {
        let paint = Paint::try_from("75 #5fafff lightblue on 236 bold".to_owned()).unwrap();
        assert_eq!(paint.style(ColorDepth::Truecolor).fg, Some(Color::Rgb(0x5f, 0xaf, 0xff)));
        assert_eq!(paint.style(ColorDepth::Indexed).bg, Some(Color::Indexed(236)));
        assert_eq!(paint.style(ColorDepth::Sixteen), Style::new().fg(Color::LightBlue).add_modifier(Modifier::BOLD));
        assert_eq!(paint.style(ColorDepth::Mono), Style::new().add_modifier(Modifier::BOLD));
    }

    #[test]
    fn a_users_theme_comes_first_and_its_mistakes_are_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("themes")).unwrap();
        let file = dir.path().join("themes/dark.toml");
        std::fs::write(&file, include_str!("../../../themes/dark.toml").replacen("text = \"", "text = \"bluish ", 1))
            .unwrap();
        let message = load("dark", Some(dir.path()), None).unwrap_err().to_string();
        assert!(message.contains("dark.toml") && message.contains("bluish"), "{message}");
        assert!(load("nope", Some(dir.path()), None).unwrap_err().to_string().contains("colorblind"));
        assert!(load("../../etc/passwd", Some(dir.path()), None).is_err());
    }
}
