//! The real binary in a pseudo terminal: it draws, reacts, and leaves the terminal as it was, however it ends.

use std::{io::Read, thread, time::Instant};

use portable_pty::{CommandBuilder, native_pty_system};
use rustix::process::Signal;

use crate::terminal::{DEADLINE, Terminal, cells, modes, size, tusktop};

#[test]
fn it_draws_reacts_to_keys_and_quits() {
    let mut terminal = Terminal::tusktop(120, 30);
    terminal.wait_for("map", |screen| screen.contents().contains("memory by group"));
    terminal.press("?");
    terminal.wait_for("help", |screen| screen.contents().contains("type to search"));
    terminal.press("\x1b");
    terminal.wait_for("map again", |screen| !screen.contents().contains("type to search"));
    terminal.press("t/no such process");
    terminal.wait_for("filter", |screen| screen.contents().contains("nothing matches the filter"));
    terminal.press("\x1b");
    terminal.wait_for("table", |screen| !screen.contents().contains("nothing matches the filter"));
    terminal.press("q");
    terminal.ends_with(0);
}

#[test]
fn it_follows_the_size_of_the_terminal_down_to_one_cell() {
    let mut terminal = Terminal::tusktop(120, 30);
    for (columns, rows) in [(80, 24), (30, 8), (1, 1), (200, 50)] {
        if rows > 1 {
            // One cell would leave the emulator nothing of the screen from before.
            terminal.screen.screen_mut().set_size(cells(rows), cells(columns));
        }
        terminal.master.resize(size(columns, rows)).expect("a new size");
        if columns > 40 {
            // The hints are on the last line of the new size.
            terminal
                .wait_for("hints", |screen| screen.contents_between(rows - 1, 0, rows - 1, columns).contains("q quit"));
        }
    }
    terminal.press("q");
    terminal.ends_with(0);
}

/// A process to look at. It ends with the test.
struct Sleeper(std::process::Child);

