//! Notices: what the user should know, each with its kind, its text and what to do about it. All kinds and texts are here, so a
//! notice can be found by its kind, and recordings can be compared by it.

use serde::{Deserialize, Deserializer, Serialize};

use super::EndedBy;

/// How much a [`Notice`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Good to know: something is not measured.
    Info,
    /// A part of the screen is missing.
    Warning,
    /// Something failed that should work.
    Error,
}

/// What a [`Notice`] is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the constructor of each notice says what it is about")]
pub enum NoticeKind {
    SamplerFailed,
    ProcessesRefused,
    ProcessesHidden,
    ProcessesMalformed,
    ProcessesNotAnswering,
    MeminfoUnreadable,
    ShortLivedUncounted,
    SwapUnread,
    OomKilled,
    PssRefused,
    PssTooExpensive,
    PssUnsupported,
    CgroupsLeftOut,
    GroupsLeftOut,
    RoutesLeftOut,
    PhpOff,
    PhpNotPermitted,
    InnerPidNamespace,
    ForeignProc,
    PhpStarting,
    PhpLate,
    PhpEnded,
    PhpNotAnswering,
    PhpProcessesNotAnswering,
    PhpBehind,
    ProgramsRefused,
    EventsUnreadable,
    SamplesUnreadable,
    ThreadsUnreadable,
    ProgramUnread,
    PhpNotTrusted,
    PhpLeftOut,
    TierUnavailable,
    TooManyToCount,
    WaitsEstimated,
    StartsMissed,
    NoPhp,
    CommandWithoutPhp,
    PoolsUnread,
    GrowthNotCollected,
    PoolTooLarge,
    WorkerBloated,
    MemoryExhausted,
    WorkerDied,
    MaxChildrenReached,
    MachineSuspended,
    ClockSet,
    RecordingTriggered,
    RecordingRequested,
    SnapshotsMissed,
    MachineChanged,
    /// One that this version does not know: its text says what it is about.
    #[default]
    #[serde(other)]
    Other,
}

impl NoticeKind {
    /// Whether it tells of something that happened, once, and not of how things are.
    pub fn is_event(self) -> bool {
        matches!(
            self,
            Self::MachineSuspended
                | Self::ClockSet
                | Self::OomKilled
                | Self::WorkerDied
                | Self::MaxChildrenReached
                | Self::RecordingTriggered
                | Self::RecordingRequested
                | Self::SnapshotsMissed
                | Self::MachineChanged
                | Self::StartsMissed
        )
    }

    /// Whether it says why nothing is known about PHP as a whole.
    pub fn is_why_no_php(self) -> bool {
        matches!(
            self,
            Self::PhpOff
                | Self::PhpNotPermitted
                | Self::InnerPidNamespace
                | Self::ForeignProc
                | Self::PhpStarting
                | Self::PhpLate
                | Self::PhpEnded
                | Self::PhpNotAnswering
                | Self::ProgramsRefused
                | Self::NoPhp
                | Self::CommandWithoutPhp
        )
    }
}

/// One thing that the user should know, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// How much it matters; one that this version does not know is taken for a warning.
    #[serde(deserialize_with = "level")]
    pub level: Level,
    /// What it is about.
    #[serde(default)]
    pub kind: NoticeKind,
    /// What is wrong, and where.
    pub text: String,
    /// What to type or change; empty where nothing helps.
    pub hint: String,
}

const AS_ROOT: &str = "run as root; see the mount option hidepid in proc(5)";

/// The processes of the machine.
impl Notice {
    /// A pass over /proc failed.
    pub fn sampler_failed(error: &dyn std::error::Error) -> Self {
        Self::new(Level::Error, NoticeKind::SamplerFailed, error.to_string(), "")
    }

    /// Processes whose files the kernel does not let tusktop read.
    pub fn processes_refused(count: u32) -> Self {
        let text = format!(
            "{} cannot be read and {} missing from all sums",
            processes(count),
            if count == 1 { "is" } else { "are" }
        );
        Self::new(Level::Warning, NoticeKind::ProcessesRefused, text, AS_ROOT)
    }

