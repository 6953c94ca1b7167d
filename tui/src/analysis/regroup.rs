//! Groups the processes of a snapshot by something other than the rules. It needs only the snapshot, so it also works for
//! recorded ones.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    model::{Group, Grouping, Process, Snapshot},
    rules::naming,
};

/// The snapshot with other groups. What PHP's lists say of groups stays by the rules.
pub(super) fn regrouped(snapshot: &Snapshot, grouping: Grouping) -> Snapshot {
    let (groups, places) = groups(&snapshot.processes, &snapshot.groups, grouping);
    let processes = snapshot.processes.iter().zip(places);
    Snapshot {
        groups,
        processes: processes.map(|(process, group)| Process { group, ..process.clone() }).collect(),
        ..snapshot.clone()
    }
}

/// The groups of processes, biggest memory first, and the place of each process among them. `by_rules` are the groups that they are
/// in by the rules.
pub(super) fn groups(processes: &[Process], by_rules: &[Group], grouping: Grouping) -> (Vec<Group>, Vec<usize>) {
    let masters = if grouping == Grouping::Pool { Masters::of(processes, by_rules) } else { Masters::default() };
    let rule: Arc<str> = format!("by {}", grouping.name()).into();
    let mut groups: Vec<Group> = Vec::new();
    let mut by_name: HashMap<Cow<str>, usize> = HashMap::new();
    let mut places: Vec<usize> = Vec::with_capacity(processes.len());
    for process in processes {
        let name = masters.name(process, name(process, grouping));
        let place = by_name.get(&name).copied().unwrap_or_else(|| {
            groups.push(Group::empty((&*name).into(), Arc::clone(&rule)));
            by_name.insert(name, groups.len() - 1);
            groups.len() - 1
        });
        groups[place].add(process);
        places.push(place);
    }
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by(|&a, &b| groups[a].order().cmp(&groups[b].order()));
    let mut moved = vec![0; groups.len()];
    for (to, &from) in order.iter().enumerate() {
        moved[from] = to;
    }
    groups.sort_by(|a, b| a.order().cmp(&b.order()));
    (groups, places.into_iter().map(|place| moved[place]).collect())
}

/// Pools of one name that several masters have: each is a group, as it is by the rules.
#[derive(Debug, Default)]
struct Masters<'a> {
    /// Of the workers whose group by the rules is named by their master, that master.
    named: HashSet<u32>,
    /// The master whose pool has the plain name.
    plain: HashMap<(&'a str, Option<&'a str>), u32>,
}

impl<'a> Masters<'a> {
    fn of(processes: &'a [Process], by_rules: &[Group]) -> Self {
        let mut masters = Self::default();
        for process in processes {
            let Some(pool) = process.pool.as_deref() else { continue };
            let is_named = by_rules
                .get(process.group)
                .is_some_and(|group| group.name.ends_with(naming::of_master("", process.ppid).as_str()));
            if is_named {
                masters.named.insert(process.ppid);
            } else if process.ppid > 1 {
                // Where the rules tell nothing, as those of a user, the first process id has it.
                let plain = masters.plain.entry((pool, process.container.as_deref())).or_insert(process.ppid);
                *plain = process.ppid.min(*plain);
            }
        }
        masters
    }

