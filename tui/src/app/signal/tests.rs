//! Claims about the window of a signal.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::app::tests::calmly;
use crate::{
    model::{Chosen, Outcome, ProcessKey, SignalTarget, TargetProcess},
    view::{Facts, List, Row, TileKey},
};

fn target(pids: &[u32]) -> Arc<SignalTarget> {
    let process = |&pid| TargetProcess {
        key: ProcessKey { pid, start_ticks: Some(u64::from(pid) * 10) },
        comm: "php-fpm".into(),
        cmdline: "php-fpm: pool www".into(),
        user: "www-data".into(),
        pool: Some("www".into()),
    };
    Arc::new(SignalTarget {
        chosen: Chosen::Group("www".into()),
        processes: pids.iter().map(process).collect(),
        has_us: false,
    })
}

/// A screen on which the group www is selected.
fn stage(pids: &[u32]) -> (App, Shown) {
    let mut app = App::new(&BTreeMap::new(), false).unwrap();
    let row = Row::Tile(TileKey::Group("www".into()));
    let mut shown = Shown { facts: Facts { target: Some(target(pids)), ..Facts::default() }, ..Shown::default() };
    shown.scene.lists[0] = List { rows: vec![row.clone()], ..List::default() };
    app.view.pane_mut(Pane::Map).selected = Some(row);
    (app, shown)
}

fn press(app: &mut App, shown: &Shown, keys: &str) -> Option<Command> {
    let mut last = None;
    for c in keys.chars() {
        let code = match c {
            '⏎' => KeyCode::Enter,
            '⎋' => KeyCode::Esc,
            '→' => KeyCode::Right,
            '←' => KeyCode::Left,
            '⑨' => KeyCode::F(9),
            c => KeyCode::Char(c),
        };
        last = app.update(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)), shown, calmly());
        app.drawn(Instant::now());
    }
    last
}

fn chosen(app: &App) -> Option<Signal> {
    match &app.view.overlay {
        Some(Overlay::Signal(SignalDialog::Choose { signal, .. })) => Some(*signal),
        _ => None,
    }
}

#[test]
fn enter_sends_term_to_those_that_were_there_when_the_window_opened() {
    for key in ["x", "⑨"] {
        let (mut app, mut shown) = stage(&[7, 8]);
        press(&mut app, &shown, key);
        // Workers come and go meanwhile.
        shown.facts.target = Some(target(&[8, 9, 10]));
        let order = SignalOrder { target: target(&[7, 8]), signal: Signal::Term };
        assert_eq!(press(&mut app, &shown, "⏎⏎"), Some(Command::Signal(order)));
    }
}

#[test]
fn arrows_capitals_and_numbers_choose() {
    let (mut app, shown) = stage(&[7]);
    for (keys, expected) in [
        ("x", Signal::Term),
        ("→", Signal::Hup),
        ("←←", Signal::Cont),
        ("l", Signal::Term),
        ("h", Signal::Cont),
        ("j", Signal::Term),
        ("K", Signal::Kill),
        ("U", Signal::Usr1),
        ("U", Signal::Usr2),
        ("U", Signal::Usr1),
        ("Q", Signal::Quit),
        ("1", Signal::Hup),
        ("5", Signal::Term),
        ("9", Signal::Kill),
        ("H", Signal::Hup),
        ("19", Signal::Stop),
        ("Y", Signal::Stop),
    ] {
        press(&mut app, &shown, keys);
        assert_eq!(chosen(&app), Some(expected), "{keys}");
    }
}

#[test]
fn moving_keys_never_choose_by_letter() {
    let (mut app, shown) = stage(&[7]);
    press(&mut app, &shown, "xk");
    assert_eq!(chosen(&app), Some(Signal::Cont), "k is up, and never KILL");
}

#[test]
fn a_number_that_is_no_signal_sends_nothing() {
    let (mut app, shown) = stage(&[7]);
    assert_eq!(press(&mut app, &shown, "x4⏎"), None);
    assert!(press(&mut app, &shown, "→⏎").is_some(), "another choice can be sent");
}

#[test]
fn no_other_key_acts_while_it_is_open() {
    let (mut app, shown) = stage(&[7]);
    press(&mut app, &shown, "x");
    let before = app.view.clone();
    for key in "tgfcvwsx/? 2n!m0".chars().filter(|c| !c.is_ascii_digit()) {
        assert_eq!(press(&mut app, &shown, &key.to_string()), None, "{key}");
        assert_eq!(app.view, before, "{key}");
    }
    let ctrl_c = Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert_eq!(app.update(&ctrl_c, &shown, calmly()), Some(Command::Leave(130)), "but leaving is always possible");
}

#[test]
fn escape_and_q_leave_without_a_signal() {
    for key in ["⎋", "q"] {
        let (mut app, shown) = stage(&[7]);
        assert_eq!(press(&mut app, &shown, &format!("xK{key}")), Some(Command::Draw));
        assert_eq!(app.view.overlay, None);
    }
}

#[test]
fn read_only_says_so_and_sends_nothing() {
    let (mut app, shown) = stage(&[7]);
    app.view.read_only = Some("--read-only".into());
    press(&mut app, &shown, "x");
    assert_eq!(app.view.overlay, Some(Overlay::Signal(SignalDialog::Off("--read-only".into()))));
    assert_eq!(press(&mut app, &shown, "⏎"), Some(Command::Draw));
    assert_eq!(app.view.overlay, None);
}