    /// /proc is mounted so that it hides processes of others.
    pub fn processes_hidden() -> Self {
        let text = "processes of other users are hidden and missing from all sums";
        Self::new(Level::Warning, NoticeKind::ProcessesHidden, text, AS_ROOT)
    }

    /// Processes whose stat file is not in the form that is documented.
    pub fn processes_malformed(count: u32) -> Self {
        let text = format!("the stat file of {} does not match proc_pid_stat(5)", processes(count));
        Self::new(Level::Warning, NoticeKind::ProcessesMalformed, text, "")
    }

    /// Processes whose files the kernel does not answer in time; `comm` and `pid` are those of one.
    pub fn processes_not_answering(count: u32, comm: &str, pid: u32) -> Self {
        let text =
            format!("{} not answering, for example {comm} ({pid}): command line and PSS are unknown", processes(count));
        let hint = "its memory is locked, or a file system that it uses hangs: check its state and its mounts";
        Self::new(Level::Warning, NoticeKind::ProcessesNotAnswering, text, hint)
    }

    /// Memory of the machine is not known.
    pub fn meminfo_unreadable() -> Self {
        let text = "/proc/meminfo cannot be read: memory of the machine is unknown";
        Self::new(Level::Warning, NoticeKind::MeminfoUnreadable, text, "")
    }

    /// Processes that live between two snapshots are not seen.
    pub fn short_lived_uncounted(why: &str) -> Self {
        let text = format!("processes that start and end between two snapshots are not counted: {why}");
        Self::new(Level::Info, NoticeKind::ShortLivedUncounted, text, "tusktop doctor says what is missing")
    }

    /// Processes whose swap is not known.
    pub fn swap_unread(count: u32) -> Self {
        Self::new(Level::Info, NoticeKind::SwapUnread, format!("swap of {} could not be read", processes(count)), "")
    }

    /// The kernel killed a process because memory was gone. `of` names its group, `size` what it had, `why` whose memory was gone.
    pub fn oom_killed(comm: &str, pid: u32, of: &str, size: &str, why: &str) -> Self {
        let comm = if comm.is_empty() { "a process" } else { comm };
        let text = format!("the kernel killed {comm} ({pid}){of}, which had {size}: {why}");
        let hint = "the snapshot before this one shows where memory was";
        Self::new(Level::Error, NoticeKind::OomKilled, text, hint)
    }

    /// Processes whose PSS the kernel refuses to report.
    pub fn pss_refused(count: u32) -> Self {
        let text = format!("no permission to read PSS of {}; RSS is used instead", processes(count));
        let hint = "run as root or with CAP_SYS_PTRACE; processes with more capabilities than tusktop stay unreadable";
        Self::new(Level::Info, NoticeKind::PssRefused, text, hint)
    }

    /// Processes whose PSS would hold them up for too long; `comm`, `pid` and `rss` are those of the biggest.
    pub fn pss_too_expensive(count: u32, comm: &str, pid: u32, rss: &str) -> Self {
        let text = format!(
            "PSS of {} is too expensive to read, for example {comm} ({pid}) with an RSS of {rss}; RSS is used instead",
            processes(count),
        );
        let hint = "raise pss_read_limit in the configuration; reading PSS holds up the process for that long";
        Self::new(Level::Info, NoticeKind::PssTooExpensive, text, hint)
    }

    /// Processes for which the kernel has no PSS.
    pub fn pss_unsupported(count: u32) -> Self {
        let text = format!("PSS of {} cannot be read; RSS is used instead", processes(count));
        let hint = "smaps_rollup needs Linux 4.14 or newer, and CONFIG_PROC_PAGE_MONITOR";
        Self::new(Level::Info, NoticeKind::PssUnsupported, text, hint)
    }

