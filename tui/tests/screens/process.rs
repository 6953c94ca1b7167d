//! Screens of one process, of signals, and of the orders and filters of the memory pane.

use std::{sync::Arc, time::Duration};

use tusktop::{
    app::Command,
    model::{Inspection, Outcome, ProcessKey, SignalOrder, SignalReport, Snapshot, Unread},
    view::{Detail, Pane, Row, TileKey},
};

use crate::{
    inspection::worker,
    snapshot::{HOSTILE, add_group, empty, hostile, web01},
    stage::Stage,
};

/// The server, with start times by which its processes are known.
fn identified() -> Snapshot {
    let mut snapshot = web01();
    for process in &mut snapshot.processes {
        process.start_ticks = Some(u64::from(process.pid) * 100);
    }
    snapshot
}

/// The detail of the first worker of the shop, looked at closely.
fn detail(width: u16, height: u16) -> Stage {
    let mut stage = Stage::showing(identified(), width, height).keys("l<enter>l<enter>");
    let Some((Detail::Process { key, .. }, _)) = stage.app.view.pane(Pane::Map).detail else {
        panic!("a detail is open")
    };
    stage.inspection = Some(Arc::new(worker(key)));
    stage.draw();
    stage
}

fn change(stage: &mut Stage, change: impl FnOnce(&mut Inspection)) {
    change(Arc::make_mut(stage.inspection.as_mut().expect("an inspection")));
    stage.draw();
}

#[test]
fn a_worker_80x24() {
    insta::assert_snapshot!(detail(80, 24).text());
}

#[test]
fn a_worker_150x40() {
    insta::assert_snapshot!(detail(150, 40).text());
}

#[test]
fn where_there_is_room_the_page_has_two_columns() {
    let mut snapshot = empty();
    add_group(&mut snapshot, "daemon", &[1 << 30]);
    let mut stage = Stage::showing(snapshot, 200, 50).keys("l<enter>l<enter>");
    stage.inspection = Some(Arc::new(worker(ProcessKey { pid: 100, start_ticks: Some(0) })));
    stage.draw();
    assert!(stage.line_with("limits").contains("user"), "{}", stage.text());
    assert_eq!(stage.shown.scene.scrollable, 0, "{}", stage.text());
    insta::assert_snapshot!(stage.text());
}

#[test]
fn the_page_scrolls_to_its_end_on_a_small_screen() {
    let mut stage = detail(80, 24);
    stage.press("<end>");
    assert!(stage.text().contains("command line"), "{}", stage.text());
    stage.press("<home>");
    assert!(stage.text().contains("state"));
    stage.press("<pgdn>");
    assert!(!stage.text().contains("state  "), "a page is what is visible: {}", stage.text());
}

#[test]
fn what_is_close_to_its_limit_is_marked() {
    let mut stage = detail(150, 60);
    let warned = |stage: &Stage, label: &str| {
        let y = stage.text().lines().position(|line| line.contains(label)).expect("a line") as u16;
        let line = stage.line_with(label);
        let column = line.chars().position(|c| c.is_ascii_digit()).expect("a number") as u16;
        stage.buffer[(column, y)].fg
    };
    let calm = warned(&stage, "open files");
    assert_ne!(calm, warned(&stage, "memory limit"), "96 % of it is used");
    change(&mut stage, |inspection| {
        if let Ok(files) = &mut inspection.files {
            files.count = files.limit.expect("a limit") * 8 / 10 + 1;
        }
    });
    assert_ne!(warned(&stage, "open files"), calm);
}

#[test]
fn what_is_unknown_is_a_dash_with_its_reason() {
    let mut stage = detail(150, 60);
    change(&mut stage, |inspection| {
        inspection.mappings = Err(Unread::Refused);
        inspection.files = Err(Unread::Refused);
        inspection.exe = Err(Unread::Absent);
    });
    assert!(stage.line_with("open files").contains("- (not permitted"), "{}", stage.text());
    assert!(stage.line_with("file  ").contains("- (the kernel does not provide it)"), "{}", stage.text());
    assert_eq!(stage.text().matches("CAP_SYS_PTRACE").count(), 2);
    stage.inspection = None;
    stage.draw();
    assert!(stage.text().contains("reading …"));
}