#[test]
fn without_a_selection_in_the_memory_pane_there_is_nobody_to_send_it_to() {
    let (mut app, shown) = stage(&[7]);
    let nothing = Some(Overlay::Signal(SignalDialog::Nothing));
    press(&mut app, &shown, "2x");
    assert_eq!(app.view.overlay, nothing, "another pane has the focus");
    app.view.pane_mut(Pane::Map).selected = None;
    press(&mut app, &shown, "⎋1x");
    assert_eq!(app.view.overlay, nothing);
    let (mut app, _) = stage(&[7]);
    press(&mut app, &Shown::default(), "x");
    assert_eq!(app.view.overlay, nothing, "what is selected is gone");
}

#[test]
fn what_became_of_it_is_shown_until_a_key_closes_it() {
    let (mut app, shown) = stage(&[7, 8]);
    let Some(Command::Signal(order)) = press(&mut app, &shown, "x⏎⏎") else { panic!("it is sent") };
    let outcomes = vec![(7, Outcome::Sent), (8, Outcome::Ended)];
    assert_eq!(app.signalled(&order, SignalReport { signal: Signal::Term, outcomes }), Command::Draw);
    let Some(Overlay::Signal(SignalDialog::Done { report, .. })) = &app.view.overlay else { panic!("it is shown") };
    assert_eq!(report.sentence(), "sent TERM to 1 of 2; 1 had ended");
    assert_eq!(press(&mut app, &shown, "⏎"), Some(Command::Draw));
    assert_eq!(app.view.overlay, None);
}

#[test]
fn sentences_count_every_outcome() {
    let report = |outcomes: &[Outcome]| {
        let outcomes = (1..).zip(outcomes.iter().copied()).collect();
        SignalReport { signal: Signal::Kill, outcomes }.sentence()
    };
    assert_eq!(report(&[Outcome::Sent]), "sent KILL to 1");
    assert_eq!(report(&[Outcome::Refused]), "KILL was not sent to 1: not permitted");
    assert_eq!(
        report(&[Outcome::Sent, Outcome::Refused, Outcome::Failed(11), Outcome::Unidentified]),
        "sent KILL to 1 of 4; 1 not permitted; 1 of unknown start time; 1 failed"
    );
}

/// One process, on a screen where its window is open.
fn open_on(target: SignalTarget) -> (App, Shown) {
    let (mut app, mut shown) = stage(&[7]);
    shown.facts.target = Some(Arc::new(target));
    press(&mut app, &shown, "x");
    (app, shown)
}

#[test]
fn a_signal_that_would_cost_much_is_confirmed_twice_and_another_choice_asks_again() {
    let one = SignalTarget { has_us: false, ..(*target(&[7])).clone() };
    for delicate in [(*target(&[7, 8])).clone(), (*target(&[1])).clone(), SignalTarget { has_us: true, ..one.clone() }]
    {
        let (mut app, shown) = open_on(delicate);
        assert_eq!(press(&mut app, &shown, "⏎"), Some(Command::Draw));
        assert_eq!(press(&mut app, &shown, "K"), Some(Command::Draw));
        assert_eq!(press(&mut app, &shown, "⏎"), Some(Command::Draw), "KILL was not confirmed yet");
        assert!(matches!(press(&mut app, &shown, "⏎"), Some(Command::Signal(order)) if order.signal == Signal::Kill));
    }
    let (mut app, shown) = open_on(one);
    assert!(matches!(press(&mut app, &shown, "⏎"), Some(Command::Signal(_))));
}

#[test]
fn keys_that_come_faster_than_anyone_reads_send_nothing() {
    let (mut app, shown) = stage(&[7]);
    let begun = calmly();
    let key = |code| Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
    let mut commands = Vec::new();
    for (nth, code) in [KeyCode::Char('x'), KeyCode::Enter, KeyCode::Enter, KeyCode::Enter].into_iter().enumerate() {
        let now = begun + Duration::from_millis(5 * nth as u64);
        commands.push(app.update(&key(code), &shown, now));
        app.drawn(now);
    }
    assert!(!commands.iter().flatten().any(|command| matches!(command, Command::Signal(_))), "{commands:?}");
    let later = begun + Duration::from_secs(1);
    assert!(matches!(app.update(&key(KeyCode::Enter), &shown, later), Some(Command::Signal(_))));
}

#[test]
fn keys_that_wait_while_a_slow_line_takes_the_drawing_send_nothing() {
    for pids in [&[7][..], &[7, 8]] {
        let (mut app, shown) = stage(pids);
        let key = |code| Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
        let mut now = calmly();
        for code in [KeyCode::Char('x'), KeyCode::Enter, KeyCode::Enter, KeyCode::Enter] {
            let command = app.update(&key(code), &shown, now);
            assert!(!matches!(command, Some(Command::Signal(_))), "{pids:?}");
            // Drawing takes long; the next key has been there all the time.
            if command.is_some() {
                now += Duration::from_secs(2);
                app.drawn(now);
            }
        }
    }
}

#[test]
fn drawing_again_does_not_start_the_time_again() {
    let (mut app, shown) = stage(&[7]);
    let begun = calmly();
    let key = |code| Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
    app.update(&key(KeyCode::Char('x')), &shown, begun);
    for tenths in 0..10 {
        app.drawn(begun + Duration::from_millis(100 * tenths));
    }
    let command = app.update(&key(KeyCode::Enter), &shown, begun + Duration::from_secs(1));
    assert!(matches!(command, Some(Command::Signal(_))));
}

#[test]
fn a_paste_sends_nothing() {
    let (mut app, shown) = stage(&[7]);
    for text in ["x\n", "\n", "x\r\r\rq"] {
        assert_eq!(app.update(&Event::Paste(text.into()), &shown, calmly()), None, "{text:?}");
    }
    press(&mut app, &shown, "x");
    assert_eq!(app.update(&Event::Paste("\n".into()), &shown, calmly()), None);
}