    /// Control groups beyond the `most` that are read, which `count` processes are in.
    pub fn cgroups_left_out(count: u32, most: usize) -> Self {
        let text = format!("the cgroups of {} are not read: the limit is {most} cgroups", processes(count));
        Self::new(Level::Info, NoticeKind::CgroupsLeftOut, text, "")
    }

    /// Groups beyond the `most` that are kept, which `count` processes are in.
    pub fn groups_left_out(count: u32, most: usize) -> Self {
        let text = format!("{} in `more groups`: the limit is {most} groups", processes(count));
        let hint = "give groups names without a pid, a time or a whole command line; `tusktop groups` shows the rules";
        Self::new(Level::Warning, NoticeKind::GroupsLeftOut, text, hint)
    }

    /// Routes beyond the `most` that are listed, none of which had more than `requests` in the interval.
    pub fn routes_left_out(count: u32, most: usize, requests: u64) -> Self {
        let routes = if count == 1 { "1 route is".to_owned() } else { format!("{count} routes are") };
        let text = format!("{routes} in `(other)`, with at most {requests} requests each: the limit is {most} routes");
        let hint =
            "usually somebody scans the site; `≥` marks counts of routes that may have more requests in `(other)`";
        Self::new(Level::Info, NoticeKind::RoutesLeftOut, text, hint)
    }

    /// A pool that may start more workers than fit: `set` and `fit` workers, `into` what, `each` with so much of its own.
    pub fn pool_too_large(pool: &str, set: u32, fit: u32, into: &str, each: &str) -> Self {
        let text = format!(
            "pool {pool}: pm.max_children is {set}, but only {fit} workers fit in {into} ({each} private each)"
        );
        let hint =
            format!("set pm.max_children to {} or less; Enter on a worker shows what takes its memory", fit.max(1));
        Self::new(Level::Warning, NoticeKind::PoolTooLarge, text, hint)
    }
}

/// Time, and recordings.
impl Notice {
    /// Nothing ran for `age` before this snapshot.
    pub fn machine_suspended(age: &str) -> Self {
        let text = format!("the machine was suspended for {age} before this");
        Self::new(Level::Info, NoticeKind::MachineSuspended, text, "")
    }

    /// Between the snapshot before and this one the time of day jumped by `age`.
    pub fn clock_set(age: &str, forward: bool) -> Self {
        let text = format!("the clock was set {} by {age}", if forward { "forward" } else { "back" });
        let hint = "the times of snapshots before this are those of the clock as it was";
        Self::new(Level::Info, NoticeKind::ClockSet, text, hint)
    }

    /// In a recording that was put together of several: what comes is another machine's.
    pub fn machine_changed(before: &str, now: &str) -> Self {
        let text = format!("another machine from here on: {now}, before it was {before}");
        Self::new(Level::Warning, NoticeKind::MachineChanged, text, "sums, windows and histories begin again")
    }

    /// Snapshots that are not in the recording.
    pub fn snapshots_missed(count: u64) -> Self {
        let (snapshots, are) = if count == 1 { ("snapshot", "is") } else { ("snapshots", "are") };
        let text = format!("{count} {snapshots} before this {are} missing: the recording was not written fast enough");
        Self::new(Level::Warning, NoticeKind::SnapshotsMissed, text, "use a longer --interval, or another disk")
    }

    /// A condition of the flight recorder holds: what was measured, and the condition as it was typed.
    pub fn recording_triggered(measured: &str, condition: &str) -> Self {
        let hint = format!("this was recorded because of --when '{condition}'");
        Self::new(Level::Warning, NoticeKind::RecordingTriggered, measured, hint)
    }

    /// The flight recorder was asked to write what it has.
    pub fn recording_requested() -> Self {
        Self::new(Level::Info, NoticeKind::RecordingRequested, "this was recorded on request (SIGUSR1)", "")
    }
}

