//! Pools of one name that several masters of php-fpm have: each is a group of its own. The first keeps the plain name for as long as
//! its master lives.

use std::collections::HashMap;

use crate::rules::naming;

/// Which master has which name.
#[derive(Debug, Default)]
pub(super) struct Masters {
    /// By group and master, the name of the group.
    names: HashMap<(String, u32), String>,
}

impl Masters {
    /// Forgets masters that have ended.
    pub(super) fn retain(&mut self, lives: impl Fn(u32) -> bool) {
        self.names.retain(|(_, master), _| lives(*master));
    }

    /// The name of a group for the workers of a master.
    pub(super) fn name(&mut self, group: String, master: u32) -> String {
        let key = (group, master);
        if let Some(name) = self.names.get(&key) {
            return name.clone();
        }
        let is_taken = self.names.iter().any(|((group, _), name)| *group == key.0 && *name == key.0);
        let name = if is_taken { naming::of_master(&key.0, master) } else { key.0.clone() };
        self.names.insert(key, name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_master_has_a_group_of_its_own_and_names_stay() {
        let mut masters = Masters::default();
        let mut name = |master| masters.name("php-fpm: www".to_owned(), master);
        assert_eq!(
            (name(10), name(20), name(10)),
            ("php-fpm: www".into(), "php-fpm: www (master 20)".into(), "php-fpm: www".into())
        );
        masters.retain(|master| master != 10);
        let mut name = |master| masters.name("php-fpm: www".to_owned(), master);
        assert_eq!((name(30), name(20)), ("php-fpm: www".into(), "php-fpm: www (master 20)".into()));
    }
}
