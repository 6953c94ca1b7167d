//! Claims about the screen over a recording: it is the same screen, moved through by keys and by the line at the bottom.

use std::{io::Write as _, sync::Arc, time::Duration};

use crossterm::event::{Event, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use jiff::SignedDuration;
use tusktop::{
    app::Command,
    model::{Notice, Snapshot, Window},
    recording::{Recording, RingLimits, Writer},
    view::{Pane, Shown, TileColour, View},
};

use crate::{snapshot::web01, stage::Stage};

/// Three minutes and a half of the busy server; its requests come in waves, and one notice comes after two minutes.
fn recording() -> (tempfile::NamedTempFile, Vec<Snapshot>) {
    let mut writer = Writer::new(Vec::new()).unwrap();
    let snapshots: Vec<Snapshot> = (0..21)
        .map(|step| {
            let mut snapshot = web01();
            snapshot.at += SignedDuration::from_secs(step * 10);
            snapshot.interval_ms = 10_000;
            let mut php = (*snapshot.php).clone();
            php.interval_ms = 10_000;
            php.routes.iter_mut().for_each(|route| route.requests = 3 + step as u64 % 3);
            snapshot.php = Arc::new(php);
            snapshot.notices.clear();
            if step >= 12 {
                snapshot.notices.push(Notice::processes_refused(3));
            }
            writer.push(&snapshot).unwrap();
            snapshot
        })
        .collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&writer.finish().unwrap()).unwrap();
    (file, snapshots)
}

fn replaying(width: u16, height: u16) -> (Stage, Vec<Snapshot>) {
    let (file, snapshots) = recording();
    let mut stage = Stage::new(width, height);
    stage.replay(Recording::open(file.path()).unwrap());
    stage.settle();
    (stage, snapshots)
}

/// A live screen that has seen the same.
fn watched(width: u16, height: u16) -> (Stage, Vec<Snapshot>) {
    let (_, snapshots) = recording();
    let mut stage = Stage::keeping(RingLimits::default(), width, height);
    snapshots.iter().cloned().for_each(|snapshot| stage.push(snapshot));
    (stage, snapshots)
}

/// Seconds from the start of the recording to the snapshot that is shown.
fn second(stage: &Stage, snapshots: &[Snapshot]) -> i64 {
    stage.timeline.current().unwrap().at.duration_since(snapshots[0].at).as_secs()
}

#[test]
fn replay_80x24() {
    insta::assert_snapshot!(replaying(80, 24).0.keys(")").text());
}

#[test]
fn replay_150x45() {
    insta::assert_snapshot!(replaying(150, 45).0.keys(")").text());
}

#[test]
fn keys_go_by_a_snapshot_a_minute_and_ten_minutes_and_stop_at_both_ends() {
    let (mut stage, snapshots) = replaying(120, 30);
    for (keys, expected) in
        [(".", 10), (",", 0), (",", 0), (")", 60), (".", 70), ("(", 10), ("}", 200), (".", 200), ("{", 0)]
    {
        stage.press(keys);
        assert_eq!(second(&stage, &snapshots), expected, "{keys}");
    }
}

#[test]
fn keys_go_to_the_notice_that_is_new_and_back() {
    let (mut stage, snapshots) = replaying(120, 30);
    stage.press(";");
    assert_eq!(second(&stage, &snapshots), 120);
    assert!(stage.text().contains("cannot be read"), "{}", stage.text());
    stage.press(";");
    assert_eq!(second(&stage, &snapshots), 120, "there is no other");
    stage.press("}'");
    assert_eq!(second(&stage, &snapshots), 120);
}