/// PHP as a whole.
impl Notice {
    /// The user switched it off.
    pub fn php_off() -> Self {
        let text = "PHP is not observed: it is switched off";
        Self::new(Level::Info, NoticeKind::PhpOff, text, "remove --no-php or `php = false`")
    }

    /// Rights are missing, those of `capabilities`.
    pub fn php_not_permitted(capabilities: &[&str], is_root: bool) -> Self {
        let text = format!(
            "PHP is not observed: this needs root, or CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE (missing: {})",
            capabilities.join(", ")
        );
        let hint =
            if is_root { "give the container these capabilities, or run tusktop on the host" } else { "sudo tusktop" };
        Self::new(Level::Warning, NoticeKind::PhpNotPermitted, text, hint)
    }

    /// tusktop runs in a pid namespace of a container, and the kernel's programs report other pids for the same processes.
    pub fn inner_pid_namespace() -> Self {
        let text = "PHP is not observed: tusktop runs in a container or under unshare --pid, and /proc is not the host's: it shows \
                    only the processes in here";
        let hint = "run tusktop on the host, or start the container with --pid=host";
        Self::new(Level::Warning, NoticeKind::InnerPidNamespace, text, hint)
    }

    /// The mounted /proc belongs to another pid namespace than tusktop.
    pub fn foreign_proc() -> Self {
        let text = "PHP is not observed, and no signals are sent: tusktop runs under unshare --pid or in a container, and /proc is \
                    the host's: its process ids mean other processes here";
        let hint = "unshare --mount-proc, or mount -t proc proc /proc; or run tusktop on the host, or the container with --pid=host";
        Self::new(Level::Warning, NoticeKind::ForeignProc, text, hint)
    }

    /// It is being looked for.
    pub fn php_starting() -> Self {
        Self::new(Level::Info, NoticeKind::PhpStarting, "looking for PHP and attaching to it", "")
    }

    /// The collector did not answer in time.
    pub fn php_late() -> Self {
        let text = "PHP was not read in time; its counts come with a later snapshot";
        Self::new(Level::Info, NoticeKind::PhpLate, text, "if this persists, use a longer --interval")
    }

    /// The collector has ended.
    pub fn php_ended() -> Self {
        let text = "the PHP collector has stopped: nothing about PHP is known";
        Self::new(Level::Error, NoticeKind::PhpEnded, text, "restart tusktop")
    }

    /// The collector does not answer at all.
    pub fn php_not_answering() -> Self {
        let text = "the PHP collector does not answer";
        Self::new(Level::Error, NoticeKind::PhpNotAnswering, text, "please report this")
    }

    /// Processes whose files or memory the kernel does not answer for in time, and the names of some. What PHP does there is not known.
    pub fn php_processes_not_answering(count: usize, names: &[String]) -> Self {
        let processes = processes(u32::try_from(count).unwrap_or(u32::MAX));
        let text = match (names, count > names.len()) {
            ([name], false) => format!("{name} is not answering: what PHP it runs is not known"),
            (_, false) => format!("{} are not answering: what PHP they run is not known", names.join(", ")),
            (_, true) => {
                format!("{processes} are not answering ({}, ...): what PHP they run is not known", names.join(", "))
            }
        };
        let hint = "its memory is locked, or a file system that it uses hangs: check its state and its mounts";
        Self::new(Level::Warning, NoticeKind::PhpProcessesNotAnswering, text, hint)
    }

    /// More processes wait to be looked at for PHP than there is time for, most of them of `user`.
    pub fn php_behind(waiting: usize, left_out: u64, user: &str) -> Self {
        let waiting = processes(u32::try_from(waiting).unwrap_or(u32::MAX));
        let not = if left_out > 0 { format!("; {left_out} more were not looked at") } else { String::new() };
        let text = format!("looking for PHP is behind: {waiting} waiting, most of {user}{not}");
        Self::new(Level::Info, NoticeKind::PhpBehind, text, "PHP of other users is still found in time")
    }

