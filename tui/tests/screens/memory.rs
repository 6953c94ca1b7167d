//! How memory is shown: by which measure, what is estimated, and how full a cgroup is.

use tusktop::{
    export,
    model::{Memory, PssUnknown, Snapshot},
    ui::theme::{self, ColorDepth},
};

use crate::{
    measured::{measured, regroup},
    snapshot::{web01, without_php},
    stage::Stage,
};

/// All of PSS unknown, for one reason.
fn without_pss(why: PssUnknown) -> Snapshot {
    let mut snapshot = web01();
    for process in &mut snapshot.processes {
        process.memory = Memory { rss_bytes: process.memory.rss_bytes, ..Memory::default() };
        process.pss_unknown = Some(why);
    }
    regroup(&mut snapshot);
    snapshot
}

fn title(snapshot: Snapshot) -> String {
    Stage::showing(snapshot, 200, 50).line_with("memory by group")
}

#[test]
fn the_map_with_pss_of_all_but_the_database() {
    insta::assert_snapshot!(Stage::showing(measured(web01()), 150, 40).text());
}

#[test]
fn a_filter_is_seen_where_there_is_no_room_for_the_measure() {
    for (table, width) in [("", 80), ("", 150), ("t", 60), ("t", 150)] {
        let stage = Stage::showing(measured(web01()), width, 40).keys("/php<enter>").keys(table);
        assert!(stage.line_with("memory by group").contains("memory by group   filter: php"), "{}", stage.text());
    }
}

#[test]
fn the_table_has_columns_for_the_parts_where_there_is_room() {
    insta::assert_snapshot!(Stage::showing(measured(without_php()), 130, 24).keys("t").text());
    let narrow = Stage::showing(measured(without_php()), 100, 24).keys("t");
    assert!(!narrow.text().contains("USS"), "{}", narrow.text());
}

#[test]
fn the_table_of_snap_names_the_measure_and_marks_what_is_rss() {
    let mut out = Vec::new();
    export::write_table(&measured(web01()), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let groups: Vec<&str> = text.lines().skip(3).take_while(|line| !line.is_empty()).collect();
    insta::assert_snapshot!(groups.join("\n"));
}

#[test]
fn the_title_says_which_measure_it_is_and_why_not_pss() {
    let mut known = measured(web01());
    assert!(title(known.clone()).contains("PSS of 59 of 60 procs, RSS of the others"), "{}", title(known));
    for process in &mut known.processes {
        process.memory.pss_bytes = process.memory.rss_bytes;
    }
    regroup(&mut known);
    let text = Stage::showing(known, 200, 50).text();
    assert!(text.contains("memory by group   PSS, 4 s old ") && !text.contains('~'), "{text}");
    for (why, words) in [
        (PssUnknown::Off, "RSS (PSS: off) 4.3 GiB"),
        (PssUnknown::Refused, "RSS (PSS: not permitted)"),
        (PssUnknown::Waiting, "RSS (PSS: not read yet)"),
        (PssUnknown::TooExpensive, "RSS (PSS: too expensive to read)"),
        (PssUnknown::Unsupported, "RSS (PSS: not supported by the kernel)"),
    ] {
        let text = Stage::showing(without_pss(why), 200, 50).text();
        assert!(text.contains(words) && !text.contains('~'), "where all is RSS nothing is marked: {text}");
    }
}

#[test]
fn kernel_threads_do_not_make_the_measure_mixed() {
    let mut snapshot = without_pss(PssUnknown::Off);
    let idle = snapshot.processes.last_mut().unwrap();
    idle.memory = Memory::ZERO;
    idle.pss_unknown = None;
    regroup(&mut snapshot);
    assert!(title(snapshot).contains("RSS (PSS: off)"));
}

#[test]
fn the_area_is_the_footprint_and_what_is_rss_is_marked() {
    let snapshot = measured(web01());
    let mut stage = Stage::showing(snapshot, 200, 50).keys("t");
    assert!(stage.line_with("mariadbd").contains("~1.2 GiB"), "{}", stage.text());
    assert!(stage.line_with("php-fpm: www").contains(" 980 MiB"), "{}", stage.text());
    let order = ["mariadbd", "php-fpm: www", "redis"].map(|name| {
        let text = stage.text();
        text.lines().position(|line| line.contains(name)).unwrap()
    });
    assert!(order.is_sorted(), "RSS of 1.9 GiB is less than one of 1.2 GiB by PSS: {order:?}");
    stage.resize(120, 70);
    stage.press("?");
    assert!(stage.text().contains("A ~ before a size"));
}

#[test]
fn a_process_shows_its_parts_with_their_age_or_why_they_are_unknown() {
    let mut stage = Stage::showing(measured(web01()), 150, 60).keys("t/mariadb<enter><enter>");
    stage.press("<enter>");
    for line in ["RSS 1.2 GiB   PSS and USS - (too expensive to read)", "no limit   /system.slice"] {
        assert!(stage.text().contains(line), "{line}\n{}", stage.text());
    }
    let mut stage = Stage::showing(measured(web01()), 150, 60).keys("t/redis<enter><enter>");
    stage.press("<enter>");
    for part in ["PSS 294 MiB   USS 279 MiB", "(3 s old)   swap 0 B"] {
        assert!(stage.text().contains(part), "{part}\n{}", stage.text());
    }
}

#[test]
fn a_cgroup_that_is_nearly_full_is_shown_as_an_error() {
    let stage = Stage::showing(measured(web01()), 150, 40).theme("dark", ColorDepth::Truecolor);
    let palette = theme::load("dark", None, None).unwrap().palette(ColorDepth::Truecolor);
    let colour = |text: &str, stage: &Stage| {
        let (y, line) =
            stage.text().lines().enumerate().find(|(_, l)| l.contains(text)).map(|(y, l)| (y, l.to_owned())).unwrap();
        let x = line.split(text).next().unwrap().chars().count();
        stage.buffer[(x as u16, y as u16)].fg
    };
    assert_eq!(Some(colour("cgroup 1.9 of 2.0 GiB", &stage)), palette.error.fg);
    let zoomed = Stage::showing(measured(web01()), 200, 50)
        .theme("dark", ColorDepth::Truecolor)
        .keys("t/fpm: www<enter><enter>");
    assert!(zoomed.line_with("processes of").contains("cgroup 1.9 of 2.0 GiB"), "{}", zoomed.text());
    assert_eq!(Some(colour("cgroup 1.9 of 2.0 GiB", &zoomed)), palette.error.fg);
    let calm =
        Stage::showing(measured(web01()), 200, 50).theme("dark", ColorDepth::Truecolor).keys("t/nginx<enter><enter>");
    assert!(calm.line_with("processes of").contains("cgroup 96.0 of 512.0 MiB"), "{}", calm.text());
    assert_ne!(Some(colour("cgroup 96", &calm)), palette.error.fg);
}

#[test]
fn other_groups_have_the_cgroup_of_their_own_processes() {
    let mut stage = Stage::showing(measured(web01()), 150, 40).keys("gtt");
    while !stage.line_with("memory by").contains("by user") {
        stage.press("g");
    }
    let grouping = stage.app.view.grouping;
    let grouped = stage.timeline.grouped(grouping).unwrap();
    for (index, group) in grouped.groups.iter().enumerate() {
        let mut cgroups =
            grouped.processes.iter().filter(|process| process.group == index).map(|process| process.cgroup);
        let first = cgroups.next().unwrap();
        assert_eq!(group.cgroup, first.filter(|_| cgroups.all(|cgroup| cgroup == first)), "{}", group.name);
    }
}
