//! The parts of a process that rarely change: names, command line, user, unit, container.
//! They are read at first sight and again when a change is likely; an unchanged reading allocates nothing.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hasher as _},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    cgroup::{self, Membership, paths},
    files::Files,
    memory_cgroup::MemoryCgroup,
    stat::Stat,
};
use crate::{
    collect::script::{Script, is_php},
    model::pool_of_title,
    words::secrets::Secrets,
};

/// Bytes of a command line that are kept.
pub const CMDLINE_BYTES: usize = 4096;

/// What of a process rarely changes. A changed value is a new [`Details`] in a new [`Arc`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// Process id.
    pub pid: u32,
    /// Kernel's name of the process.
    pub comm: Arc<str>,
    /// First argument of the command line, its secrets masked; empty for kernel threads and zombies.
    pub exe: Arc<str>,
    /// Arguments joined by a space, cut at [`CMDLINE_BYTES`], their secrets masked.
    pub cmdline: Arc<str>,
    /// It is PHP on the command line, whatever its title says.
    pub php: bool,
    /// What PHP on the command line runs: `worker.php`, `artisan queue:work`. It stays when the process gives itself a title.
    pub script: Option<Arc<str>>,
    /// php-fpm pool that a worker's title names; with its user behind it where the title may be anybody's, see `collect/pool`.
    pub pool: Option<Arc<str>>,
    /// Name of the effective user, or the number where it has no name.
    pub user: Arc<str>,
    /// systemd unit.
    pub unit: Option<Arc<str>>,
    /// Container id.
    pub container: Option<Arc<str>>,
    /// Paths of its control groups, one per hierarchy, in the order of /proc/PID/cgroup.
    pub cgroups: Arc<[Arc<str>]>,
    /// The one that its memory is charged to; `None` in the root.
    pub memory_cgroup: Option<MemoryCgroup>,
    /// It runs inside the kernel and has no memory of its own.
    pub kernel_thread: bool,
    /// Start time; `None` when the time of boot is not known.
    pub started_at: Option<Timestamp>,
}

impl Details {
    /// Reads everything of a process seen for the first time; one that does not answer has its name and its user.
    pub(super) fn read(
        files: &mut Files,
        stat: &Stat,
        started_at: Option<Timestamp>,
        answers: bool,
    ) -> (Arc<Self>, Arguments) {
        let empty: Arc<str> = "".into();
        let mut details = Arc::new(Self {
            pid: stat.pid,
            comm: text(stat.comm).into(),
            exe: Arc::clone(&empty),
            cmdline: empty,
            php: false,
            script: None,
            pool: None,
            user: "?".into(),
            unit: None,
            container: None,
            cgroups: Arc::default(),
            memory_cgroup: None,
            kernel_thread: stat.kernel_thread,
            started_at,
        });
        let mut arguments = Arguments::default();
        Self::refresh(&mut details, &mut arguments, files, stat, answers);
        (details, arguments)
    }

    /// Reads everything again. What cannot be read (a zombie's command line, a process that just ended) stays as it was.
    pub(super) fn refresh(
        details: &mut Arc<Self>,
        known: &mut Arguments,
        files: &mut Files,
        stat: &Stat,
        answers: bool,
    ) {
        let comm = text(stat.comm);
        let renamed = *details.comm != *comm;
        if renamed {
            Arc::make_mut(details).comm = comm.into();
        }
        if let Some(user) = files.user(stat.pid)
            && !Arc::ptr_eq(&user, &details.user)
        {
            Arc::make_mut(details).user = user;
        }
        if stat.kernel_thread || stat.state == 'Z' || !answers {
            return;
        }
        let secrets = files.secrets();
        if let Some(bytes) = files.read(stat.pid, "cmdline") {
            let arguments = without_padding(bytes);
            let read = Arguments::hash(arguments);
            if *known != read || renamed {
                *known = read;
                let command_line = command_line(arguments, secrets);
                let script = Script::of(arguments).map(|script| script.name);
                let details = Arc::make_mut(details);
                (details.exe, details.cmdline) = command_line;
                let named = is_php_by_name(&details.comm, &details.exe);
                details.php = named || files.program(stat.pid).is_some_and(|program| is_php(&program));
                details.script = if details.php { script.or(details.script.take()) } else { None };
                let uid = files.uid(stat.pid);
                details.pool = pool_of_title(&details.cmdline).map(|pool| files.pool(stat.pid, uid, stat.ppid, pool));
            }
        }
        if let Some(bytes) = files.read(stat.pid, "cgroup") {
            let found = Membership::parse(bytes);
            if details.unit.as_deref() != found.unit {
                Arc::make_mut(details).unit = found.unit.map(Arc::from);
            }
            if details.container.as_deref() != found.container {
                Arc::make_mut(details).container = found.container.map(Arc::from);
            }
            if !paths(bytes).eq(details.cgroups.iter().map(|path| &**path)) {
                Arc::make_mut(details).cgroups = paths(bytes).map(Arc::from).collect();
            }
            let memory = cgroup::memory(bytes);
            if details.memory_cgroup.as_ref().map(|known| (&*known.path, known.version)) != memory {
                Arc::make_mut(details).memory_cgroup =
                    memory.map(|(path, version)| MemoryCgroup { path: path.into(), version });
            }
        }
    }
}

/// Whether a process seems to be PHP on the command line, by its name or its first argument.
pub(super) fn is_php_by_name(comm: &str, exe: &str) -> bool {
    is_php(exe.rsplit('/').next().unwrap_or_default()) || is_php(comm)
}

/// The first argument and the whole command line, of arguments with a NUL behind each.
pub(super) fn command_line(arguments: &[u8], secrets: Secrets) -> (Arc<str>, Arc<str>) {
    let arguments = text(without_padding(arguments));
    let first = arguments.split('\0').next().unwrap_or_default();
    (secrets.command_line(first).into(), secrets.command_line(&arguments).into())
}

/// Which arguments were read last, to see a change without keeping what is masked. `None` before any were read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Arguments(Option<u64>);

impl Arguments {
    /// Only ever compared with what the same process has shown before.
    fn hash(arguments: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(arguments);
        Self(Some(hasher.finish()))
    }
}

/// Text as the snapshot holds it: bytes that are not UTF-8 are replaced. Nothing is escaped; that is the output's work.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Programs that set their title leave the rest of their argument area filled with NULs or spaces.
fn without_padding(arguments: &[u8]) -> &[u8] {
    let end = arguments.iter().rposition(|&byte| byte != 0 && byte != b' ').map_or(0, |last| last + 1);
    &arguments[..end]
}