    /// The kernel refuses the BPF programs.
    pub fn programs_refused(error: &dyn std::error::Error, hint: &str) -> Self {
        let text = format!("PHP is not observed: {error}");
        Self::new(Level::Warning, NoticeKind::ProgramsRefused, text, hint)
    }

    /// Requests that end are not seen.
    pub fn events_unreadable(error: &dyn std::error::Error) -> Self {
        let text = format!("cannot wait for events of the BPF programs: {error}");
        Self::new(Level::Error, NoticeKind::EventsUnreadable, text, "")
    }

    /// Samples and waits are lost.
    pub fn samples_unreadable(error: &dyn std::error::Error) -> Self {
        Self::new(Level::Error, NoticeKind::SamplesUnreadable, format!("samples cannot be read: {error}"), "")
    }

    /// What threads of PHP did before they were found is not known.
    pub fn threads_unreadable(error: &dyn std::error::Error) -> Self {
        let text = format!("what threads of PHP have been doing since before tusktop came is not known: {error}");
        Self::new(Level::Warning, NoticeKind::ThreadsUnreadable, text, "")
    }

    /// A file that may be PHP cannot be read.
    pub fn program_unread(error: &dyn std::error::Error) -> Self {
        let text = format!("a program that may be PHP is not observed: {error}");
        Self::new(Level::Warning, NoticeKind::ProgramUnread, text, "")
    }

    /// A PHP whose file another user controls, and `more` for the same reason. `reason` says what it is or does.
    pub fn php_not_trusted(program: &str, more: usize, reason: &str, hint: &str) -> Self {
        let text = match more {
            0 => format!("{program} is PHP and not observed: it {reason}"),
            _ => format!("{program} and {more} more are PHP and not observed: it {reason}"),
        };
        Self::new(Level::Info, NoticeKind::PhpNotTrusted, text, hint)
    }

    /// Programs for which the list of those that are not observed had no room.
    pub fn php_left_out(count: u64) -> Self {
        let programs = if count == 1 { "1 more program".to_owned() } else { format!("{count} more programs") };
        let text = format!("{programs} that may be PHP are not observed and not listed, because there are so many");
        Self::new(Level::Info, NoticeKind::PhpLeftOut, text, "")
    }

    /// Something is not seen of a program: `shows` of it, in the plural.
    pub fn tier_unavailable(level: Level, program: &str, shows: &str, reason: &str, hint: &[String]) -> Self {
        let text = format!("{program}: {shows} are not observed: {reason}");
        Self::new(level, NoticeKind::TierUnavailable, text, hint.join("; "))
    }

    /// There is so much of something that it is counted only now and then: `shows` in the plural.
    pub fn too_many_to_count(program: &str, shows: &str, percent: u8) -> Self {
        let text =
            format!("{program}: there are too many {shows} to count all; they were counted {percent} % of the time");
        let hint = "the numbers are too low; counting all would take more than 1 % of the CPU time";
        Self::new(Level::Warning, NoticeKind::TooManyToCount, text, hint)
    }

    /// PHP blocks so often that the places of some waits are estimated.
    pub fn waits_estimated() -> Self {
        let text =
            "PHP blocks thousands of times a second: waits and their time are counted, but only some with their place";
        Self::new(Level::Info, NoticeKind::WaitsEstimated, text, "")
    }

    /// So many programs were started that not each was looked at.
    pub fn starts_missed(count: u64) -> Self {
        let text =
            format!("{count} programs were started too fast to look at each; PHP among them is found a little later");
        Self::new(Level::Info, NoticeKind::StartsMissed, text, "")
    }

    /// None is running.
    pub fn no_php() -> Self {
        Self::new(Level::Info, NoticeKind::NoPhp, "no PHP is running; it appears here when it starts", "")
    }

    /// The command that was observed ran none.
    pub fn command_without_php() -> Self {
        let text = "the command ran no PHP that tusktop could see";
        let hint = "PHP in a container or behind a server is not a child of the command";
        Self::new(Level::Warning, NoticeKind::CommandWithoutPhp, text, hint)
    }