    fn name(&self, process: &Process, name: Cow<'a, str>) -> Cow<'a, str> {
        let Some(pool) = process.pool.as_deref() else { return name };
        let plain = self.plain.get(&(pool, process.container.as_deref()));
        let is_other = process.ppid > 1 && plain.is_some_and(|plain| *plain != process.ppid);
        match self.named.contains(&process.ppid) || is_other {
            true => naming::of_master(&name, process.ppid).into(),
            false => name,
        }
    }
}

/// The group of a process. Where the rules name a pool, a unit or a container, it is the same name.
fn name(process: &Process, grouping: Grouping) -> Cow<'_, str> {
    match grouping {
        // The groups by rules are those of the snapshot.
        Grouping::Rules => Cow::Borrowed(""),
        Grouping::Pool => match &process.pool {
            None => "no pool".into(),
            Some(pool) => naming::of_pool(pool, process.container.as_deref()).into(),
        },
        Grouping::Unit => process.unit.as_deref().unwrap_or("no unit").into(),
        Grouping::Container => match &process.container {
            None => "no container".into(),
            Some(container) => format!("container {container}").into(),
        },
        Grouping::User => (&*process.user).into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{DiskRates, Memory, pool_of_title};

    fn process(pid: u32, rss_bytes: u64, cmdline: &str, unit: Option<&str>) -> Process {
        Process {
            pid,
            ppid: 1,
            started_at: None,
            start_ticks: None,
            comm: "c".into(),
            cmdline: cmdline.into(),
            user: if pid.is_multiple_of(2) { "even" } else { "odd" }.into(),
            group: 0,
            pool: pool_of_title(cmdline).map(Arc::from),
            state: 'S',
            threads: 2,
            cpu_ratio: (pid > 1).then_some(0.5),
            disk: DiskRates::default(),
            memory: Memory { rss_bytes: Some(rss_bytes), ..Memory::default() },
            pss_unknown: None,
            unit: unit.map(Arc::from),
            container: (pid == 3).then(|| "3f2a".into()),
            cgroup: None,
        }
    }

    fn named(processes: &[Process], grouping: Grouping) -> Vec<(String, u32)> {
        let (groups, places) = groups(processes, &[], grouping);
        for (process, place) in processes.iter().zip(places) {
            assert_eq!(groups[place].name, name(process, grouping).into());
        }
        groups.iter().map(|group| (group.name.to_string(), group.processes)).collect()
    }

    #[test]
    fn each_grouping_has_its_groups_and_one_for_the_rest() {
        let all = [
            process(1, 9, "php-fpm: pool www", Some("php.service")),
            process(2, 1, "sh", None),
            process(3, 5, "php-fpm: pool www", Some("php.service")),
        ];
        let is = |grouping, expected: &[(&str, u32)]| {
            let expected: Vec<_> = expected.iter().map(|&(name, count)| (name.to_owned(), count)).collect();
            assert_eq!(named(&all, grouping), expected);
        };
        is(Grouping::Pool, &[("php-fpm: www", 1), ("php-fpm: www (3f2a)", 1), ("no pool", 1)]);
        is(Grouping::Unit, &[("php.service", 2), ("no unit", 1)]);
        is(Grouping::Container, &[("no container", 2), ("container 3f2a", 1)]);
        is(Grouping::User, &[("odd", 2), ("even", 1)]);
    }

    #[test]
    fn pools_of_one_name_of_two_masters_are_two_groups_named_as_by_the_rules() {
        let of = |pid, ppid, group| Process { ppid, group, ..process(pid, 1, "php-fpm: pool www", None) };
        let rules =
            ["php-fpm: www (master 10)", "php-fpm: www", "php"].map(|name| Group::empty(name.into(), "x".into()));
        let names = |processes: &[Process], rules: &[Group]| -> Vec<String> {
            let (groups, places) = groups(processes, rules, Grouping::Pool);
            places.iter().map(|&place| groups[place].name.to_string()).collect()
        };
        let by_rules = [of(11, 10, 0), of(21, 20, 1), of(22, 20, 1)];
        assert_eq!(names(&by_rules, &rules), ["php-fpm: www (master 10)", "php-fpm: www", "php-fpm: www"]);
        // The rules of a user put both in one group; a worker whose master has ended belongs to neither.
        let in_one = [of(11, 10, 2), of(21, 20, 2), of(23, 1, 2)];
        assert_eq!(names(&in_one, &rules), ["php-fpm: www", "php-fpm: www (master 20)", "php-fpm: www"]);
    }

    proptest! {
        #[test]
        fn every_process_is_in_one_group_and_sums_are_those_of_the_processes(
            sizes in proptest::collection::vec((0_u64..1000, proptest::option::of("[ab]{1,2}")), 0..40)
        ) {
            let all: Vec<Process> = (1..).zip(&sizes)
                .map(|(pid, (size, unit))| process(pid, *size, "x", unit.as_deref())).collect();
            for grouping in Grouping::ALL {
                let (groups, places) = groups(&all, &[], grouping);
                prop_assert_eq!(places.len(), all.len());
                prop_assert!(groups.is_sorted_by(|a, b| a.order() < b.order()));
                for (at, group) in groups.iter().enumerate() {
                    let members = || all.iter().zip(&places).filter(|(_, place)| **place == at).map(|(process, _)| process);
                    prop_assert_eq!(group.processes as usize, members().count());
                    prop_assert_eq!(group.memory.rss_bytes, members().map(|process| process.memory.rss_bytes).sum::<Option<u64>>());
                    prop_assert!(group.memory.pss_bytes.is_none(), "what is unknown of one is unknown of all");
                }
            }
        }
    }
}