#[test]
fn a_typed_moment_is_gone_to_and_a_wrong_one_is_said() {
    let (mut stage, snapshots) = replaying(120, 30);
    let at = snapshots[7].at.strftime("%H:%M:%S").to_string();
    stage.press(&format!(":{at}<enter>"));
    assert_eq!(second(&stage, &snapshots), 70);
    stage.press(":1m ago<enter>");
    assert_eq!(second(&stage, &snapshots), 140);
    stage.press(":noon<enter>");
    assert!(stage.text().contains("expected a time"), "{}", stage.text());
    assert_eq!(second(&stage, &snapshots), 140);
    stage.press("<esc><esc>");
    assert!(!stage.text().contains("expected a time"));
}

#[test]
fn a_click_on_the_line_goes_there() {
    let (mut stage, snapshots) = replaying(120, 30);
    let line = stage.shown.scene.scrub.unwrap();
    let click = |stage: &mut Stage, column| {
        let kind = MouseEventKind::Down(MouseButton::Left);
        stage.event(&Event::Mouse(MouseEvent { kind, column, row: line.y, modifiers: KeyModifiers::NONE }));
    };
    click(&mut stage, line.right() - 1);
    assert_eq!(second(&stage, &snapshots), 200);
    click(&mut stage, line.x);
    assert_eq!(second(&stage, &snapshots), 0);
    click(&mut stage, line.x + line.width / 2);
    assert!((90..=110).contains(&second(&stage, &snapshots)));
}

#[test]
fn it_plays_at_its_speed_and_stops_at_the_end() {
    let (mut stage, snapshots) = replaying(120, 30);
    assert!(!stage.is_playing());
    stage.press("<space>");
    assert!(stage.is_playing());
    assert!(!stage.play(Duration::from_secs(9)), "the next snapshot has not come");
    assert!(stage.play(Duration::from_secs(1)));
    assert_eq!(second(&stage, &snapshots), 10);
    stage.press("++");
    assert!(stage.text().contains("playing 4x"));
    stage.play(Duration::from_secs(5));
    assert_eq!(second(&stage, &snapshots), 30);
    stage.play(Duration::from_secs(600));
    assert_eq!(second(&stage, &snapshots), 200);
    assert!(!stage.is_playing());
}

#[test]
fn signals_and_tracing_say_why_they_do_nothing() {
    let (mut stage, _) = replaying(120, 30);
    stage.app.view.read_only = Some("this is a recording".into());
    stage.press("l");
    stage.press("x");
    assert!(stage.text().contains("signals are off: this is a recording"));
    stage.press("<esc>X");
    assert!(stage.text().contains("nothing runs here that could be traced"));
    stage.press("<enter>");
    assert!(!stage.commands.iter().any(|command| matches!(command, Command::Trace(_) | Command::Signal(_))));
}

/// Sizes at which the screens are compared: the smallest, each arrangement of panes, and large ones.
const SIZES: [(u16, u16); 10] =
    [(30, 8), (40, 10), (60, 14), (80, 24), (100, 30), (119, 40), (120, 24), (120, 35), (150, 45), (200, 50)];

#[test]
fn a_replayed_snapshot_is_drawn_as_it_was_live_at_every_size() {
    let (mut replayed, snapshots) = replaying(150, 45);
    for last in [6, 9, 20] {
        // A step from now shows what was collected, with the line that a recording has, too.
        let mut live = Stage::keeping(RingLimits::default(), 150, 45);
        snapshots[..=last].iter().cloned().for_each(|snapshot| live.push(snapshot));
        live.press(".");
        replayed.app.view.window = Window::default();
        replayed.press(&format!("0:{}<enter>", snapshots[last].at));
        for keys in ["", "w", "w", "wg", "ggggtl", "<enter>", "t"] {
            replayed.press(keys);
            replayed.settle();
            live.app.view = View { recorded: false, ..replayed.app.view.clone() };
            live.settle();
            for (width, height) in SIZES {
                let panes = |stage: &mut Stage| {
                    // Tiles keep the places that they had in the drawing before.
                    stage.shown = Shown::default();
                    stage.resize(width, height);
                    panes(stage)
                };
                assert_eq!(panes(&mut live), panes(&mut replayed), "{width}x{height} {keys} {last}");
                // Colours, too.
                let styles = |stage: &Stage| {
                    let rects = stage.shown.scene.panes.iter().map(|(_, rect)| *rect);
                    rects.flat_map(|rect| rect.positions()).map(|at| stage.buffer[at].style()).collect::<Vec<_>>()
                };
                assert!(styles(&live) == styles(&replayed), "{width}x{height} {keys} {last}");
            }
        }
    }
}

