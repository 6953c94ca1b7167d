//! The properties of a process that rules look at and that group names are made of.

use crate::collect::proc::Details;

/// A property of a process that a rule can look at and a template can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property {
    /// Kernel's name of the process, 15 bytes at most.
    Comm,
    /// Last part of the first argument, or the comm where there is none.
    Exe,
    /// The first argument as it is.
    FirstArgument,
    /// Arguments joined by a space.
    Cmdline,
    /// Effective user.
    User,
    /// systemd unit.
    Unit,
    /// Container id.
    Container,
    /// Path of the control group: the first that is not the root.
    Cgroup,
    /// php-fpm pool, from the title of a worker.
    Pool,
    /// What PHP on the command line runs.
    Script,
    /// `kernel` for threads of the kernel, `php` for PHP on the command line.
    Kind,
}

impl Property {
    /// Those that a template can name, with their names there.
    const IN_TEMPLATES: [(Self, &'static str); 9] = [
        (Self::Comm, "comm"),
        (Self::Exe, "exe"),
        (Self::Cmdline, "cmdline"),
        (Self::User, "user"),
        (Self::Unit, "unit"),
        (Self::Container, "container"),
        (Self::Cgroup, "cgroup"),
        (Self::Pool, "pool"),
        (Self::Script, "script"),
    ];

    /// The property that a template calls `name`.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::IN_TEMPLATES.iter().find(|(_, known)| *known == name).map(|&(property, _)| property)
    }

    /// Names that templates can use.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        Self::IN_TEMPLATES.iter().map(|&(_, name)| name)
    }

    /// What it is called in explanations.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::FirstArgument => "exe",
            Self::Kind => "kind",
            _ => Self::IN_TEMPLATES.iter().find(|(known, _)| *known == self).map_or("", |&(_, name)| name),
        }
    }

    /// Its value; `None` where the process has none.
    pub(super) fn of(self, process: &Details) -> Option<&str> {
        match self {
            Self::Comm => Some(&process.comm),
            Self::Exe => {
                let file = process.exe.rsplit('/').next().unwrap_or_default();
                Some(if file.is_empty() { &process.comm } else { file })
            }
            Self::FirstArgument => Some(&process.exe),
            Self::Cmdline => Some(&process.cmdline),
            Self::User => Some(&process.user),
            Self::Unit => process.unit.as_deref(),
            Self::Container => process.container.as_deref(),
            Self::Cgroup => {
                let below = process.cgroups.iter().find(|path| path.len() > 1);
                below.or_else(|| process.cgroups.first()).map(|path| &**path)
            }
            Self::Pool => process.pool.as_deref(),
            Self::Script => process.script.as_deref().filter(|_| process.php),
            Self::Kind if process.kernel_thread => Some("kernel"),
            Self::Kind => process.php.then_some("php"),
        }
    }
}
