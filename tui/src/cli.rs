//! The command line. Its settings override the configuration file, see `config`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::{
    analysis::difference::Limit,
    config::{SettingArgs, parse_duration, parse_length, parse_size, parse_window},
    exit,
    recording::Tiers,
    trigger::{self, Trigger},
    words::times::{Between, When},
};

/// Memory per process group and hot PHP code, live on one screen.
///
/// Without a command it opens the live screen. If the output is not a terminal, it prints one table.
/// Sizes are in units of 1024 bytes.
#[derive(Debug, Parser)]
#[command(name = "tusktop", version, disable_help_subcommand = true, after_long_help = exit::SUMMARY)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings for all commands.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// What the live screen is compared with.
    #[command(flatten)]
    pub live: LiveArgs,
    /// Print a configuration file with all settings and their defaults, and exit.
    #[arg(long)]
    pub default_config: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open the live screen (the default).
    Live(LiveArgs),
    /// Print one snapshot and exit; with a command, run it and report on it.
    Snap(SnapArgs),
    /// Record to a file, without the screen.
    #[command(after_long_help = trigger::GRAMMAR, after_help = "`tusktop record --help` lists the conditions of --when.")]
    Record(RecordArgs),
    /// Open the screen over a recording, without root.
    Replay(ReplayArgs),
    /// Print the snapshots of a recording as lines of JSON.
    Cat(CatArgs),
    /// Write a part of a recording to another, with pseudonyms if asked.
    Cut(CutArgs),
    /// Play a recording of a small shop that comes with the program: no root, no PHP.
    Demo(DemoArgs),
    /// Compare two recordings, or two spans of one.
    #[command(after_long_help = exit::SUMMARY_OF_DIFF)]
    Diff(DiffArgs),
    /// Check what can be observed here and how to fix what cannot.
    #[command(after_long_help = exit::SUMMARY_OF_DOCTOR)]
    Doctor(DoctorArgs),
    /// List the process groups and the rules that made them, or say why a process is in its group.
    Groups(GroupsArgs),
    /// Wait for SIGCONT, then become a command.
    #[command(hide = true)]
    Become(BecomeArgs),
    /// Read memory of processes, as requests on standard input say.
    #[command(hide = true)]
    ReadMemory,
}

/// What to compare the screen with.
#[derive(Debug, Clone, Default, Args)]
pub struct LiveArgs {
    /// Compare what the screen shows with this recording: tiles by growth, functions, routes and problems by their difference.
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
}