/// The lines of the panes, which are all but the header, the keys and the line of the recording.
fn panes(stage: &Stage) -> Vec<String> {
    let rects = || stage.shown.scene.panes.iter().map(|(_, rect)| rect);
    let top = rects().map(|rect| rect.y).min().unwrap_or(0);
    let bottom = rects().map(|rect| rect.bottom()).max().unwrap_or(0);
    stage.text().lines().take(usize::from(bottom)).skip(usize::from(top)).map(str::to_owned).collect()
}

#[test]
fn a_live_screen_goes_back_while_it_goes_on_collecting() {
    let (mut stage, snapshots) = watched(150, 45);
    assert!(stage.shown.scene.scrub.is_none() && stage.line_with("LIVE").contains("web01"));
    stage.press("(");
    assert_eq!(second(&stage, &snapshots), 140);
    assert!(stage.line_with("PAST").contains("PAST 1m 00s ago"), "{}", stage.text());
    assert!(stage.line_with("stopped 1x").contains("1m 00s ago"));
    let mut next = snapshots[20].clone();
    next.at += SignedDuration::from_secs(10);
    stage.push(next.clone());
    assert_eq!(second(&stage, &snapshots), 140, "what is looked at stays");
    assert!(stage.line_with("PAST").contains("PAST 1m 10s ago"), "and is longer ago now");
    stage.press("L");
    assert_eq!(second(&stage, &snapshots), 210);
    assert!(stage.shown.scene.scrub.is_none() && stage.text().contains("LIVE"));
    next.at += SignedDuration::from_secs(10);
    stage.push(next);
    assert_eq!(second(&stage, &snapshots), 220, "and it goes on");
}

#[test]
fn the_past_of_a_live_screen_has_all_keys_of_a_recording() {
    let (mut stage, snapshots) = watched(120, 30);
    for (keys, expected) in
        [(",", 190), ("(", 130), (";", 130), ("'", 120), (".", 130), ("{", 0), (")", 60), ("}", 200)]
    {
        stage.press(keys);
        assert_eq!(second(&stage, &snapshots), expected, "{keys}");
    }
    stage.press(":1m ago<enter>");
    assert_eq!(second(&stage, &snapshots), 140);
    let line = stage.shown.scene.scrub.unwrap();
    let kind = MouseEventKind::Down(MouseButton::Left);
    stage.event(&Event::Mouse(MouseEvent { kind, column: line.x, row: line.y, modifiers: KeyModifiers::NONE }));
    assert_eq!(second(&stage, &snapshots), 0);
}

#[test]
fn the_past_of_a_live_screen_plays_until_it_is_now() {
    let (mut stage, snapshots) = watched(120, 30);
    stage.press("(<space>");
    assert!(stage.is_playing());
    assert!(stage.play(Duration::from_secs(10)));
    assert_eq!(second(&stage, &snapshots), 150);
    stage.play(Duration::from_secs(100));
    stage.draw();
    assert!(!stage.is_playing() && stage.text().contains("LIVE"));
    stage.press("<space>");
    assert!(stage.text().contains("PAUSED"), "a pause alone is no journey");
    assert!(stage.shown.scene.scrub.is_none());
}