impl Sleeper {
    fn start() -> Self {
        // A job in the background of a script, as these tests may be one, and all that it starts ignore SIGINT.
        let mut command = std::process::Command::new("env");
        command.args(["--default-signal", "sleep", "1000"]);
        Self(command.stdout(std::process::Stdio::null()).spawn().expect("sleep is there"))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Brings a process to the screen: its group, then the process itself, selected.
fn select(terminal: &mut Terminal, pid: u32) {
    let filter = format!("pid:{pid}");
    terminal.press(&format!("t/{filter}\r"));
    // With the first snapshot there is a row to select.
    let filtered = format!("filter: {filter}");
    terminal.wait_for("its group", |screen| {
        let text = screen.contents();
        text.contains(&filtered) && text.contains('×')
    });
    terminal.press("n\r");
    terminal.wait_for("its group's processes", |screen| screen.contents().contains("processes of "));
    terminal.press(&format!("/{filter}\r"));
    terminal.wait_for("the process alone", |screen| {
        let text = screen.contents();
        text.contains(&filtered) && text.matches(&pid.to_string()).count() == 2
    });
    terminal.press("n");
}

#[test]
fn a_process_is_looked_at_closely_and_gets_a_signal() {
    use std::os::unix::process::ExitStatusExt;

    let mut child = Sleeper::start();
    let pid = child.0.id();
    let mut terminal = Terminal::tusktop(120, 40);
    select(&mut terminal, pid);
    terminal.press("\r");
    terminal.wait_for("its mappings", |screen| {
        screen.contents().contains("memory by kind   read") && screen.contents().contains("code, libraries")
    });
    terminal.press("xI");
    terminal.wait_for("the window", |screen| screen.contents().contains("enter sends SIGINT (2)"));
    let sent = format!("sent INT to {pid}");
    terminal.press_until("\r", "its result", |screen| screen.contents().contains(&sent));
    assert_eq!(child.0.wait().expect("it ends").signal(), Some(2));
    terminal.wait_for("its end", |screen| screen.contents().contains("this process has ended"));
    terminal.press("q");
    terminal.wait_for("the page", |screen| !screen.contents().contains("sent INT"));
    terminal.press("q");
    terminal.ends_with(0);
}

#[test]
fn a_paste_is_text_and_never_keys() {
    let mut child = Sleeper::start();
    let mut terminal = Terminal::tusktop(120, 40);
    select(&mut terminal, child.0.id());
    assert!(terminal.screen.screen().bracketed_paste(), "the terminal is asked to mark what is pasted");
    // As a terminal marks it: the text would select, open the window, send, and leave.
    terminal.press("\x1b[200~x\r\rq\x1b[201~");
    terminal.press("?");
    terminal.wait_for("the help", |screen| screen.contents().contains("type to search"));
    assert!(child.0.try_wait().expect("it can be waited for").is_none(), "it still runs");
    terminal.press("q");
    terminal.wait_for("the page", |screen| !screen.contents().contains("type to search"));
    terminal.press("q");
    terminal.ends_with(0);
}

#[test]
fn read_only_sends_no_signal() {
    let mut child = Sleeper::start();
    let mut command = tusktop();
    command.arg("--read-only");
    let mut terminal = Terminal::start(command, &[], 120, 40);
    terminal.wait_for("the first snapshot", |screen| screen.contents().contains("mem"));
    select(&mut terminal, child.0.id());
    terminal.press("x");
    terminal.wait_for("the reason", |screen| screen.contents().contains("signals are off: --read-only"));
    terminal.press("\r\r");
    terminal.wait_for("the page", |screen| screen.contents().contains("memory by kind   read"));
    assert!(child.0.try_wait().expect("it can be waited for").is_none(), "it still runs");
    terminal.press("q");
    terminal.ends_with(0);
}

#[test]
fn ctrl_c_leaves_with_130() {
    let mut terminal = Terminal::tusktop(80, 24);
    terminal.press("\x03");
    terminal.ends_with(130);
}

#[test]
fn signals_give_the_terminal_back() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let terminal = Terminal::tusktop(80, 24);
        terminal.kill(signal);
        terminal.ends_with(code);
    }
}

#[test]
fn ctrl_z_gives_the_terminal_back_until_it_is_continued() {
    let mut terminal = Terminal::tusktop(80, 24);
    for _ in 0..2 {
        terminal.press("\x1a");
        terminal.wait_for_state('T');
        terminal.wait_for("main screen", |screen| !screen.alternate_screen());
        terminal.assert_restored(&modes(&terminal.tty));
        terminal.kill(Signal::CONT);
        terminal.wait_for("screen again", |screen| screen.alternate_screen() && screen.contents().contains("q quit"));
    }
    terminal.press("q");
    terminal.ends_with(0);
}

#[test]
fn a_stop_from_outside_gives_the_terminal_back_too() {
    let mut terminal = Terminal::tusktop(80, 24);
    terminal.kill(Signal::TSTP);
    terminal.wait_for_state('T');
    terminal.wait_for("main screen", |screen| !screen.alternate_screen());
    terminal.assert_restored(&modes(&terminal.tty));
    terminal.kill(Signal::CONT);
    terminal.wait_for("screen again", |screen| screen.alternate_screen() && screen.contents().contains("q quit"));
    terminal.press("q");
    terminal.ends_with(0);
}

#[test]
fn it_ends_when_the_terminal_goes_away() {
    let pair = native_pty_system().openpty(size(80, 24)).expect("a pseudo terminal");
    let mut command = tusktop();
    command.env("TERM", "xterm-256color");
    let mut child = pair.slave.spawn_command(command).expect("it starts");
    let mut reader = pair.master.try_clone_reader().expect("its output");
    let (mut seen, mut chunk) = (Vec::new(), [0; 4096]);
    // The hints are the end of the first frame.
    while !seen.windows(4).any(|part| part == b"quit") {
        let count = reader.read(&mut chunk).expect("it writes");
        seen.extend_from_slice(&chunk[..count]);
    }
    drop((reader, pair));
    let end = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            break status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            panic!("it goes on without a terminal");
        }
        thread::yield_now();
    };
    assert_eq!(status.exit_code(), 129);
}

