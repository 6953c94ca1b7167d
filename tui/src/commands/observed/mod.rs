//! A command that is started to be observed: found before it runs, held until the observers are ready, waited for.
//! `session` observes it.

mod running;

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::PermissionsExt as _,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_parent_process_death_signal, waitpid};

use running::Running;
pub(super) use running::Signals;

use crate::{collect::php, exit};

/// Why a command cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such program.
    #[error("cannot run {}: {}", .program.display(), absent(*.searched))]
    NotFound {
        /// As it was typed.
        program: PathBuf,
        /// PATH was searched for it.
        searched: bool,
    },
    /// It may not be run.
    #[error("cannot run {}: it is not an executable file", .program.display())]
    NotExecutable {
        /// As it was typed, or found.
        program: PathBuf,
    },
    /// It could not be started.
    #[error("cannot start {}: {source}", .program.display())]
    Start {
        /// As it was typed.
        program: PathBuf,
        /// Reason.
        source: io::Error,
    },
}

fn absent(searched: bool) -> &'static str {
    if searched { "it is not in any folder of PATH" } else { "there is no such file" }
}

impl CommandError {
    /// Exit code for it, as shells have it.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => exit::NOT_FOUND,
            Self::NotExecutable { .. } | Self::Start { .. } => exit::NOT_EXECUTABLE,
        }
    }
}

/// Finds the file that runs when `program` is typed, as execvp(3) does.
///
/// # Errors
/// There is none, or it may not be run.
pub(super) fn resolve(program: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, CommandError> {
    let typed = PathBuf::from(program);
    let searched = !program.as_bytes().contains(&b'/');
    let candidates: Vec<PathBuf> = match (searched, path) {
        (false, _) => vec![typed.clone()],
        (true, Some(path)) => env::split_paths(path).map(|folder| folder.join(program)).collect(),
        // confstr(_CS_PATH), which execvp takes then.
        (true, None) => ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(program)).to_vec(),
    };
    let mut refused = None;
    for candidate in candidates.into_iter().filter(|_| !program.is_empty()) {
        match fs::metadata(&candidate) {
            Ok(metadata) if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 => return Ok(candidate),
            Ok(_) => refused = refused.or(Some(candidate)),
            Err(_) => {}
        }
    }
    Err(match refused {
        Some(program) => CommandError::NotExecutable { program },
        None => CommandError::NotFound { program: typed, searched },
    })
}

/// Programs that may run PHP when `resolved` is run: itself, the interpreter that its first line names, and, since it may
/// start PHP in turn (`sudo`, `env`, a shell script), every PHP of the command line that is installed.
pub(super) fn programs(resolved: &Path) -> Vec<PathBuf> {
    let mut programs = vec![resolved.to_owned()];
    programs.extend(interpreter(resolved));
    programs.extend(php::installed().into_iter().filter(|path| php::is_command_line(path)));
    programs
}

/// Interpreter of a script (execve(2): at most 255 bytes are read of the line).
fn interpreter(script: &Path) -> Option<PathBuf> {
    let mut line = Vec::new();
    File::open(script).ok()?.take(255).read_to_end(&mut line).ok()?;
    let line = line.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let name = line.trim_ascii_start().split(|byte| byte.is_ascii_whitespace()).next()?;
    Some(PathBuf::from(OsStr::from_bytes(name))).filter(|path| path.is_absolute())
}

/// A command that waits to be let go. The kernel ends it when this program ends before that.
#[derive(Debug)]
pub(super) struct Held {
    child: Child,
}

impl Held {
    /// Starts a process that will become the command. Input and output are this program's own.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(command: &[OsString]) -> Result<Self, CommandError> {
        let program = PathBuf::from(command.first().cloned().unwrap_or_default());
        let failed = |source| CommandError::Start { program: program.clone(), source };
        // This program itself: it stops before it becomes the command, so the command's pid is known and its PHP is
        // attached before a byte of it has run, and nothing (a shell's variables) is added to what it gets.
        let mut holder = Command::new("/proc/self/exe");
        holder.arg0("tusktop").arg("become").arg("--").args(command);
        if env::var_os(php::VARIABLE).is_none() {
            holder.env(php::VARIABLE, "1");
        }
        let held = Self { child: holder.spawn().map_err(failed)? };
        match waitpid(Some(Pid::from_child(&held.child)), WaitOptions::UNTRACED) {
            Ok(Some((_, status))) if status.stopped() => Ok(held),
            Ok(status) => {
                let status = status.map(|(_, status)| ExitStatus::from_raw(status.as_raw()).to_string());
                Err(failed(io::Error::other(format!("it ended before it could start: {}", status.unwrap_or_default()))))
            }
            Err(error) => Err(failed(error.into())),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it run; signals are passed on to it.
    pub(crate) fn release(self, signals: Signals) -> Running {
        Running::new(self.child, signals)
    }
}

/// The part of `Held::start` in the new process: stops, and becomes the command when it is continued. Returns only when
/// that fails.
pub fn become_command(command: &[OsString]) -> CommandError {
    let program = PathBuf::from(command.first().cloned().unwrap_or_default());
    // A held command that cannot be let go would stay forever.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let _ = kill_process(getpid(), Signal::STOP);
    let _ = set_parent_process_death_signal(None);
    let source = Command::new(&program).args(command.iter().skip(1)).exec();
    CommandError::Start { program, source }
}

/// Exit code that tells how a command ended, as shells have it: its own, or 128 and the signal.
pub(super) fn code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(exit::FAILED),
        (None, signal) => signal.map_or(exit::FAILED, exit::by_signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_a_shell_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("plain"), "").unwrap();
        fs::write(path("tool"), "#! /usr/bin/php8.2 -q\n<?php").unwrap();
        fs::set_permissions(path("tool"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(path("folder")).unwrap();
        let search = env::join_paths([Path::new("/nonexistent"), folder.path()]).unwrap();
        let find = |name: &str| resolve(OsStr::new(name), Some(&search));
        assert_eq!(find("tool").unwrap(), path("tool"));
        assert_eq!(resolve(path("tool").as_os_str(), None).unwrap(), path("tool"));
        assert_eq!(resolve(OsStr::new("sh"), None).unwrap(), Path::new("/bin/sh"));
        for (name, code) in [("plain", 126), ("folder", 126), ("absent", 127), ("", 127), ("/nonexistent/x", 127)] {
            let error = find(name).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
        }
        assert!(find("absent").unwrap_err().to_string().contains("absent: it is not in any folder of PATH"));
        assert_eq!(interpreter(&path("tool")).unwrap(), Path::new("/usr/bin/php8.2"));
        assert_eq!(interpreter(&path("plain")), None);
        assert!(programs(&path("tool")).starts_with(&[path("tool"), "/usr/bin/php8.2".into()]));
    }

    #[test]
    fn codes_are_those_of_a_shell() {
        for (status, code) in [(0, 0), (3 << 8, 3), (255 << 8, 255), (9, 137), (15, 143)] {
            assert_eq!(super::code(ExitStatus::from_raw(status)), code);
        }
    }
}