#[test]
fn a_paused_screen_goes_back_from_where_it_stopped() {
    let (mut stage, snapshots) = watched(120, 30);
    stage.press("+-\\");
    assert!(stage.shown.scene.scrub.is_none(), "there is no speed and no mark without a past moment");
    stage.press("<space>");
    let mut next = snapshots[20].clone();
    for _ in 0..3 {
        next.at += SignedDuration::from_secs(10);
        stage.push(next.clone());
    }
    stage.press(",");
    assert_eq!(second(&stage, &snapshots), 190);
    stage.press("L");
    assert_eq!(second(&stage, &snapshots), 230);
}

#[test]
fn a_past_moment_of_a_live_screen_is_drawn_as_it_was_then() {
    let (mut back, snapshots) = watched(150, 45);
    back.press("(");
    back.settle();
    let mut then = Stage::new(150, 44);
    snapshots[..=14].iter().cloned().for_each(|snapshot| then.push(snapshot));
    back.shown = Shown::default();
    back.draw();
    then.shown = Shown::default();
    then.draw();
    assert_eq!(panes(&back), panes(&then));
}

#[test]
fn the_memory_of_the_chosen_group_is_drawn_along_the_line() {
    let (mut stage, _) = replaying(120, 30);
    assert_eq!(stage.shown.scene.scrub.unwrap().height, 1);
    stage.press("l");
    let line = stage.line_with(", up to ");
    assert!(line.starts_with(" memory ") && line.contains('█'), "{line}");
    assert_eq!(stage.shown.scene.scrub.unwrap().height, 2, "and it takes clicks, too");
}

#[test]
fn the_page_of_a_process_says_what_is_not_recorded() {
    let (mut replayed, _) = replaying(150, 45);
    let (mut back, _) = watched(150, 45);
    back.press("(");
    for stage in [&mut replayed, &mut back] {
        stage.press("l<enter>l<enter>");
        assert!(stage.text().contains("it is not recorded"), "{}", stage.text());
        assert!(!stage.text().contains("reading …"));
    }
}

#[test]
fn what_comes_through_a_pipe_can_be_gone_back_in() {
    let (mut stage, snapshots) = watched(150, 45);
    stage.app.view.recorded = true;
    stage.press("(");
    assert_eq!(second(&stage, &snapshots), 140);
    assert!(stage.text().contains("PAST 1m 00s ago"));
    stage.press("L");
    assert_eq!(second(&stage, &snapshots), 200);
    assert!(stage.text().contains("RECORDING") && !stage.text().contains("PAST"));
}

#[test]
fn two_marks_show_what_lies_between_them() {
    let (mut stage, snapshots) = replaying(150, 45);
    stage.press(")[");
    assert!(stage.text().contains("last 10 s"), "one mark is no span");
    stage.press(")]");
    stage.settle();
    let clock = |index: usize| snapshots[index].at.strftime("%H:%M:%S").to_string();
    let span = format!("{} to {}", clock(6), clock(12));
    assert_eq!(stage.text().matches(&span).count(), 3, "every list says it: {}", stage.text());
    let requests: u64 = snapshots[7..=12].iter().flat_map(|s| &s.php.routes).map(|route| route.requests).sum();
    assert_eq!(stage.timeline.window(Window::All).routes.iter().map(|route| route.requests).sum::<u64>(), requests);
    let line = stage.line_with("stopped 1x");
    assert!(line.contains('[') && line.contains(']'), "{line}");
    stage.press("(");
    stage.settle();
    assert!(stage.text().contains(&span), "it stays when another moment is gone to");
    stage.press("\\");
    assert!(!stage.text().contains(&span) && stage.text().contains("last 10 s"));
}

