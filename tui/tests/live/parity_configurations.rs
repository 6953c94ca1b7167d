//! Configurations of process-exporter are taken, refused and understood as a real process-exporter does it.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use crate::cast::Cast;
use crate::exporter::Exporter;
use jiff::Timestamp;
use tusktop::{
    aggregate,
    collect::{Tick, proc::Sampler},
    rules::{Rules, process_exporter},
};

/// Whether process-exporter starts with it.
fn is_taken(yaml: &str) -> bool {
    Exporter::attempt(yaml, &["-gather-smaps=false"]).is_ok()
}

/// Whole files; tusktop's verdict has to be that of process-exporter.
const FILES: &[&str] = &[
    // Taken.
    "",
    "# nothing\n",
    "---\n",
    "other: key\n",
    "process_names:\n",
    "process_names: ~\n",
    "process_names: []\n",
    "process_names: [{comm: [a], nope: 1}]\nunknown: {a: b}\n",
    "process_names:\n- comm: []\n",
    "process_names:\n- comm: [a]\n  comm: [b]\n",
    "process_names: [{comm: [a]}]\n---\nanother: [document\n",
    "process_names:\n- &a\n  comm: [x]\n- <<: *a\n  name: y\n",
    "process_names:\n- comm: [5, 0x10, yes, 1.50, ~]\n",
    "process_names:\n- comm: [!!str 5]\n  exe: [a]\n",
    "process_names:\n- name: ~\n  exe: ~\n  comm: [a]\n",
    "process_names:\n- {name: 5, comm: [a]}\n",
    "process_names:\n- {name: yes, comm: [a]}\n",
    "{\"process_names\": [{\"cmdline\": [\"a\\\\.b\"]}]}",
    "\u{feff}process_names: [{comm: [a]}]\n",
    "process_names:\r\n- comm: [a]\r\n",
    "process_names:\n- {comm: [a], name: \"{{- .Comm -}}\"}\n",
    "process_names:\n- {comm: [a], name: '{{/* c */}}{{.Comm}}'}\n",
    "process_names:\n- {comm: [a], name: '{{`x`}}{{\"}}\"}}'}\n",
    "process_names:\n- {comm: [a], name: '}} { }'}\n",
    "process_names:\n- {comm: [a], name: '{{index .Cgroups 0}} {{.Matches}}'}\n",
    "process_names:\n- cmdline: ['\\Qa+b\\E', '[[:alpha:]]', '\\pL', '(?i)x(?s:.)', 'a{2,3}?', 'a{,3}', '\\101', '\\x{1F600}', '[a&&b]', '\\z']\n",
    "process_names:\n- cmdline: ['(?P<n>a)|b', '(?:a)', '^$', '\\bx\\b', '[^\\d\\s]', ']', '}', '{']\n",
    // Refused.
    "process_names:\n- name: x\n",
    "process_names:\n- comm: [a]\n-\n",
    "process_names:\n- comm: ~\n",
    "process_names:\n- comm: a\n",
    "process_names:\n- comm: {a: b}\n",
    "process_names:\n- comm: [[a]]\n",
    "process_names:\n- comm: [a]\n  name: [b]\n",
    "process_names:\n- comm: [a]\n  name: {{.Comm}}\n",
    "process_names: x\n",
    "process_names:\n  comm: [a]\n",
    "process_names:\n- x\n",
    "- comm: [a]\n",
    "a: [\n",
    "process_names:\n\t- comm: [a]\n",
    "process_names: *nope\n",
    "process_names: [{comm: [a]}]]\n",
    "process_names:\n- comm: ['a]\n",
    "process_names:\n- comm: [a]\n  name: '{{.Comm'\n",
    "process_names:\n- comm: [a]\n  name: '{{}}'\n",
    "process_names:\n- comm: [a]\n  name: '{{.Comm}'\n",
    "process_names:\n- comm: [a]\n  name: '{{\"x}}'\n",
    "process_names:\n- comm: [a]\n  name: '{{nope}}'\n",
    "process_names:\n- comm: [a]\n  name: '{{/* c }}'\n",
    "process_names:\n- comm: [a]\n  cmdline: ['(y']\n",
    "process_names:\n- cmdline: ['a**']\n",
    "process_names:\n- cmdline: ['a{1001}']\n",
    "process_names:\n- cmdline: ['a{3,2}']\n",
    "process_names:\n- cmdline: ['[b-a]']\n",
    "process_names:\n- cmdline: ['[a']\n",
    "process_names:\n- cmdline: ['a)']\n",
    "process_names:\n- cmdline: ['*a']\n",
    "process_names:\n- cmdline: ['\\']\n",
    "process_names:\n- cmdline: ['\\y']\n",
    "process_names:\n- cmdline: ['(?=a)']\n",
    "process_names:\n- cmdline: ['(a)\\1']\n",
    "process_names:\n- cmdline: ['a\\Cb']\n",
    "process_names:\n- cmdline: ['\\pX']\n",
    "process_names:\n- cmdline: ['(?P<ü>x)']\n",
];