#[test]
fn what_takes_too_long_is_read_when_enter_asks_for_it() {
    let mut stage = detail(150, 40);
    let asked = |stage: &Stage| stage.app.view.inspected().expect("a detail is open").asked;
    stage.press("<enter>");
    assert_eq!(asked(&stage), 0, "what is fresh is not read again");
    change(&mut stage, |inspection| inspection.mappings = Err(Unread::TooExpensive(Duration::from_millis(840))));
    assert!(stage.text().contains("takes about 840 ms"), "{}", stage.text());
    stage.press("<enter>");
    assert_eq!(asked(&stage), 1);
    // Its values stay, and say how old they are.
    let fresh = worker(stage.app.view.inspected().expect("a detail is open").process);
    stage.inspection = Some(Arc::new(Inspection { at: fresh.at + Duration::from_secs(75), ..fresh }));
    stage.draw();
    assert!(stage.line_with("memory by kind").contains("enter reads it again"), "{}", stage.text());
    stage.press("<enter>");
    assert_eq!(asked(&stage), 2);
}

#[test]
fn a_process_that_ended_leaves_its_last_values() {
    let mut stage = detail(120, 40);
    let pid = stage.app.view.inspected().expect("a detail is open").process.pid;
    let mut next = identified();
    next.processes.retain(|process| process.pid != pid);
    stage.push(next);
    change(&mut stage, |inspection| inspection.ended = true);
    assert!(stage.text().contains("this process has ended: these are the last values"), "{}", stage.text());
    assert!(stage.text().contains("opcache") && stage.text().contains(&format!("process {pid} php-fpm")));
    assert!(stage.shown.facts.target.as_ref().is_some_and(|target| target.processes.is_empty()));
    stage.press("x");
    assert!(stage.text().contains("no process or group is selected"));
}

#[test]
fn another_process_with_its_pid_is_not_shown_as_it() {
    let mut stage = detail(120, 40);
    let key = stage.app.view.inspected().expect("a detail is open").process;
    let mut next = identified();
    for process in next.processes.iter_mut().filter(|process| process.pid == key.pid) {
        (process.start_ticks, process.user) = (Some(1), "intruder".into());
    }
    stage.push(next);
    assert!(!stage.text().contains("intruder") && stage.text().contains("has ended"), "{}", stage.text());
    stage.inspection = Some(Arc::new(worker(ProcessKey { pid: key.pid, start_ticks: Some(1) })));
    stage.draw();
    assert!(!stage.text().contains("opcache"), "{}", stage.text());
}

#[test]
fn a_signal_to_a_group_names_its_processes_80x24() {
    insta::assert_snapshot!(Stage::showing(identified(), 80, 24).keys("lxU").text());
}

#[test]
fn a_signal_to_a_process_150x40() {
    let mut stage = detail(150, 40).keys("xQ");
    assert!(stage.text().contains("enter sends SIGQUIT (3)"));
    assert!(stage.text().contains("ends when its request is done"));
    stage.press("<enter>");
    let Some(Command::Signal(SignalOrder { target, .. })) = stage.commands.last().cloned() else {
        panic!("it is sent")
    };
    assert_eq!(target.processes.len(), 1);
    insta::assert_snapshot!(stage.text());
}

#[test]
fn a_master_is_told_from_its_workers_by_what_a_signal_does() {
    let mut snapshot = identified();
    let group = snapshot.groups.iter().position(|group| &*group.name == "php-fpm: www").expect("the shop");
    let mut master = snapshot.processes.iter().find(|process| process.group == group).expect("a worker").clone();
    (master.pid, master.cmdline) = (1, "php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)".into());
    snapshot.processes.insert(0, master);
    let mut stage = Stage::showing(snapshot, 150, 40).keys("lx");
    let text = stage.text();
    assert!(text.contains("quick stop of all pools") && text.contains("php-fpm worker: ends at once"), "{text}");
    assert!(text.contains("pid 1 is among them"), "{text}");
    stage.press("2");
    assert!(stage.text().contains("typed: 2"));
    stage.press("<esc>x12");
    assert!(stage.text().contains("graceful reload") && stage.text().contains("SIGUSR2 (12)"), "{}", stage.text());
    stage.press("4");
    assert!(stage.text().contains("4 is not a signal here"), "{}", stage.text());
}