    /// Pools of php-fpm are missing.
    pub fn pools_unread(masters: usize) -> Self {
        let text = format!("the pools of {masters} php-fpm masters were not read, because there was no time left");
        Self::new(Level::Warning, NoticeKind::PoolsUnread, text, "")
    }

    /// A worker that stays big after a request.
    pub fn worker_bloated(pid: u32, pool: &str, private: &str, request: &str, peak: &str, ago: &str) -> Self {
        let text =
            format!("pool {pool}: worker {pid} has {private} for itself, bloated by {request}, {peak}, {ago} ago");
        let hint = "it gives that back when it ends; pm.max_requests ends each after so many requests";
        Self::new(Level::Info, NoticeKind::WorkerBloated, text, hint)
    }

    /// A request exceeded `memory_limit`.
    pub fn memory_exhausted(request: &str, place: &str, peak: &str, limit: &str, times: usize) -> Self {
        let more = if times > 1 { format!(" ({times} times in this interval)") } else { String::new() };
        let text = format!("{request} exceeded memory_limit ({limit}) at {place}, having {peak}{more}");
        Self::new(Level::Warning, NoticeKind::MemoryExhausted, text, "")
    }

    /// The process of a worker ended inside a request, or a signal killed it. `how` says that.
    pub fn worker_died(pid: u32, group: &str, how: &str, signal: Option<&str>, ended_by: Option<EndedBy>) -> Self {
        let text = format!("worker {pid} of {group} {how}");
        let hint = match signal {
            _ if ended_by == Some(EndedBy::RequestTerminateTimeout) => {
                "by SIGTERM, as the pool's configuration says; SIGTERM that somebody sends to one worker looks the same"
            }
            _ if ended_by == Some(EndedBy::StopOrReload) => {
                "a reload waits for requests if process_control_timeout is set"
            }
            Some("SIGTERM") => "php-fpm does so after request_terminate_timeout, and when it is stopped",
            Some("SIGKILL") => "somebody killed it, or memory was gone",
            Some("SIGSEGV" | "SIGBUS" | "SIGILL" | "SIGABRT" | "SIGFPE") => {
                "PHP or an extension has crashed: a core dump says where"
            }
            _ => "",
        };
        Self::new(Level::Warning, NoticeKind::WorkerDied, text, hint)
    }

    /// All workers of a pool were busy, and it may have no more.
    pub fn max_children_reached(group: &str, max_children: u32) -> Self {
        let text = format!("{group} has reached pm.max_children ({max_children})");
        let hint = "requests wait until a worker is free; the pool's page says how many workers would fit into memory";
        Self::new(Level::Warning, NoticeKind::MaxChildrenReached, text, hint)
    }

    fn new(level: Level, kind: NoticeKind, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { level, kind, text: text.into(), hint: hint.into() }
    }
}

fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Level, D::Error> {
    Ok(match &*String::deserialize(deserializer)? {
        "info" => Level::Info,
        "error" => Level::Error,
        _ => Level::Warning,
    })
}

fn processes(count: u32) -> String {
    if count == 1 { "1 process".into() } else { format!("{count} processes") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_of_another_version_keeps_its_text_and_one_without_a_kind_is_read() {
        for json in [
            r#"{"level":"warning","kind":"from_the_future","text":"a","hint":"b","more":[1]}"#,
            r#"{"level":"warning","text":"a","hint":"b"}"#,
        ] {
            let notice: Notice = serde_json::from_str(json).unwrap();
            assert_eq!((notice.level, notice.kind), (Level::Warning, NoticeKind::Other));
            assert_eq!((&*notice.text, &*notice.hint), ("a", "b"));
        }
        let json = serde_json::to_string(&Notice::php_late()).unwrap();
        assert!(json.contains(r#""kind":"php_late""#), "{json}");
        assert_eq!(serde_json::from_str::<Notice>(&json).unwrap(), Notice::php_late());
    }
}