#[test]
fn dragging_along_the_line_marks_a_span() {
    let (mut stage, _) = replaying(120, 30);
    let line = stage.shown.scene.scrub.unwrap();
    let mouse = |stage: &mut Stage, kind, column| {
        stage.event(&Event::Mouse(MouseEvent { kind, column, row: line.y, modifiers: KeyModifiers::NONE }));
    };
    mouse(&mut stage, MouseEventKind::Down(MouseButton::Left), line.right() - 5);
    mouse(&mut stage, MouseEventKind::Drag(MouseButton::Left), line.x + 20);
    mouse(&mut stage, MouseEventKind::Drag(MouseButton::Left), line.x + 10);
    stage.settle();
    let shown = stage.line_with("stopped 1x");
    let place = |symbol| shown.chars().position(|c| c == symbol).map(|at| at as u16);
    assert_eq!((place('['), place(']')), (Some(line.x + 10), Some(line.right() - 5)), "{shown}");
    assert!(!stage.text().contains("last 10 s"));
}

#[test]
fn groups_grow_over_the_marked_span() {
    let mut writer = Writer::new(Vec::new()).unwrap();
    let base = web01();
    for second in 0..120_u64 {
        let mut snapshot = base.clone();
        snapshot.at += SignedDuration::from_secs(second as i64);
        let group = &mut snapshot.groups[0];
        group.memory.rss_bytes = group.memory.rss_bytes.map(|bytes| bytes + second.min(60) * (4 << 20));
        writer.push(&snapshot).unwrap();
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&writer.finish().unwrap()).unwrap();
    let mut stage = Stage::new(150, 45);
    stage.replay(Recording::open(file.path()).unwrap());
    stage.press("[:1m ago<enter>]t");
    stage.settle();
    assert!(stage.text().contains("▲ 240 MiB/min"), "{}", stage.text());
}

#[test]
fn two_spans_are_compared_and_noise_is_grey() {
    let mut writer = Writer::new(Vec::new()).unwrap();
    let base = web01();
    for second in 0..240 {
        let mut snapshot = base.clone();
        snapshot.at += SignedDuration::from_secs(second);
        let mut php = (*snapshot.php).clone();
        for (index, function) in php.functions.iter_mut().enumerate() {
            // The first one takes three times as long from the middle on; the others vary a little.
            let after = if index == 0 && second >= 120 { 3 } else { 1 };
            function.self_samples = after * (20 + (second as u64 + index as u64) % 3);
            function.total_samples = function.self_samples;
        }
        snapshot.php = Arc::new(php);
        writer.push(&snapshot).unwrap();
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&writer.finish().unwrap()).unwrap();
    let mut stage = Stage::new(150, 45);
    stage.replay(Recording::open(file.path()).unwrap());
    stage.press("=");
    assert!(stage.text().contains("mark a span first"));
    stage.press("[)]=");
    stage.press(":30s ago<enter>[");
    assert!(!stage.text().contains("compared"), "the second span has no end yet");
    stage.press("}]");
    stage.settle();
    let text = stage.text();
    assert!(text.contains("functions compared") && text.contains("routes compared"), "{text}");
    let name = web01().php.functions[0].key.name.to_string();
    let hot = stage.shown.scene.panes.iter().find(|(pane, _)| *pane == Pane::Hot).unwrap().1;
    let style = |stage: &Stage, y: u16| stage.buffer[(hot.x + 2, hot.y + y)].style();
    let first: String = (hot.x..hot.right()).map(|x| stage.buffer[(x, hot.y + 1)].symbol()).collect();
    assert!(first.contains(&name) && first.contains('+'), "what changed comes first: {first}");
    assert_ne!(style(&stage, 1).fg, style(&stage, 3).fg, "and what is noise is grey");
    assert_eq!(style(&stage, 3).fg, stage.palette.muted.fg);
    assert_eq!(stage.app.view.tile_colour, TileColour::Growth);
    stage.press("\\");
    assert!(!stage.text().contains("compared"));
}

/// Two minutes of a machine from a second on.
fn of_machine(name: &str, from: i64) -> (Vec<u8>, Vec<Snapshot>) {
    let mut writer = Writer::new(Vec::new()).unwrap();
    let snapshots: Vec<Snapshot> = (from..from + 120)
        .map(|second| {
            let mut snapshot = web01();
            snapshot.at += SignedDuration::from_secs(second);
            snapshot.host.name = name.into();
            snapshot.notices.clear();
            writer.push(&snapshot).unwrap();
            snapshot
        })
        .collect();
    (writer.finish().unwrap(), snapshots)
}