#[test]
fn tusktop_does_not_end_itself_in_silence() {
    let mut stage = Stage::showing(identified(), 120, 30).keys("l");
    stage.app.view.own_pid = stage.shown.facts.target.as_ref().expect("a target").processes[0].key.pid;
    stage.press("x");
    assert!(stage.text().contains("tusktop itself is among them"), "{}", stage.text());
}

#[test]
fn a_big_group_lists_some_and_counts_the_rest() {
    let mut snapshot = empty();
    add_group(&mut snapshot, "many", &[1 << 20; 500]);
    let stage = Stage::showing(snapshot, 100, 40).keys("lx");
    assert!(stage.text().contains("500 processes of root") && stage.text().contains("and 492 more: 108 109"));
    let Some(target) = &stage.shown.facts.target else { panic!("a target") };
    assert_eq!(target.processes.len(), 500, "all of them get it");
}

#[test]
fn what_became_of_a_signal_is_said_for_each_that_did_not_get_it() {
    let mut stage = Stage::showing(identified(), 120, 40).keys("lx<enter><enter>");
    let Some(Command::Signal(order)) = stage.commands.last().cloned() else { panic!("it is sent") };
    let pids: Vec<u32> = order.target.processes.iter().map(|process| process.key.pid).collect();
    let outcome = |at| match at {
        0 => Outcome::Ended,
        1 => Outcome::Refused,
        _ => Outcome::Sent,
    };
    let outcomes: Vec<_> = pids.iter().enumerate().map(|(at, &pid)| (pid, outcome(at))).collect();
    stage.app.signalled(&order, SignalReport { signal: order.signal, outcomes });
    stage.draw();
    let sent = format!("sent TERM to {} of {}; 1 had ended; 1 not permitted", pids.len() - 2, pids.len());
    assert!(stage.text().contains(&sent), "{}", stage.text());
    assert!(stage.text().contains(&format!("{}  not permitted", pids[1])), "{}", stage.text());
}

#[test]
fn read_only_says_what_turned_signals_off() {
    let mut stage = Stage::showing(identified(), 120, 30);
    stage.app.view.read_only = Some("read_only = true in /etc/tusktop/config.toml".into());
    stage.press("lx");
    assert!(stage.text().contains("signals are off: read_only = true in /etc/tusktop/config.toml"), "{}", stage.text());
}

#[test]
fn hostile_names_do_not_reach_the_terminal() {
    let mut stage = Stage::showing(hostile(), 120, 40).keys("l<enter>l<enter>");
    let key = stage.app.view.inspected().expect("a detail is open").process;
    let mut seen = worker(key);
    let evil: Arc<str> = HOSTILE.concat().into();
    (seen.comm, seen.exe, seen.cwd) = (evil.clone(), Ok(evil.clone()), Ok(evil.clone()));
    (seen.wchan, seen.arguments) = (Ok(Some(evil.clone())), Ok((evil.clone(), true)));
    if let (Ok(mappings), Ok(group), Ok(limits)) = (&mut seen.mappings, &mut seen.cgroup, &mut seen.limits) {
        mappings.biggest.iter_mut().for_each(|(name, ..)| *name = evil.clone());
        group.path = evil.clone();
        limits.iter_mut().for_each(|limit| limit.name = evil.clone());
    }
    stage.inspection = Some(Arc::new(seen));
    for (width, height) in [(120, 40), (80, 24), (40, 12), (41, 10), (200, 50), (12, 3)] {
        stage.resize(width, height);
        for keys in ["<home>", "<end>", "x", "K", "<esc>"] {
            stage.press(keys);
            for cell in &stage.buffer.content {
                assert_eq!(cell.symbol(), tusktop::words::printable::printable(cell.symbol()));
            }
        }
    }
}

#[test]
fn the_choice_of_an_order_shows_those_that_the_pane_has() {
    let shown = |keys: &str| {
        let stage = Stage::showing(identified(), 120, 40).keys(keys);
        let text = stage.text();
        ["by memory", "by user", "by number of processes", "by pid", "by total time", "by errors", "by calls"]
            .map(|order| text.contains(order))
    };
    assert_eq!(shown("s"), [true, false, true, false, false, false, false]);
    assert_eq!(shown("l<enter>s"), [true, true, false, true, false, false, false]);
    assert_eq!(shown("2s"), [false, false, false, false, true, false, false]);
    assert_eq!(shown("3s"), [true, false, false, false, false, true, false]);
}

