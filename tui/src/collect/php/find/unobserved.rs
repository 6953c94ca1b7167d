//! PHP that runs and is not observed, because its file is not trusted or cannot be read: which programs, whose, why. Whoever runs
//! such programs cannot push those of others out of the list.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::discover::FileId;
use crate::{
    collect::{php::image::ImageError, trust::Distrust},
    model::{Notice, Target, TierStatus, Tiers},
    system::users::Users,
};

/// Programs that are listed; all but root's can take [`OF_OTHERS`] of them, and one owner's [`SHARE`].
const PROGRAMS: usize = 64;
const OF_OTHERS: usize = 48;
const SHARE: usize = 4;
/// Processes that are listed of one program.
const PIDS: usize = 64;
/// Owners, or other reasons, of which there is a notice.
const NOTICES: usize = 8;

/// Why a program is not observed.
#[derive(Debug)]
pub(crate) enum Why {
    /// Its file is not trusted.
    Untrusted(Distrust),
    /// Its file cannot be read.
    Unread(ImageError),
}

impl Why {
    fn is_without_room(&self) -> bool {
        matches!(self, Self::Unread(ImageError::TooMany { .. }))
    }
}

#[derive(Debug)]
struct Program {
    id: FileId,
    path: PathBuf,
    owner: u32,
    why: Why,
    pids: BTreeSet<u32>,
    /// It was asked for, whether it runs or not.
    asked_for: bool,
}

impl Program {
    fn is(&self, id: FileId, path: &Path) -> bool {
        self.id == id && self.path == path
    }

    fn concerns(&self, counts: impl Fn(u32) -> bool) -> bool {
        self.asked_for || self.pids.iter().any(|&pid| counts(pid))
    }
}

/// The programs that are not observed, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Unobserved {
    programs: Vec<Program>,
    /// Programs that had no room, or had to make room for others of their owner.
    left_out: u64,
}

impl Unobserved {
    /// A file is not observed. The oldest of its owner makes room for it.
    pub(crate) fn add(&mut self, id: FileId, path: &Path, owner: u32, why: Why) {
        if self.has(id, path) {
            return;
        }
        let of_owner = |program: &Program| program.owner == owner;
        let of_others = |program: &&Program| program.owner != 0;
        let full = match owner {
            0 => self.programs.len() >= PROGRAMS,
            _ => {
                self.programs.iter().filter(|program| of_owner(program)).count() >= SHARE
                    || self.programs.iter().filter(of_others).count() >= OF_OTHERS
            }
        };
        if full {
            self.left_out += 1;
            let Some(oldest) = self.programs.iter().position(of_owner) else { return };
            self.programs.remove(oldest);
        }
        let program = Program { id, path: path.to_owned(), owner, why, pids: BTreeSet::new(), asked_for: false };
        self.programs.push(program);
    }

    /// Whether a file at this path is in the list.
    pub(crate) fn has(&self, id: FileId, path: &Path) -> bool {
        self.programs.iter().any(|program| program.is(id, path))
    }

    /// A file is observed now, wherever it is: returns the processes that ran it.
    pub(crate) fn forget(&mut self, id: FileId) -> impl Iterator<Item = u32> {
        self.programs.extract_if(.., move |program| program.id == id).flat_map(|program| program.pids)
    }

    /// A file stays in the list also when no process runs it.
    pub(crate) fn ask_for(&mut self, id: FileId, path: &Path) {
        self.programs.iter_mut().filter(|program| program.is(id, path)).for_each(|program| program.asked_for = true);
    }

    /// A process runs a file.
    pub(crate) fn run(&mut self, pid: u32, id: FileId, path: &Path) {
        if let Some(program) = self.programs.iter_mut().find(|program| program.is(id, path))
            && program.pids.len() < PIDS
        {
            program.pids.insert(pid);
        }
    }

    /// A process forked.
    pub(crate) fn fork(&mut self, parent: u32, child: u32) {
        if let Some(program) = self.programs.iter_mut().find(|program| program.pids.contains(&parent))
            && program.pids.len() < PIDS
        {
            program.pids.insert(child);
        }
    }

    /// A process ended, or runs something else now; a program that nobody runs is forgotten.
    pub(crate) fn end(&mut self, pid: u32) {
        self.programs.retain_mut(|program| !program.pids.remove(&pid) || !program.pids.is_empty() || program.asked_for);
    }

    /// Keeps the processes of which `lives` holds, and the programs that they run.
    pub(crate) fn sweep(&mut self, lives: impl Fn(u32) -> bool) {
        self.programs.retain_mut(|program| {
            program.pids.retain(|&pid| lives(pid));
            !program.pids.is_empty() || program.asked_for
        });
    }

    /// There is room for images again: those that found none are judged once more.
    pub(crate) fn make_room(&mut self) {
        self.programs.retain(|program| !program.why.is_without_room());
    }

    /// Whether there is any for which there was no number.
    pub(crate) fn lacks_room(&self) -> bool {
        self.programs.iter().any(|program| program.why.is_without_room())
    }