fn joined(parts: &[Vec<u8>], width: u16, height: u16) -> Stage {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&parts.concat()).unwrap();
    let mut stage = Stage::new(width, height);
    stage.replay(Recording::open(file.path()).unwrap());
    stage.settle();
    stage
}

/// The symbols of the line at the bottom.
fn line(stage: &Stage) -> String {
    let picture = stage.shown.scene.scrub.unwrap();
    (picture.x..picture.right()).map(|x| stage.buffer[(x, picture.bottom() - 1)].symbol()).collect()
}

#[test]
fn another_machine_in_a_joined_recording_is_a_break_and_a_notice_and_sums_begin_again() {
    for (width, height) in [(80, 24), (150, 45), (200, 50)] {
        let (first, snapshots) = of_machine("web01", 0);
        let mut stage = joined(&[first, of_machine("db02", 130).0], width, height);
        assert_eq!(line(&stage).matches('│').count(), 1, "{}", line(&stage));
        stage.press(";");
        stage.settle();
        assert_eq!(second(&stage, &snapshots), 130, "it is gone to like a notice");
        let text = stage.text();
        assert!(text.contains("another machine from here on: db02, before it was web01"), "{text}");
        assert!(text.lines().next().unwrap().contains("db02"), "{text}");
        // Ten seconds and all before it would be those of the other machine.
        for window in [Window::TenSeconds, Window::Minute, Window::All] {
            assert_eq!(stage.timeline.window(window).interval_ms, web01().php.interval_ms, "{window:?}");
        }
        stage.press("www");
        stage.settle();
        assert_eq!(stage.timeline.window(Window::All).interval_ms, web01().php.interval_ms);
        stage.press(",");
        assert_eq!(second(&stage, &snapshots), 119);
        assert!(!stage.text().contains("another machine"));
        stage.press("[..]");
        assert!(stage.text().contains("more than one machine"), "{}", stage.text());
    }
}

#[test]
fn machines_that_were_recorded_at_the_same_time_are_not_mixed() {
    let (first, snapshots) = of_machine("web01", 0);
    let mut stage = joined(&[first, of_machine("db02", 30).0], 150, 45);
    assert!(stage.text().contains("another machine at the same time"), "{}", stage.text());
    stage.press(")L");
    assert_eq!(second(&stage, &snapshots), 119);
    for _ in 0..20 {
        stage.press(",");
        assert_eq!(stage.timeline.current().unwrap().host.name, "web01");
    }
}

#[test]
fn another_machine_through_a_pipe_begins_new_sums() {
    let mut stage = Stage::keeping(RingLimits::default(), 150, 45);
    let parts = [of_machine("web01", 0).1, of_machine("db02", 130).1];
    for snapshot in parts.concat() {
        let is_first = snapshot.at == parts[1][0].at;
        stage.push(snapshot);
        assert_eq!(stage.text().contains("another machine from here on: db02"), is_first);
    }
    assert_eq!(stage.timeline.window(Window::All).interval_ms, 120 * web01().php.interval_ms);
    stage.press(",");
    assert_eq!(line(&stage).matches('│').count(), 1, "{}", line(&stage));
    stage.press(":120s ago<enter>");
    assert!(stage.text().contains("web01"), "{}", stage.text());
}

#[test]
fn a_time_of_which_nothing_is_known_is_empty_on_the_line() {
    let (first, snapshots) = of_machine("web01", 0);
    let mut stage = joined(&[first, of_machine("web01", 600).0], 150, 45);
    let line = line(&stage);
    let empty = line.chars().filter(|&c| c == ' ').count() as f64 / line.chars().count() as f64;
    assert!((0.6..0.7).contains(&empty) && !line.contains('│'), "480 of 720 s: {line:?}");
    // Playing passes over it.
    stage.press(")).... <esc>");
    stage.play(Duration::from_secs(80));
    assert!(second(&stage, &snapshots) >= 600);
}

