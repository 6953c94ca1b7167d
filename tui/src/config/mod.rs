//! Settings: command line over environment over configuration file over defaults, merged in one place.
//! The file is only ever read. Errors name file, line, key and what was probably meant.

mod arguments;
mod environment;
mod file;
#[cfg(test)]
mod fuzz;
mod rules;
mod values;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::ValueEnum;
use serde::Deserialize;

use crate::{
    aggregate::php::PARAMETERS,
    analysis::flame::Fold,
    recording::RingLimits,
    system::{
        small_file::{self, SmallFileError},
        users::Users,
    },
    words::secrets::Secrets,
};

pub use self::{
    arguments::SettingArgs,
    environment::Environment,
    rules::{GroupSettings, RuleSetting},
    values::{
        MAX_INTERVAL, MIN_INTERVAL, parse_duration, parse_length, parse_pss_budget, parse_read_limit, parse_share,
        parse_size, parse_window,
    },
};

/// Most stack samples per second and CPU.
pub(crate) const MAX_HZ: u32 = 1000;

/// A file with all settings at their defaults, for `--default-config`.
pub const DEFAULT_FILE: &str = include_str!("default.toml");

/// Where users have their names.
const PASSWD: &str = "/etc/passwd";

/// Everything that can be set, after the merge.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Time between two snapshots.
    pub interval: Duration,
    /// Stack samples per second and CPU; 0 takes none.
    pub hz: u32,
    /// Share of all CPUs that exact tracing may take.
    pub budget: f64,
    /// Time after which exact tracing ends by itself.
    pub trace_limit: Duration,
    /// Theme by name; `None` lets the terminal decide.
    pub theme: Option<String>,
    /// Colours.
    pub color: Color,
    /// Draw with ASCII characters only.
    pub ascii: bool,
    /// Take the mouse.
    pub mouse: bool,
    /// Observe PHP.
    pub php: bool,
    /// Users whose PHP programs are observed, besides root's.
    pub php_owners: Vec<u32>,
    /// Send no signals; what said so.
    pub read_only: Option<ReadOnly>,
    /// Whether secrets are masked in all that is shown and recorded.
    pub secrets: Secrets,
    /// Share of one core that reading PSS may take; 0 reads none.
    pub pss_budget: f64,
    /// Time that reading the PSS of one process may take.
    pub pss_read_limit: Duration,
    /// How much of its session the screen keeps to go back to.
    pub past: RingLimits,
    /// What makes requests one route.
    pub routes: RouteSettings,
    /// Folders of libraries and frameworks, which can be one frame of the flame.
    pub fold: Fold,
    /// They are from the start.
    pub folded: bool,
    /// How processes are grouped.
    pub groups: GroupSettings,
    /// Key bindings that differ from the built-in ones.
    pub keys: Vec<KeySetting>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The user who typed sudo: also that user's files are read for root, where they are asked for.
    pub sudo_uid: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            hz: 99,
            budget: 0.02,
            trace_limit: Duration::from_secs(60),
            theme: None,
            color: Color::Auto,
            ascii: false,
            mouse: true,
            php: true,
            php_owners: Vec::new(),
            read_only: None,
            secrets: Secrets::Masked,
            pss_budget: 0.01,
            pss_read_limit: Duration::from_millis(20),
            past: RingLimits::default(),
            routes: RouteSettings::default(),
            fold: Fold::default(),
            folded: false,
            groups: GroupSettings::default(),
            keys: Vec::new(),
            file: None,
            sudo_uid: None,
        }
    }
}

/// What makes requests one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSettings {
    /// Paths with `{name}` for one part of them, and `{name*}` for all that follow.
    pub rules: Vec<String>,
    /// Parameters of the query that say what a script does.
    pub parameters: Vec<String>,
}

impl Default for RouteSettings {
    fn default() -> Self {
        Self { rules: Vec::new(), parameters: PARAMETERS.map(str::to_owned).to_vec() }
    }
}

/// What turned signals off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOnly {
    /// `--read-only`.
    Argument,
    /// `read_only` in the configuration file.
    File,
}

impl Settings {
    /// What turned signals off, in words; `None` where they can be sent.
    pub(crate) fn read_only(&self) -> Option<Arc<str>> {
        Some(match self.read_only? {
            ReadOnly::Argument => "--read-only".into(),
            ReadOnly::File => {
                let file = self.file.as_deref().unwrap_or(Path::new("the configuration"));
                format!("read_only = true in {}", file.display()).into()
            }
        })
    }

    /// The error that `[keys]` binds `key` in a way that does not work.
    pub(crate) fn key_error(&self, key: &str, problem: &dyn std::fmt::Display) -> ConfigError {
        let line = self.keys.iter().find(|binding| binding.key == key).map_or(1, |binding| binding.line);
        ConfigError::Content { path: self.file.clone().unwrap_or_default(), line, message: problem.to_string() }
    }
}