    /// Those that are not trusted, as targets: programs that were asked for, or that a process runs which `counts`.
    pub(crate) fn targets(&self, users: &mut Users, counts: impl Fn(u32) -> bool) -> Vec<Target> {
        let mut targets = Vec::new();
        for program in self.programs.iter().filter(|program| program.concerns(&counts)) {
            let Why::Untrusted(distrust) = &program.why else { continue };
            let (reason, hint) = words(distrust, users);
            let why = format!("{reason}; {hint}");
            targets.push(Target {
                image: None,
                not_observed: Some(why.as_str().into()),
                exe: program.path.to_string_lossy().into(),
                version: None,
                sapi: "unknown".into(),
                zts: false,
                probes: Vec::new(),
                functions: Vec::new(),
                pids: program.pids.iter().copied().collect(),
                masters: Vec::new(),
                masters_left_out: 0,
                tiers: Tiers::new(|_| TierStatus::unavailable(format_args!("not observed: {why}"))),
            });
        }
        targets
    }

    /// What of them should be known: one notice for all programs with the same reason.
    pub(crate) fn notices(&self, users: &mut Users, counts: impl Fn(u32) -> bool) -> Vec<Notice> {
        let programs: Vec<_> = self.programs.iter().filter(|program| program.concerns(&counts)).collect();
        let mut notices: Vec<_> = programs
            .iter()
            .filter_map(|program| match &program.why {
                Why::Unread(error) => Some(Notice::program_unread(error)),
                Why::Untrusted(_) => None,
            })
            .take(NOTICES)
            .collect();
        let mut reasons: BTreeMap<(u32, String, String), Vec<&Path>> = BTreeMap::new();
        for program in programs {
            if let Why::Untrusted(distrust) = &program.why {
                let (reason, hint) = words(distrust, users);
                reasons.entry((program.owner, reason, hint)).or_default().push(&program.path);
            }
        }
        let more = reasons.len().saturating_sub(NOTICES) as u64 + self.left_out;
        for ((_, reason, hint), paths) in reasons.into_iter().take(NOTICES) {
            notices.push(Notice::php_not_trusted(&paths[0].to_string_lossy(), paths.len() - 1, &reason, &hint));
        }
        notices.extend((more > 0).then(|| Notice::php_left_out(more)));
        notices
    }
}

/// What is wrong with a file, behind "it", and what to do about it. The hint names no path: pasting it must never run the name of
/// a hostile file.
fn words(distrust: &Distrust, users: &mut Users) -> (String, String) {
    let allows = |user: &str| format!("--php-owner {user} (or php_owners) allows it");
    match distrust {
        Distrust::Owner(uid) => {
            let user = users.name(*uid);
            (format!("belongs to {user}"), allows(&user))
        }
        Distrust::Writable => {
            ("can be written by others than its owner".to_owned(), "chmod go-w on the file allows it".to_owned())
        }
        Distrust::FolderOwner(folder, uid) => {
            let user = users.name(*uid);
            (format!("is below {}, which belongs to {user}", folder.display()), allows(&user))
        }
        Distrust::FolderWritable(folder) => (
            format!("is below {}, which others than its owner can write", folder.display()),
            "chmod go-w on the folder allows it".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/home/x/php";

    fn add(list: &mut Unobserved, inode: u64, owner: u32) -> FileId {
        let id = FileId { inode, ..FileId::default() };
        list.add(id, Path::new(PATH), owner, Why::Untrusted(Distrust::Owner(owner)));
        id
    }

    #[test]
    fn one_owner_cannot_fill_the_list_and_root_always_has_room() {
        let mut list = Unobserved::default();
        for inode in 0..100 {
            add(&mut list, inode, 1000);
        }
        assert_eq!((list.programs.len(), list.left_out), (SHARE, 96));
        for inode in 1000..2000 {
            add(&mut list, inode, inode as u32);
        }
        assert_eq!(list.programs.len(), OF_OTHERS);
        assert!({
            let id = add(&mut list, 5000, 0);
            list.has(id, Path::new(PATH))
        });
        list.programs.iter_mut().for_each(|program| program.asked_for = true);
        let notices = list.notices(&mut Users::read("/nonexistent".into()), |_| false);
        assert_eq!(notices.len(), NOTICES + 1);
    }

    #[test]
    fn what_nobody_runs_any_more_is_forgotten() {
        let mut list = Unobserved::default();
        let id = add(&mut list, 1, 1000);
        list.run(7, id, Path::new(PATH));
        list.fork(7, 8);
        list.end(7);
        assert!(list.has(id, Path::new(PATH)));
        let mut users = Users::read("/nonexistent".into());
        assert!(list.targets(&mut users, |_| false).is_empty());
        let targets = list.targets(&mut users, |pid| pid == 8);
        assert_eq!((targets.len(), &*targets[0].pids), (1, &[8][..]));
        let why = targets[0].not_observed.as_deref().unwrap();
        assert_eq!(why, "belongs to 1000; --php-owner 1000 (or php_owners) allows it");
        list.end(8);
        assert!(!list.has(id, Path::new(PATH)));
    }
}