#[test]
fn parts_that_are_rolled_up_have_the_rate_of_the_others_and_no_spike() {
    let mut writer = Writer::new(Vec::new()).unwrap();
    let mut second = 0;
    for (step, count) in [(60, 20), (10, 60), (1, 300)] {
        for _ in 0..count {
            second += step;
            let mut snapshot = web01();
            snapshot.at += SignedDuration::from_secs(second);
            snapshot.interval_ms = step as u64 * 1000;
            snapshot.notices.clear();
            let mut php = tusktop::model::Php { routes: snapshot.php.routes[..1].to_vec(), ..Default::default() };
            (php.routes[0].requests, php.interval_ms) = (10 * step as u64, snapshot.interval_ms);
            snapshot.php = Arc::new(php);
            (snapshot.processes, snapshot.groups) = (Vec::new(), Vec::new());
            writer.push(&snapshot).unwrap();
        }
    }
    let mut stage = joined(&[writer.finish().unwrap()], 150, 45);
    let line = line(&stage);
    assert!(line.chars().skip(1).all(|c| c == '█'), "ten requests a second all the time: {line}");
    assert!(stage.text().contains("over 1m 00s"), "{}", stage.text());
    let start = stage.timeline.current().unwrap().at;
    stage.press(";");
    assert_eq!(stage.timeline.current().unwrap().at, start, "nothing stands out");
    stage.press(".");
    assert_eq!(stage.timeline.current().unwrap().at, start + SignedDuration::from_secs(60));
    stage.press("L");
    assert!(!stage.text().contains(" over "), "{}", stage.text());
}

/// A recording of two minutes in which the first function takes so many times as long, with its name.
fn slow(times: u64) -> tempfile::NamedTempFile {
    let mut writer = Writer::new(Vec::new()).unwrap();
    (0..120).for_each(|second| writer.push(&slow_snapshot(times, second)).unwrap());
    let mut file = tempfile::Builder::new().prefix("slow").suffix(".tusk").tempfile().unwrap();
    file.write_all(&writer.finish().unwrap()).unwrap();
    file
}

fn slow_snapshot(times: u64, second: i64) -> Snapshot {
    let mut snapshot = web01();
    snapshot.at += SignedDuration::from_secs(second);
    let mut php = (*snapshot.php).clone();
    for (index, function) in php.functions.iter_mut().enumerate() {
        let times = if index == 0 { times } else { 1 };
        function.self_samples = times * (20 + (second as u64 + index as u64) % 3);
        function.total_samples = function.self_samples;
    }
    snapshot.php = Arc::new(php);
    snapshot.groups[0].footprint_bytes = snapshot.groups[0].footprint_bytes.map(|bytes| bytes * times);
    snapshot
}

/// The first line of the hot functions that has a name.
fn line_of(stage: &Stage, name: &str) -> String {
    let text = stage.text();
    text.lines().find(|line| line.contains(name)).map(str::to_owned).unwrap_or_else(|| panic!("{name}: {text}"))
}