/// Set for the copy of this test that runs in the pseudo terminal.
const INSIDE: &str = "TUSKTOP_TEST_PANICS";

#[test]
fn a_panic_gives_the_terminal_back_and_its_message_stays() {
    if std::env::var_os(INSIDE).is_some() {
        panic_with_the_screen_up();
        return;
    }
    let mut command = CommandBuilder::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "pty::a_panic_gives_the_terminal_back_and_its_message_stays", "--nocapture"]);
    let mut terminal = Terminal::start(command, &[(INSIDE, "1")], 80, 24);
    terminal.wait_for("screen", |screen| screen.alternate_screen() && screen.contents().contains("q quit"));
    terminal.kill(Signal::USR1);
    let left = terminal.ends_with(0);
    assert!(left.contains("the collector broke"), "{left}");
}

/// Shows the screen as the binary does, and panics in another task as a broken collector would.
fn panic_with_the_screen_up() {
    use tokio::signal::unix::{SignalKind, signal};
    use tusktop::{
        screen::{stage, terminal},
        ui::theme,
    };

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let end = runtime.block_on(async {
        let (_sender, snapshots) = tokio::sync::broadcast::channel(1);
        let options = stage::Options {
            theme: theme::load("dark", None, None).expect("a built-in theme"),
            depth: theme::ColorDepth::Indexed,
            ascii: false,
            mouse: true,
            keys: Default::default(),
            time_zone: jiff::tz::TimeZone::UTC,
            read_only: None,
            past: tusktop::recording::RingLimits::default(),
            fold: tusktop::analysis::flame::Fold::default(),
            folded: false,
        };
        let mut told = signal(SignalKind::user_defined1()).expect("a signal handler");
        let (orders, _) = tokio::sync::watch::channel(None);
        let (_readings, readings) = tokio::sync::watch::channel(None);
        let (contents_orders, _) = tokio::sync::watch::channel(None);
        let (_contents, contents) = tokio::sync::watch::channel(None);
        let inspections = terminal::Inspections { orders, readings, contents_orders, contents };
        let (wanted, _) = tokio::sync::watch::channel(false);
        let (_states, states) = tokio::sync::watch::channel(None);
        let recordings = terminal::Recordings { wanted, states };
        let stage = stage::Stage::new(&options).unwrap();
        let screen = tokio::spawn(terminal::run(stage, snapshots, |_| {}, inspections, recordings));
        told.recv().await;
        let broken = tokio::spawn(async { panic!("the collector broke") });
        assert!(broken.await.is_err());
        screen.await.expect("the screen itself does not panic")
    });
    assert!(matches!(end, Err(terminal::TerminalError::Panicked)), "{end:?}");
}

#[test]
fn a_key_that_interrupts_reaches_a_command_once_and_its_report_is_printed() {
    let mut command = tusktop();
    // The shell waits for its child, and the kernel tells both of the key; only the trap says how often.
    let script = "trap 'echo interrupted' INT; trap 'exit 6' TERM; echo ready; while :; do sleep 0.01; done";
    command.args(["snap", "--", "sh", "-c", script]);
    let mut terminal = Terminal::start(command, &[], 120, 200);
    terminal.wait_for("the command", |screen| screen.contents().contains("ready"));
    terminal.press("\x03");
    terminal.wait_for("its trap", |screen| screen.contents().contains("interrupted"));
    // Sent to tusktop alone, which passes it on.
    terminal.kill(Signal::TERM);
    let text = terminal.ends_with(6);
    assert_eq!(text.matches("interrupted").count(), 1, "{text}");
    assert!(text.contains("GROUP"), "{text}");
}
