//! The settings as arguments, which all commands share. They override environment and file.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{Color, MAX_HZ, parse_duration, parse_pss_budget, parse_share};

/// Settings that can also be in the configuration file.
#[derive(Debug, Clone, Default, Args)]
pub struct SettingArgs {
    /// Use this configuration file instead of the usual ones.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Group processes by this process-exporter configuration, then by the built-in rules.
    #[arg(long, global = true, value_name = "FILE")]
    pub process_exporter_config: Option<PathBuf>,
    /// Time between two snapshots, such as 500ms, 2s or a number of seconds [default: 1s].
    #[arg(short, long, global = true, value_parser = parse_duration)]
    pub interval: Option<Duration>,
    /// Stack samples per second and CPU, 1 to 1000; 0 turns sampling off [default: 99].
    #[arg(long, global = true, value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_HZ)))]
    pub hz: Option<u32>,
    /// Share of all CPUs that exact tracing may use [default: 2%].
    #[arg(long, global = true, value_name = "SHARE", value_parser = parse_share)]
    pub budget: Option<f64>,
    /// Time after which exact tracing ends by itself [default: 1m].
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_duration)]
    pub trace_limit: Option<Duration>,
    /// Share of one core that reading PSS may use; 0 turns it off [default: 1%].
    #[arg(long, global = true, value_name = "SHARE", value_parser = parse_pss_budget)]
    pub pss_budget: Option<f64>,
    /// Name of a theme, see themes/ [default: depends on the terminal].
    #[arg(long, global = true, value_name = "NAME")]
    pub theme: Option<String>,
    /// Colours.
    #[arg(long, global = true, value_enum)]
    pub color: Option<Color>,
    /// Draw with ASCII characters only.
    #[arg(long, global = true)]
    pub ascii: bool,
    /// Leave the mouse to the terminal.
    #[arg(long, global = true)]
    pub no_mouse: bool,
    /// Do not observe PHP.
    #[arg(long, global = true)]
    pub no_php: bool,
    /// Observe also PHP programs that belong to this user, besides those of root; can be given several times.
    #[arg(long, global = true, value_name = "USER")]
    pub php_owner: Vec<String>,
    /// Never send signals.
    #[arg(long, global = true)]
    pub read_only: bool,
    /// Show passwords, tokens and keys in URIs, command lines and messages, which are otherwise shown as `***`.
    #[arg(long, global = true)]
    pub show_secrets: bool,
}
