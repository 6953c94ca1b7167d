//! The text of the configuration file: TOML, and errors that say where and what was probably meant.

use std::{collections::BTreeMap, ops::Range, path::Path, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Spanned;

use super::{
    Color, ConfigError, KeySetting, MAX_HZ, parse_duration, parse_length, parse_pss_budget, parse_read_limit,
    parse_share, parse_size,
    rules::{self, GroupSettings},
};
use crate::words::nearest::nearest;

/// What the file sets.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub interval: Option<Duration>,
    pub hz: Option<u32>,
    pub budget: Option<f64>,
    pub trace_limit: Option<Duration>,
    pub theme: Option<String>,
    pub color: Option<Color>,
    pub ascii: Option<bool>,
    pub mouse: Option<bool>,
    pub php: Option<bool>,
    pub php_owners: Vec<String>,
    pub read_only: Option<bool>,
    pub show_secrets: Option<bool>,
    pub pss_budget: Option<f64>,
    pub pss_read_limit: Option<Duration>,
    pub past: Option<Duration>,
    pub past_size: Option<u64>,
    pub route_rules: Vec<String>,
    pub route_parameters: Option<Vec<String>>,
    pub fold: Option<Vec<String>>,
    pub folded: Option<bool>,
    pub groups: GroupSettings,
    pub keys: Vec<KeySetting>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Toml {
    #[serde(default, deserialize_with = "interval")]
    interval: Option<Duration>,
    #[serde(default, deserialize_with = "hz")]
    hz: Option<u32>,
    #[serde(default, deserialize_with = "budget")]
    budget: Option<f64>,
    #[serde(default, deserialize_with = "interval")]
    trace_limit: Option<Duration>,
    theme: Option<String>,
    color: Option<Color>,
    ascii: Option<bool>,
    mouse: Option<bool>,
    php: Option<bool>,
    #[serde(default)]
    php_owners: Vec<String>,
    read_only: Option<bool>,
    show_secrets: Option<bool>,
    #[serde(default, deserialize_with = "past")]
    past: Option<Duration>,
    #[serde(default, deserialize_with = "past_size")]
    past_size: Option<u64>,
    #[serde(default)]
    memory: Memory,
    #[serde(default)]
    routes: Routes,
    #[serde(default)]
    flame: Flame,
    #[serde(default)]
    groups: rules::Toml,
    #[serde(default)]
    keys: BTreeMap<Spanned<String>, String>,
}

/// The table `[memory]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    #[serde(default, deserialize_with = "pss_budget")]
    pss_budget: Option<f64>,
    #[serde(default, deserialize_with = "pss_read_limit")]
    pss_read_limit: Option<Duration>,
}

/// The table `[routes]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Routes {
    #[serde(default, deserialize_with = "route_rules")]
    rules: Vec<String>,
    parameters: Option<Vec<String>>,
}

/// The table `[flame]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Flame {
    fold: Option<Vec<String>>,
    folded: Option<bool>,
}

/// Reads the text of `path`.
pub(super) fn parse(path: &Path, text: &str) -> Result<Content, ConfigError> {
    let content: Toml = toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        ConfigError::Content {
            path: path.to_owned(),
            line: line_of(text, &span),
            message: explain(text, &span, error.message()),
        }
    })?;
    let keys = content.keys.into_iter().map(|(key, action)| KeySetting {
        line: line_of(text, &key.span()),
        key: key.into_inner(),
        action,
    });
    Ok(Content {
        interval: content.interval,
        hz: content.hz,
        budget: content.budget,
        trace_limit: content.trace_limit,
        theme: content.theme,
        color: content.color,
        ascii: content.ascii,
        mouse: content.mouse,
        php: content.php,
        php_owners: content.php_owners,
        read_only: content.read_only,
        show_secrets: content.show_secrets,
        pss_budget: content.memory.pss_budget,
        pss_read_limit: content.memory.pss_read_limit,
        past: content.past,
        past_size: content.past_size,
        route_rules: content.routes.rules,
        route_parameters: content.routes.parameters,
        fold: content.flame.fold,
        folded: content.flame.folded,
        groups: rules::read(content.groups, path, text)?,
        keys: keys.collect(),
    })
}

pub(super) fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.as_bytes().iter().take(span.start).filter(|&&byte| byte == b'\n').count() + 1
}

/// Adds the key, and the nearest known name for an unknown one.
fn explain(text: &str, span: &Range<usize>, message: &str) -> String {
    // serde words it: unknown field `x`, expected one of `a`, `b`
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let unknown_key = message.starts_with("unknown field");
    let suggestion = match quoted.split_first() {
        Some((typed, known)) if unknown_key || message.starts_with("unknown variant") => {
            match nearest(typed, known.iter().copied()) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => format!("; known are {}", known.join(", ")),
            }
        }
        _ => String::new(),
    };
    match quoted.first() {
        Some(key) if unknown_key => return format!("unknown key `{key}`{suggestion}"),
        Some(value) if !suggestion.is_empty() => {
            return with_key(text, span, &format!("unknown value `{value}`{suggestion}"));
        }
        _ => {}
    }
    with_key(text, span, message)
}

fn with_key(text: &str, span: &Range<usize>, message: &str) -> String {
    let line = text.lines().nth(line_of(text, span) - 1).unwrap_or_default();
    match line.split_once('=') {
        Some((key, _)) => format!("{}: {message}", key.trim()),
        None => message.to_owned(),
    }
}

fn route_rules<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let rules = Vec::<String>::deserialize(deserializer)?;
    match rules.iter().find(|rule| !rule.starts_with('/')) {
        Some(rule) => Err(D::Error::custom(format!("`{rule}` is no path: write it as /user/{{name}}"))),
        None => Ok(rules),
    }
}

fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a duration such as \"500ms\", \"2s\" or a number of seconds")]
    enum Interval {
        Text(String),
        Seconds(f64),
    }
    let text = match Interval::deserialize(deserializer)? {
        Interval::Text(text) => text,
        Interval::Seconds(seconds) => seconds.to_string(),
    };
    parse_duration(&text).map(Some).map_err(D::Error::custom)
}

fn budget<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    parse_share(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

fn pss_budget<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    parse_pss_budget(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

fn pss_read_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    parse_read_limit(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

fn past<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "0" {
        return Ok(Some(Duration::ZERO));
    }
    parse_length(&text).map(Some).map_err(D::Error::custom)
}

fn past_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    parse_size(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

fn hz<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let hz = u32::deserialize(deserializer)?;
    if hz <= MAX_HZ { Ok(Some(hz)) } else { Err(D::Error::custom(format!("must be between 0 and {MAX_HZ}"))) }
}
