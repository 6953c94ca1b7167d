//! Names of users: /etc/passwd, read at start and again when an unknown id appears in a changed file.
//! Other sources of users (LDAP, systemd-homed) are left out: asking them can block for seconds.

use std::{collections::HashMap, fs, path::PathBuf, sync::Arc, time::SystemTime};

/// Ids without a name that are remembered; then all are forgotten. A user namespace has as many as its processes like.
const MAX_NUMBERS: usize = 4_096;

/// Interned user names by id.
#[derive(Debug)]
pub(crate) struct Users {
    passwd: PathBuf,
    modified: Option<SystemTime>,
    names: HashMap<u32, Arc<str>>,
    numbers: HashMap<u32, Arc<str>>,
}

impl Default for Users {
    /// Those of this machine.
    fn default() -> Self {
        Self::read("/etc/passwd".into())
    }
}

impl Users {
    /// Reads `passwd`; without it users are numbers.
    pub(crate) fn read(passwd: PathBuf) -> Self {
        let mut users = Self { passwd, modified: None, names: HashMap::new(), numbers: HashMap::new() };
        users.reread();
        users
    }

    /// The name of a user, or the number where it has no name.
    pub(crate) fn name(&mut self, uid: u32) -> Arc<str> {
        if let Some(name) = self.names.get(&uid) {
            return Arc::clone(name);
        }
        if fs::metadata(&self.passwd).and_then(|file| file.modified()).ok() != self.modified {
            self.reread();
            if let Some(name) = self.names.get(&uid) {
                return Arc::clone(name);
            }
        }
        if self.numbers.len() >= MAX_NUMBERS {
            self.numbers.clear();
        }
        Arc::clone(self.numbers.entry(uid).or_insert_with(|| uid.to_string().into()))
    }

    /// The number of a user that is named, or written as a number.
    pub(crate) fn uid(&self, user: &str) -> Option<u32> {
        let named = self.names.iter().filter(|(_, name)| &***name == user).map(|(&uid, _)| uid).min();
        named.or_else(|| user.parse().ok())
    }

    fn reread(&mut self) {
        self.modified = fs::metadata(&self.passwd).and_then(|file| file.modified()).ok();
        let text = fs::read(&self.passwd).unwrap_or_default();
        self.names = String::from_utf8_lossy(&text)
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(':');
                let (name, uid) = (fields.next()?, fields.nth(1)?.parse().ok()?);
                (!name.is_empty()).then(|| (uid, Arc::from(name)))
            })
            // The first line of an id wins, as in getpwuid(3).
            .rev()
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_passwd_and_unknown_ids_are_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let passwd = folder.path().join("passwd");
        fs::write(&passwd, "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\nbroken\n:x:7::\nwww-data:x:33:33\n")
            .unwrap();
        let mut users = Users::read(passwd.clone());
        let names: Vec<_> = [0, 33, 7, 1234].map(|uid| users.name(uid)).into_iter().collect();
        assert_eq!(names, ["root", "www-data", "7", "1234"].map(Arc::from));
        (100_000..110_000).for_each(|uid| assert_eq!(*users.name(uid), *uid.to_string()));
        assert!(users.numbers.len() <= MAX_NUMBERS);

        fs::write(&passwd, "new:x:1234:1:::\n").unwrap();
        let later = fs::metadata(&passwd).unwrap().modified().unwrap() + std::time::Duration::from_secs(5);
        fs::File::open(&passwd).unwrap().set_modified(later).unwrap();
        assert_eq!(&*users.name(1234), "new");
    }

    #[test]
    fn without_passwd_users_are_numbers() {
        let mut users = Users::read("/nonexistent/passwd".into());
        assert_eq!(&*users.name(0), "0");
    }
}