/// Names in the table, in order.
fn rows(stage: &Stage) -> Vec<TileKey> {
    let rows = stage.shown.scene.lists[Pane::Map as usize].rows.iter();
    rows.map(|row| if let Row::Tile(key) = row { key.clone() } else { panic!("a row of the table: {row:?}") }).collect()
}

#[test]
fn an_order_turns_the_tiles_into_a_table_that_has_it() {
    let snapshot = identified();
    let mut stage = Stage::showing(snapshot.clone(), 120, 40).keys("A");
    let names: Vec<String> = rows(&stage).iter().map(|key| format!("{key:?}")).collect();
    assert!(stage.app.view.table && names.is_sorted() && names.len() > 5, "{names:?}");
    stage.press("#");
    let processes = |key: &TileKey| match key {
        TileKey::Group(name) => snapshot.groups.iter().find(|group| group.name == *name).map(|group| group.processes),
        _ => None,
    };
    assert!(rows(&stage).iter().map(processes).is_sorted_by(|a, b| a >= b));
    stage.press("U");
    assert_eq!(stage.app.view.pane(Pane::Map).sort, Some(tusktop::view::Sort::Rate), "groups have no user");
}

#[test]
fn processes_of_a_group_are_ordered_by_pid_user_cpu_and_back() {
    let mut snapshot = empty();
    let group = add_group(&mut snapshot, "mixed", &[3 << 20, 1 << 20, 2 << 20]);
    for (process, (user, cpu)) in snapshot.processes.iter_mut().zip([("b", 0.1), ("c", 0.3), ("a", 0.2)]) {
        (process.user, process.cpu_ratio, process.group) = (user.into(), Some(cpu), group);
    }
    let mut stage = Stage::showing(snapshot, 100, 30).keys("tl<enter>");
    for (key, expected) in
        [("#", [100, 101, 102]), ("U", [102, 100, 101]), ("P", [101, 102, 100]), ("M", [100, 102, 101])]
    {
        stage.press(key);
        assert_eq!(rows(&stage), expected.map(TileKey::Process), "{key}\n{}", stage.text());
        stage.press("I");
        assert_eq!(rows(&stage).last(), Some(&TileKey::Process(expected[0])), "{key} reverse order");
    }
    assert!(stage.line_with("  102  ").contains(" a"), "the user is a column: {}", stage.text());
}

#[test]
fn a_filter_holds_in_tiles_and_table_at_every_level() {
    let snapshot = identified();
    let mysql = snapshot.processes.iter().find(|process| &*process.user == "mysql").expect("a database").clone();
    let name = snapshot.groups[mysql.group].name.clone();
    for filter in ["user:^mysql$".to_owned(), format!("pid:{}", mysql.pid), format!("name:{name}")] {
        for table in ["", "t"] {
            let mut stage = Stage::showing(snapshot.clone(), 120, 40).keys(&format!("{table}/{filter}<enter>"));
            assert_eq!(rows(&stage), [TileKey::Group(name.clone())], "{filter}\n{}", stage.text());
            stage.press("n<enter>");
            assert!(rows(&stage).contains(&TileKey::Process(mysql.pid)), "{}", stage.text());
            stage.press(&format!("/pid:{}<enter>", mysql.pid));
            assert_eq!(rows(&stage), [TileKey::Process(mysql.pid)]);
            stage.press("<esc>/user:nobody such<enter>");
            assert!(stage.text().contains("nothing matches the filter"));
        }
    }
    let workers = Stage::showing(snapshot, 120, 40).keys("tl<enter>/user:www");
    assert!(rows(&workers).len() > 1);
}

#[test]
fn next_and_previous_step_through_what_is_filtered() {
    let mut stage = Stage::showing(identified(), 120, 40).keys("t/php<enter>");
    let all = rows(&stage);
    assert!(all.len() >= 2);
    for (key, at) in [("n", 0), ("n", 1), ("N", 0), ("N", 0)] {
        stage.press(key);
        assert_eq!(stage.app.view.pane(Pane::Map).selected, Some(Row::Tile(all[at].clone())), "{key}");
    }
}

#[test]
fn a_filter_that_is_no_expression_says_why_and_is_taken_as_it_is() {
    let stage = Stage::showing(identified(), 150, 40).keys("/php-(fpm");
    assert!(stage.line_with("memory by group").contains("filter: php-(fpm (as plain text: unclosed group)"));
}