#[test]
fn a_recording_is_compared_with_another_one() {
    let (before, after) = (slow(1), slow(3));
    let name = web01().php.functions[0].key.name.to_string();
    for (width, height) in [(80, 24), (150, 45), (200, 50)] {
        let mut stage = Stage::new(width, height);
        stage.replay(Recording::open(after.path()).unwrap());
        stage.compare_with(Recording::open(before.path()).unwrap());
        stage.settle();
        let text = stage.text();
        let file = before.path().file_name().unwrap().to_string_lossy();
        assert!(text.lines().next().unwrap().contains(&*file), "the header says with what: {text}");
        assert!(text.contains("functions compared   2m 00s before, 2m 00s after"), "{text}");
        let line = line_of(&stage, &name);
        assert!(line.contains('+'), "{line}");
        assert_eq!(stage.app.view.tile_colour, TileColour::Growth);
        // A span of it alone, and back; then the comparison is put away and brought back.
        stage.press("[:30s ago<enter>]");
        stage.settle();
        assert!(stage.text().contains("functions compared   2m 00s before, 1m 29s after"), "{}", stage.text());
        stage.press("\\");
        stage.settle();
        assert!(stage.text().contains("2m 00s before, 2m 00s after"), "{}", stage.text());
        stage.press("\\");
        stage.settle();
        assert!(!stage.text().contains("compared") && !stage.text().contains(&*file), "{}", stage.text());
        stage.press("=");
        stage.settle();
        assert!(stage.text().contains("functions compared"), "{}", stage.text());
    }
}

#[test]
fn what_is_live_is_compared_with_a_recording_as_it_comes() {
    let before = slow(1);
    for past in [RingLimits::default(), RingLimits { span: Duration::ZERO, bytes: 0 }] {
        let mut stage = Stage::keeping(past, 150, 45);
        stage.compare_with(Recording::open(before.path()).unwrap());
        for second in 0..120 {
            stage.push(slow_snapshot(4, 10_000 + second));
            stage.settle();
        }
        let text = stage.text();
        assert!(text.contains("LIVE") && text.contains("all against"), "{text}");
        assert!(text.contains("functions compared   2m 00s before, 1m 5"), "not with each snapshot: {text}");
        let name = web01().php.functions[0].key.name.to_string();
        assert!(line_of(&stage, &name).contains('+'), "{text}");
    }
}

#[test]
fn keys_go_to_spikes_of_requests() {
    let mut writer = Writer::new(Vec::new()).unwrap();
    let mut snapshots = Vec::new();
    for second in 0..240 {
        let mut snapshot = web01();
        snapshot.at += SignedDuration::from_secs(second);
        snapshot.notices.clear();
        let mut php = tusktop::model::Php { routes: snapshot.php.routes[..1].to_vec(), ..Default::default() };
        // Ten a second as chance has it, and for a while many more.
        php.routes[0].requests = if (130..150).contains(&second) { 60 } else { 8 + second as u64 % 5 };
        snapshot.php = Arc::new(php);
        (snapshot.processes, snapshot.groups) = (Vec::new(), Vec::new());
        writer.push(&snapshot).unwrap();
        snapshots.push(snapshot);
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&writer.finish().unwrap()).unwrap();
    let mut stage = Stage::new(80, 24);
    stage.replay(Recording::open(file.path()).unwrap());
    for (keys, expected) in [(";", 130), (";", 130), (")", 190), ("'", 130), ("'", 130)] {
        stage.press(keys);
        assert_eq!(second(&stage, &snapshots), expected, "{keys}");
    }
}

#[test]
fn every_size_has_a_screen_and_ascii_is_ascii() {
    let (mut stage, _) = replaying(120, 30);
    stage.ascii = true;
    for (width, height) in [(1, 1), (30, 8), (40, 10), (41, 13), (60, 14), (80, 24), (120, 24), (250, 70)] {
        stage.resize(width, height);
        assert!(stage.text().is_ascii(), "{}", stage.text());
    }
}

#[test]
fn a_screen_that_keeps_no_past_has_neither_the_line_nor_its_keys() {
    let mut stage = Stage::showing(web01(), 120, 60).keys(".(){};:+-L");
    assert!(stage.shown.scene.scrub.is_none());
    assert!(!stage.commands.iter().any(|command| matches!(command, Command::Go(_))));
    stage.press("?");
    assert!(!stage.text().contains("ten-minutes-back"));
    let (mut stage, _) = watched(120, 60);
    stage.press("?ten");
    assert!(stage.text().contains("ten-minutes-back"), "one that keeps it does, before it is in it");
}