#[test]
#[ignore = "needs root and prometheus-process-exporter"]
fn what_it_takes_is_taken_and_what_it_refuses_is_refused() {
    let differ: Vec<String> = FILES
        .iter()
        .filter_map(|yaml| {
            let (theirs, ours) = (is_taken(yaml), process_exporter::rules("pe.yml", yaml));
            (theirs != ours.is_ok()).then(|| format!("theirs {theirs}, ours {:?}: {yaml:?}", ours.map(|_| "taken")))
        })
        .collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

/// What cannot be kept is refused rather than understood in another way; docs/groups.md lists it.
#[test]
#[ignore = "needs root and prometheus-process-exporter"]
fn what_it_takes_and_tusktop_cannot_keep_is_refused_with_a_reason() {
    for (item, reason) in [
        ("name: 'A{{.Nope}}B', comm: [a]", "is not a field"),
        ("name: '{{if .Comm}}x{{end}}', comm: [a]", "not supported: tusktop reads"),
        ("name: '{{printf \"%s\" .Comm}}', comm: [a]", "not supported: tusktop reads"),
        ("cmdline: ['a\\Bb']", "bad regular expression"),
        ("cmdline: ['(?P<1a>x)']", "bad regular expression"),
        ("cmdline: ['(?P<a>x)(?P<a>y)']", "bad regular expression"),
        ("comm: [!!binary aGk=]", "write it as text"),
    ] {
        let yaml = format!("process_names:\n- {{{item}}}\n");
        assert!(is_taken(&yaml), "{yaml}");
        let error = process_exporter::rules("pe.yml", &yaml).unwrap_err();
        assert!(error.line == 2 && error.message.contains(reason), "{yaml}{error}");
    }
}

#[test]
#[ignore = "needs root and prometheus-process-exporter"]
fn of_a_key_that_is_there_twice_only_the_last_value_has_to_be_right() {
    let yaml = "process_names:\n- comm: not a list\n  comm: [a]\n";
    assert!(!is_taken(yaml), "process-exporter wants all values right");
    process_exporter::rules("pe.yml", yaml).unwrap();
}

type Counts = BTreeMap<String, u32>;

/// Groups and numbers of their processes by this configuration, here and there. Only processes with the tag may match.
fn groups(yaml: &str) -> (Counts, Counts) {
    let exporter = Exporter::start(yaml, &["-children=false", "-gather-smaps=false"]);
    let theirs = exporter.scrape().into_iter().map(|(name, group)| (name, group.processes)).collect();
    let rules = process_exporter::rules("pe.yml", yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    let rules = Arc::new(Rules::new(rules.into_iter().map(|rule| rule.children(false)).collect(), true));
    let mut sampler = Sampler::open("/proc".as_ref(), "/etc/passwd".as_ref(), Timestamp::now()).unwrap();
    let sample = sampler.pass(Tick { at: Instant::now() });
    let (groups, processes, placements) = aggregate::place(&sample, Arc::clone(&rules));
    let mut ours = BTreeMap::new();
    for (process, _) in processes.iter().zip(&placements).filter(|(_, placement)| placement.rule < rules.own()) {
        *ours.entry(groups[process.group].name.to_string()).or_default() += 1;
    }
    (ours, theirs)
}

#[test]
#[ignore = "needs root and prometheus-process-exporter"]
fn selectors_and_their_traps_take_the_same_processes() {
    let mut cast = Cast::new();
    let title = format!("/opt/{}/bin/server", cast.tag());
    cast.titled("comm", title);
    let mut taken = 0;
    let items = [
        "{comm: [TAGcomm]}",
        "{comm: [TAGcom]}",
        "{comm: ['TAG*']}",
        "{comm: []}",
        "{exe: [server], comm: [TAGcomm]}",
        "{exe: [/opt/TAG/bin/server]}",
        "{exe: [/usr/TAG/bin/server]}",
        "{exe: [/usr/TAG/bin/server, server], comm: [TAGcomm]}",
        "{exe: [server, /usr/TAG/bin/server], comm: [TAGcomm]}",
        "{exe: [/usr/TAG/bin/server, /opt/TAG/bin/server]}",
        "{exe: [/opt/TAG/bin/server, /usr/TAG/bin/server]}",
        "{exe: [], comm: [TAGcomm]}",
        "{exe: [bin/server], comm: [TAGcomm]}",
        "{exe: [''], comm: [TAGcomm]}",
        "{exe: [TAGcomm]}",
        "{cmdline: ['TAG/bin'], comm: [TAGcomm]}",
        "{cmdline: ['TAG/bin', 'nope'], comm: [TAGcomm]}",
        "{cmdline: [], comm: [TAGcomm]}",
        "{cmdline: ['server 300$'], comm: [TAGcomm]}",
        "{cmdline: ['^/opt/TAG/bin/server 300$']}",
        "{cmdline: ['(?i)SERVER'], comm: [TAGcomm]}",
        "{cmdline: ['\\bserver\\b'], comm: [TAGcomm]}",
        "{cmdline: ['\\Qbin/server\\E'], comm: [TAGcomm]}",
        "{cmdline: ['[[:digit:]]{3}'], comm: [TAGcomm]}",
        "{cmdline: ['[a&&s]erver'], comm: [TAGcomm]}",
        "{cmdline: ['s{0}server'], comm: [TAGcomm]}",
        "{cmdline: ['\\163erver'], comm: [TAGcomm]}",
        "{cmdline: ['serve(?P<x>r)', '(?P<x>3)00'], comm: [TAGcomm], name: 'x{{.Matches.x}}'}",
        "{cmdline: ['serve(?P<x>r)|(?P<y>z)'], comm: [TAGcomm], name: '{{.Matches.x}}-{{.Matches.y}}'}",
    ];
    // One at a time, because the first that takes the process would hide the others.
    for item in items {
        let yaml = format!("process_names:\n- {}\n", item.replace("TAG", cast.tag()));
        let (ours, theirs) = groups(&yaml);
        assert_eq!(ours, theirs, "{yaml}");
        taken += ours.len();
    }
    assert_eq!(taken, 18, "so many of them take the process");
}

#[test]
#[ignore = "needs root and prometheus-process-exporter"]
fn names_of_groups_come_out_the_same() {
    let items = [
        "{comm: [TAGcomm]}",
        "{comm: [TAGcomm], name: ''}",
        "{comm: [TAGcomm], name: ~}",
        "{comm: [TAGcomm], name: plain}",
        "{comm: [TAGcomm], name: 1.50}",
        "{comm: [TAGcomm], name: '{{.Comm}}|{{.ExeBase}}|{{.ExeFull}}|{{.Username}}|{{.PID}}'}",
        "{comm: [TAGcomm], name: '{{.Cgroups}}'}",
        "{comm: [TAGcomm], name: '{{index .Cgroups 0}}'}",
        "{comm: [TAGcomm], name: 'a{{index .Cgroups 99}}b'}",
        "{comm: [TAGcomm], name: '{{.Matches}}'}",
        "{comm: [TAGcomm], name: '{{.Matches.x}}'}",
        "{comm: [TAGcomm], name: 'a{{index .Matches \"x\"}}b'}",
        "{comm: [TAGcomm], name: 'a {{- .Comm -}} b'}",
        "{comm: [TAGcomm], name: 'a{{/* nothing */}}b'}",
        "{comm: [TAGcomm], name: '{{`raw`}}{{\"text }}\"}}'}",
        "{comm: [TAGcomm], name: '}} {x} {'}",
        "{comm: [TAGcomm], cmdline: ['(\\S+) (\\d+)'], name: '{{.Matches}}'}",
        "{comm: [TAGcomm], cmdline: ['(?P<a>\\S)(?P<b>\\S+)', '(?P<a>\\d)(.)'], name: '{{.Matches}} {{.Matches.a}} {{index .Matches \"\"}}'}",
        "{comm: [TAGcomm], cmdline: ['(?P<_a1>3)'], name: '{{.Matches._a1}}'}",
        "{comm: [TAGcomm], name: \"two\\nlines and a \\\"quote\\\"\"}",
    ];
    for title in
        ["/opt/TAG/bin/server", "TAG: pool www", "TAG: master process (/etc/x/fpm.conf)", "TAG/", "", "ünïcode/TAG"]
    {
        let mut cast = Cast::new();
        // An item and a process of its own for each name.
        let mut yaml = "process_names:\n".to_owned();
        for (number, item) in items.iter().enumerate() {
            let role = format!("n{number}");
            cast.titled(&role, title.replace("TAG", cast.tag()));
            yaml += &format!("- {}\n", item.replace("TAGcomm", &format!("{}{role}", cast.tag())));
        }
        let (ours, theirs) = groups(&yaml);
        assert_eq!(ours, theirs, "{yaml}of {title:?}");
        let taken: u32 = ours.values().sum();
        assert!(taken >= 17, "only {taken} of {} items take {title:?}", items.len());
    }
}
