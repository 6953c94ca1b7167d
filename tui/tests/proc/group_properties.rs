//! What holds for any rules and any processes: one group each, the first rule that matches, and nothing by chance.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use crate::fake_proc::{Fake, FakeProc};
use proptest::prelude::*;
use tusktop::{
    aggregate::{self},
    collect::Tick,
    rules::{Rules, process_exporter},
};

/// A process to make: the place of its parent among all processes, or none, and its comm.
type Made = (Option<prop::sample::Index>, &'static str);

const COMMS: [&str; 4] = ["a", "b", "c", "d"];

fn processes() -> impl Strategy<Value = Vec<Made>> {
    let parent = proptest::option::weighted(0.8, any::<prop::sample::Index>());
    prop::collection::vec((parent, prop::sample::select(&COMMS[..])), 1..12)
}

/// Items such as `{comm: [a, c], name: 'rule 0 {{.Comm}}'}`.
fn items() -> impl Strategy<Value = Vec<Vec<&'static str>>> {
    prop::collection::vec(prop::sample::subsequence(&COMMS[..3], 0..3), 0..5)
}

fn yaml(items: &[Vec<&str>]) -> String {
    let item = |(number, comms): (usize, &Vec<&str>)| {
        format!("- {{comm: [{}], name: 'rule {number} {{{{.Comm}}}}'}}\n", comms.join(", "))
    };
    format!("process_names:\n{}", items.iter().enumerate().map(item).collect::<String>())
}

/// The group and the rule of each process, when process `n` has the pid `pids[n]`.
fn placed(made: &[Made], pids: &[u32], yaml: &str) -> Vec<(String, String)> {
    let proc = FakeProc::new();
    for (&(parent, comm), &pid) in made.iter().zip(pids) {
        let ppid = parent.map_or(0, |parent| pids[parent.index(made.len())]);
        proc.process(pid, &Fake { comm: comm.as_bytes(), ppid, cmdline: b"x\0", ..Fake::default() });
    }
    let rules = Arc::new(Rules::new(process_exporter::rules("pe.yml", yaml).unwrap(), true));
    let sample = proc.sampler().pass(Tick { at: Instant::now() });
    let (groups, processes, placements) = aggregate::place(&sample, Arc::clone(&rules));
    let by_pid: BTreeMap<u32, (String, String)> = processes
        .iter()
        .zip(placements)
        .map(|(process, placement)| {
            let rule = rules.all()[placement.rule].template();
            (process.pid, (groups[process.group].name.to_string(), rule.to_owned()))
        })
        .collect();
    assert_eq!(groups.iter().map(|group| group.processes as usize).sum::<usize>(), made.len(), "each is in one group");
    pids.iter().map(|pid| by_pid[pid].clone()).collect()
}

fn ascending(count: usize) -> Vec<u32> {
    (1..).take(count).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_process_that_a_rule_takes_is_in_the_group_of_the_first_that_does(made in processes(), items in items()) {
        let found = placed(&made, &ascending(made.len()), &yaml(&items));
        for ((_, comm), (group, _)) in made.iter().zip(&found) {
            if let Some(first) = items.iter().position(|comms| comms.contains(comm)) {
                prop_assert_eq!(group, &format!("rule {first} {comm}"));
            }
        }
    }

    #[test]
    fn one_that_no_rule_takes_follows_its_nearest_ancestor_that_one_takes(made in processes(), items in items()) {
        let found = placed(&made, &ascending(made.len()), &yaml(&items));
        let taken = |at: usize| items.iter().any(|comms| comms.contains(&made[at].1));
        for at in (0..made.len()).filter(|&at| !taken(at)) {
            let mut ancestor = at;
            // A circle of parents ends after as many steps as there are processes.
            let nearest = (0..made.len()).find_map(|_| {
                ancestor = made[ancestor].0?.index(made.len());
                taken(ancestor).then_some(ancestor)
            });
            let expected = nearest.map_or("root processes", |ancestor| &*found[ancestor].0);
            prop_assert_eq!(&*found[at].0, expected);
        }
    }

    #[test]
    fn the_order_in_which_processes_are_seen_decides_nothing(
        made in processes(), items in items(), pids in Just(ascending(12)).prop_shuffle(),
    ) {
        let yaml = yaml(&items);
        let expected = placed(&made, &ascending(made.len()), &yaml);
        prop_assert_eq!(placed(&made, &pids[..made.len()], &yaml), expected);
    }

    #[test]
    fn a_rule_that_never_matches_changes_nothing(
        made in processes(), items in items(), place in any::<prop::sample::Index>(),
        never in prop::sample::select(vec!["comm: []", "comm: [nobody]", "exe: [/no/such]", "cmdline: ['^$a']", "cmdline: [x, y]"]),
    ) {
        let pids = ascending(made.len());
        let yaml = yaml(&items);
        let mut lines: Vec<String> = yaml.lines().map(str::to_owned).collect();
        lines.insert(1 + place.index(lines.len()), format!("- {{{never}, name: never}}"));
        prop_assert_eq!(placed(&made, &pids, &lines.join("\n")), placed(&made, &pids, &yaml));
    }

    #[test]
    fn any_configuration_that_is_taken_groups_any_process(
        text in r#"process_names:\n(- (comm|exe|cmdline|name): ?(\[[ab'., ]{0,6}\]|[ab]|~|'\{\{\.[A-Z][a-z]{0,9}\}\}')\n(  (comm|exe|cmdline|name): ?(\[[ab'.,()?P<>*+ ]{0,12}\]|'[ab{}. ]{0,8}'|'\{\{(\.Comm|\.Matches\.a|index \.Matches "a"|\.PID|\.Nope)\}\}')\n){0,3}){0,4}"#,
        comm in "[ab]{1,3}", cmdline in "[ab ./]{0,12}",
    ) {
        let Ok(rules) = process_exporter::rules("pe.yml", &text) else { return Ok(()) };
        let proc = FakeProc::new();
        proc.process(7, &Fake { comm: comm.as_bytes(), cmdline: cmdline.replace(' ', "\0").as_bytes(), ..Fake::default() });
        let sample = proc.sampler().pass(Tick { at: Instant::now() });
        let (groups, ..) = aggregate::place(&sample, Arc::new(Rules::new(rules, true)));
        prop_assert_eq!((groups.len(), groups[0].processes, groups[0].name.is_empty()), (1, 1, false));
    }
}