/// What to print.
#[derive(Debug, Clone, Default, Args)]
pub struct SnapArgs {
    /// A recording, of which one moment is printed; nothing is collected. `-` is standard input.
    #[arg(value_name = "FILE", conflicts_with_all = ["duration", "exact", "command"])]
    pub file: Option<PathBuf>,
    /// The moment of the recording: 14:05, `3m ago` (before the end), 2026-11-27T14:05:33Z [default: its end].
    #[arg(long, value_name = "TIME", requires = "file", value_parser = When::parse)]
    pub at: Option<When>,
    /// Add up what PHP did in this time before the moment, up to 1m [default: since the snapshot before].
    #[arg(long, value_name = "TIME", requires = "file", value_parser = parse_window)]
    pub window: Option<Duration>,
    /// How long to collect, such as 500ms, 5s, 2m or a number of seconds [default: 1s, or as long as the command runs].
    #[arg(short, long, value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = SnapshotFormat::Table)]
    pub format: SnapshotFormat,
    /// Trace calls: of PHP functions, or of built-in functions by line, and of included files.
    ///
    /// Tracing stays within --budget and --trace-limit. Of a command, every call is traced, whatever that costs. PHP needs
    /// USDT probes and must have been started with USE_ZEND_DTRACE=1. For a command, tusktop sets this variable.
    /// `tusktop doctor` says what is missing.
    #[arg(long, value_enum, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "functions")]
    pub exact: Option<Exact>,
    /// Write to this file; `-` is standard output [default: standard output; with a command, standard error].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Run this command and observe it and its children, from the first PHP opcode to the end.
    ///
    /// tusktop sets USE_ZEND_DTRACE=1 for it, unless the variable is already set. It keeps its own input, output and exit
    /// code. With --duration, observation ends after that time, even if the command runs longer.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// What to record, and where to.
#[derive(Debug, Clone, Default, Args)]
#[command(group(ArgGroup::new("flight").args(["keep_last", "when"]).multiple(true)))]
#[command(group(ArgGroup::new("bounded").args(["max_size", "keep_last", "when"]).multiple(true)))]
pub struct RecordArgs {
    /// Write to this file, `-` is standard output [default: the host's name and the time, here].
    ///
    /// With --when it is the name of the first file; the following ones are numbered.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Time to record for, such as 90s, 10m or 2d [default: until ^C].
    #[arg(short, long, value_parser = parse_length)]
    pub duration: Option<Duration>,
    /// Begin another file when one has this size, such as 100M: each is a recording of its own. With --when, the file ends.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_size: Option<u64>,
    /// Keep this many files of this recording, the newest [default: all].
    ///
    /// With --when and without -o, files of earlier runs in this folder count.
    #[arg(long, value_name = "COUNT", requires = "bounded", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub keep: Option<u32>,
    /// Roll up older parts of the file: STEP:AGE,..., such as 1s:1h,10s:1d,1m.
    ///
    /// What is older than an hour is in steps of 10 s then, and what is older than a day in steps of a minute. Counts, times and
    /// histograms are added up, memory has the last, the least and the most. With an AGE for the last step, what is older goes.
    #[arg(long, value_name = "TIERS", conflicts_with = "flight", value_parser = Tiers::parse)]
    pub tiers: Option<Tiers>,
    /// Replace a file that exists.
    #[arg(long)]
    pub force: bool,
    /// Write no file until something happens, and keep the last minutes in memory for it, in 64 MiB at most [default with --when: 10m].
    ///
    /// SIGUSR1 writes them to a file, too.
    #[arg(long, value_name = "TIME", value_parser = parse_length)]
    pub keep_last: Option<Duration>,
    /// Write a file when this holds, such as 'p99 > 2s for 30s': with what was before, and what comes after. Can be given several
    /// times.
    #[arg(long, value_name = "CONDITION", value_parser = Trigger::parse)]
    pub when: Vec<Trigger>,
    /// How long a file goes on after what it was begun for [default: 2m].
    #[arg(long, value_name = "TIME", requires = "flight", value_parser = parse_length)]
    pub after: Option<Duration>,
}

/// What to replay.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// The recording; `-` is standard input, which is followed.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What it is compared with.
    #[command(flatten)]
    pub live: LiveArgs,
}

/// Which snapshots to print.
#[derive(Debug, Clone, Args)]
pub struct CatArgs {
    /// The recording; `-` is standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Leave out what is before this: 14:05, `3m ago` (before the end), 2026-11-27T14:05:33Z.
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    pub from: Option<When>,
    /// Leave out what is after this.
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    pub to: Option<When>,
}

/// Which part to write, and where to.
#[derive(Debug, Clone, Args)]
pub struct CutArgs {
    /// Which recording, and what of it.
    #[command(flatten)]
    pub part: CatArgs,
    /// Write to this file; `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace names, paths, URIs, command lines, messages, users and hosts by pseudonyms.
    ///
    /// The same text has the same pseudonym within the file. The key is random and kept nowhere, so that nothing can be guessed
    /// from a pseudonym, and two files have different ones. Numbers, times, versions, built-in functions, and names that everybody has
    /// (`/srv`, index.php, php-fpm, www-data) stay.
    #[arg(long)]
    pub redact: bool,
    /// Replace a file that exists.
    #[arg(long)]
    pub force: bool,
}

/// What to do with the recording that comes with the program.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Write it to this file instead, to try `cat`, `cut`, `diff` and `snap` on it; `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What to compare.
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// The recording to compare with; alone, the one with both spans. `-` is standard input.
    #[arg(value_name = "BEFORE")]
    pub before: PathBuf,
    /// The recording to compare.
    #[arg(value_name = "AFTER", required_unless_present_any = ["from", "against"])]
    pub after: Option<PathBuf>,
    /// Compare what is from this moment on: 14:05, `3m ago` (before the end), 2026-11-27T14:05:33Z [default: all of AFTER].
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    pub from: Option<When>,
    /// Compare what is up to this moment.
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    pub to: Option<When>,
    /// Compare with this span, either end of which may be left open [default: all of BEFORE; of one recording, what is before --from].
    #[arg(long, value_name = "FROM..TO", value_parser = Between::parse)]
    pub against: Option<Between>,
    /// Exit with 3 if a limit is exceeded, such as `route /checkout p95 +20%`; may be repeated.
    ///
    /// A limit is a subject, a measure and a bound. Subjects and their measures: `requests` (all of them) and `route [METHOD] PATH`
    /// have requests, errors (share of 5xx), p50, p95 and p99; `function NAME` has self and total (time per second); `group NAME` has
    /// memory, cpu and processes; `exceptions [CLASS]` and `errors [LEVEL]` have count (in a minute). A name that ends with `*` means
    /// all that begin with it. Bounds: +20% and -20% are relative, +50ms and -50ms are differences, and both hold only if the
    /// difference is more than noise; >500ms and <500ms are about the value afterwards. Sizes are 100M or 1G, rates 5/s or 5/min. A
    /// limit that cannot be told, because there is no such route or there are too few requests, is said and ends with 1.
    #[arg(long, value_name = "LIMIT", value_parser = Limit::parse)]
    pub fail_on: Vec<Limit>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = DifferenceFormat::Table)]
    pub format: DifferenceFormat,
}