/// One line of `[keys]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySetting {
    /// Key, such as `ctrl+f`.
    pub key: String,
    /// Action, such as `help`.
    pub action: String,
    /// Line in the file, for error messages.
    pub line: usize,
}

/// Which colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
pub enum Color {
    /// As many as the terminal has.
    #[serde(rename = "auto")]
    Auto,
    /// As many as the terminal has, even if NO_COLOR is set.
    #[serde(rename = "always")]
    Always,
    /// No colours.
    #[serde(rename = "never")]
    Never,
    /// The 16 basic colours.
    #[serde(rename = "16")]
    #[value(name = "16")]
    Ansi16,
    /// The 256 colours of xterm.
    #[serde(rename = "256")]
    #[value(name = "256")]
    Ansi256,
    /// 24-bit colours.
    #[serde(rename = "truecolor")]
    #[value(name = "truecolor")]
    Truecolor,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SmallFileError,
    },
    /// Something in the file is wrong.
    #[error("{path}:{line}: {message}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, what is wrong with it and what was probably meant.
        message: String,
    },
    /// A user is named that is not known.
    #[error("php_owners: there is no user `{0}` in {PASSWD}; a number is taken for a user id")]
    Owner(String),
}

impl ConfigError {
    /// The file is there, but must not be read.
    pub(crate) fn is_permission(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// Finds and reads the configuration file and merges all sources.
///
/// # Errors
/// [`ConfigError`] when a file that was asked for is missing, or any file is unreadable or wrong.
pub fn load(arguments: &SettingArgs, environment: &Environment) -> Result<Settings, ConfigError> {
    let asked_for = arguments.config.clone().or_else(|| environment.config.clone().map(PathBuf::from));
    let usual = || environment.usual_files().into_iter().find(|path| path.exists());
    let Some(path) = asked_for.or_else(usual) else {
        return merge(arguments, environment, file::Content::default(), None);
    };
    let text = small_file::read_text(&path, environment.sudo_uid)
        .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
    let content = file::parse(&path, &text)?;
    merge(arguments, environment, content, Some(path))
}

fn merge(
    arguments: &SettingArgs,
    environment: &Environment,
    content: file::Content,
    file: Option<PathBuf>,
) -> Result<Settings, ConfigError> {
    let default = Settings::default();
    let no_color = environment.no_color.then_some(Color::Never);
    Ok(Settings {
        interval: arguments.interval.or(content.interval).unwrap_or(default.interval),
        hz: arguments.hz.or(content.hz).unwrap_or(default.hz),
        budget: arguments.budget.or(content.budget).unwrap_or(default.budget),
        trace_limit: arguments.trace_limit.or(content.trace_limit).unwrap_or(default.trace_limit),
        theme: arguments.theme.clone().or(content.theme),
        color: arguments.color.or(no_color).or(content.color).unwrap_or(default.color),
        ascii: arguments.ascii || content.ascii.unwrap_or(default.ascii),
        mouse: !arguments.no_mouse && content.mouse.unwrap_or(default.mouse),
        php: !arguments.no_php && content.php.unwrap_or(default.php),
        php_owners: user_ids(content.php_owners.iter().chain(&arguments.php_owner))?,
        read_only: if arguments.read_only {
            Some(ReadOnly::Argument)
        } else {
            content.read_only.unwrap_or(false).then_some(ReadOnly::File)
        },
        secrets: if arguments.show_secrets || content.show_secrets.unwrap_or(false) {
            Secrets::Shown
        } else {
            default.secrets
        },
        pss_budget: arguments.pss_budget.or(content.pss_budget).unwrap_or(default.pss_budget),
        pss_read_limit: content.pss_read_limit.unwrap_or(default.pss_read_limit),
        past: RingLimits {
            span: content.past.unwrap_or(default.past.span),
            bytes: content.past_size.unwrap_or(default.past.bytes),
        },
        routes: RouteSettings {
            rules: content.route_rules,
            parameters: content.route_parameters.unwrap_or(default.routes.parameters),
        },
        fold: content.fold.map_or(default.fold, |rules| Fold::new(rules.iter().map(String::as_str))),
        folded: content.folded.unwrap_or(default.folded),
        groups: GroupSettings {
            import: arguments.process_exporter_config.clone().or(content.groups.import),
            ..content.groups
        },
        keys: content.keys,
        file,
        sudo_uid: environment.sudo_uid,
    })
}

fn user_ids<'a>(names: impl Iterator<Item = &'a String>) -> Result<Vec<u32>, ConfigError> {
    let mut names = names.peekable();
    if names.peek().is_none() {
        return Ok(Vec::new());
    }
    let users = Users::read(PASSWD.into());
    names.map(|name| users.uid(name).ok_or_else(|| ConfigError::Owner(name.clone()))).collect()
}

#[cfg(test)]
mod tests;
