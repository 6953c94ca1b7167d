//! Which php-fpm pool a process is in. A title is text that any process can give itself, so it is believed only of workers whose
//! master belongs to a trusted user; the pool of anybody else has its user behind the name.

use std::{fs, io, os::unix::fs::MetadataExt as _, sync::Arc};

use super::{procfs::Procfs, trust::Owners};
use crate::system::users::Users;

/// What php-fpm calls its masters.
const MASTER: &[u8] = b"php-fpm: master process";

/// The pool in which a process is whose title names `pool`. `uid` is its user, and `None` where that is not known any more.
pub(crate) fn of(
    procfs: &Procfs,
    owners: &Owners,
    users: &mut Users,
    (pid, uid, parent): (u32, Option<u32>, u32),
    pool: &str,
) -> Arc<str> {
    let believed = is_trusted(owners, uid)
        || (is_trusted(owners, procfs.uid(parent))
            && is_same(program(procfs, pid), program(procfs, parent))
            && is_master(procfs, parent).unwrap_or(false));
    named(users, believed, uid, pool)
}

/// Whether the title of this user's process, or those of its workers, are believed. Where tusktop runs without the rights of
/// root, its user's own pools are no stranger's.
pub(crate) fn is_trusted(owners: &Owners, uid: Option<u32>) -> bool {
    uid.is_some_and(|uid| owners.include(uid) || uid == rustix::process::geteuid().as_raw())
}

/// Which program a process runs, to be compared.
pub(crate) fn program(procfs: &Procfs, pid: u32) -> io::Result<(u64, u64)> {
    fs::metadata(procfs.path(pid, "exe")).map(|file| (file.dev(), file.ino()))
}

/// Whether a process still is the program of its parent: one that this user's cron has started runs another program.
pub(crate) fn is_same(own: io::Result<(u64, u64)>, of_parent: io::Result<(u64, u64)>) -> bool {
    match (own, of_parent) {
        (Ok(own), Ok(of_parent)) => own == of_parent,
        // Root can always read them: a process that has ended, or tusktop without rights.
        _ => true,
    }
}

/// Whether a process, which is trusted, says that it is a master.
pub(crate) fn is_master(procfs: &Procfs, pid: u32) -> io::Result<bool> {
    Ok(procfs.bytes(pid, "cmdline", MASTER.len() as u64)? == MASTER)
}

/// Name of a pool, with its user behind it if the title is not `believed`.
pub(crate) fn named(users: &mut Users, believed: bool, uid: Option<u32>, pool: &str) -> Arc<str> {
    if believed {
        return pool.into();
    }
    let user = uid.map_or_else(|| "?".into(), |uid| users.name(uid));
    format!("{pool} ({user})").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::procfs::fake::Fake;

    /// What is said of a process of user 4321 below a parent that belongs to whoever runs the test.
    fn said(parent: u32) -> String {
        let fake = Fake::new();
        fake.write(10, "cmdline", "php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)\0");
        fake.write(11, "cmdline", "/usr/sbin/cron\0-f\0");
        let mut users = Users::read("/nonexistent".into());
        of(&fake.procfs, &Owners::default(), &mut users, (20, Some(4321), parent), "www").to_string()
    }

    #[test]
    fn a_pool_is_that_of_its_master_and_a_stranger_has_one_of_his_own() {
        assert_eq!(said(10), "www");
        assert_eq!((said(11), said(12)), ("www (4321)".to_owned(), "www (4321)".to_owned()));
    }

    #[test]
    fn the_pools_of_trusted_users_are_their_own() {
        let (fake, mut users) = (Fake::new(), Users::read("/nonexistent".into()));
        let mut of = |owners: &Owners, uid| of(&fake.procfs, owners, &mut users, (20, uid, 1), "www");
        assert_eq!(&*of(&Owners::default(), Some(0)), "www");
        assert_eq!(&*of(&Owners::new(vec![4321]), Some(4321)), "www");
        assert_eq!(&*of(&Owners::default(), None), "www (?)");
    }
}