/// What is traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Exact {
    /// Calls of PHP functions.
    Functions,
    /// Calls of built-in functions by line, and included files.
    Lines,
}

/// How to print the findings.
#[derive(Debug, Clone, Copy, Args)]
pub struct DoctorArgs {
    /// One line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// What to list.
#[derive(Debug, Clone, Copy, Args)]
pub struct GroupsArgs {
    /// Say which rule matched this process, and why each rule before it did not.
    #[arg(long, value_name = "PID")]
    pub explain: Option<u32>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = GroupsFormat::Table)]
    pub format: GroupsFormat,
}

/// What to become.
#[derive(Debug, Clone, Args)]
pub struct BecomeArgs {
    /// Command and its arguments.
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// How a snapshot is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum SnapshotFormat {
    /// For people.
    #[default]
    Table,
    /// One line of JSON with all that is known.
    Json,
    /// A line for each value of groups, functions, routes and problems.
    Csv,
    /// PHP's stacks as lines, for flamegraph.pl, inferno and others; microseconds.
    Folded,
    /// PHP's stacks for speedscope.app.
    Speedscope,
    /// PHP's stacks for pprof, Grafana and others (Protocol Buffers).
    Pprof,
    /// PHP's stacks as a picture.
    Svg,
    /// PHP's stacks and requests for profiler.firefox.com.
    Firefox,
}

impl SnapshotFormat {
    /// Whether it is about PHP's stacks alone.
    pub(crate) fn is_of_stacks(self) -> bool {
        !matches!(self, Self::Table | Self::Json | Self::Csv)
    }

    /// Whether it is no text.
    pub(crate) fn is_binary(self) -> bool {
        self == Self::Pprof
    }
}

/// How a difference is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum DifferenceFormat {
    /// For people.
    #[default]
    Table,
    /// One line of JSON with all that is known.
    Json,
}

/// How groups and rules are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum GroupsFormat {
    /// For people.
    #[default]
    Table,
    /// One line of JSON with all that is known.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn settings_may_stand_before_and_after_the_command() {
        for line in ["tusktop --no-php -i 2 snap", "tusktop snap --no-php -i 2"] {
            let cli = parse(line).unwrap();
            assert!(cli.settings.no_php && matches!(cli.command, Some(Command::Snap(_))));
            assert_eq!(cli.settings.interval, Some(Duration::from_secs(2)));
        }
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        for line in
            ["--hz 1001", "--hz -1", "-i 99ms", "-i 2h", "-i x", "--color 7", "snap -d 0", "snap --format xml", "x"]
        {
            assert_eq!(parse(&format!("tusktop {line}")).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn everything_behind_two_dashes_belongs_to_the_command() {
        let cli = parse("tusktop snap --format json -- php -d a=b x.php --format table -- -o y").unwrap();
        let Some(Command::Snap(snap)) = cli.command else { panic!("it is snap") };
        assert_eq!((snap.format, snap.output, snap.duration), (SnapshotFormat::Json, None, None));
        assert_eq!(snap.command, ["php", "-d", "a=b", "x.php", "--format", "table", "--", "-o", "y"]);
        assert!(parse("tusktop snap php x.php").is_err(), "a command needs the dashes");
    }

    #[test]
    fn every_colour_depth_can_be_typed() {
        for value in ["auto", "always", "never", "16", "256", "truecolor"] {
            assert!(parse(&format!("tusktop --color {value}")).unwrap().settings.color.is_some());
        }
    }
}
