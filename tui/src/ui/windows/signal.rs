//! The signal window: its targets, the chosen signal, what that does to a known server, and the outcome.

use ratatui::style::Style;

use super::{Line, wrap};
use crate::{
    model::{Chosen, Outcome, Signal, SignalReport, SignalTarget, TargetProcess},
    ui::frame::Screen,
    view::SignalDialog,
    words::printable,
};

/// Processes that are listed, where the screen is high enough.
const LISTED: usize = 8;
/// Lines beside those: the most that the rest takes.
const BESIDE: usize = 16;
/// Outcomes that are listed.
const OUTCOMES: usize = 6;

/// The lines of the window; `room` is how wide they may be, `height` that of the screen.
pub(crate) fn lines(screen: &Screen, dialog: &SignalDialog, room: usize, height: u16) -> Vec<Line> {
    let palette = screen.palette;
    let room = room.min(90);
    match dialog {
        SignalDialog::Off(why) => {
            let mut lines = sentence(&format!("signals are off: {why}"), room, palette.warn);
            lines.extend(sentence("esc closes", room, palette.muted));
            lines
        }
        SignalDialog::Nothing => {
            let what = "no process or group is selected: choose one in the memory pane first";
            let mut lines = sentence(what, room, palette.text);
            lines.extend(sentence("esc closes", room, palette.muted));
            lines
        }
        SignalDialog::Choose { target, signal, typed, asked } => {
            let listed = usize::from(height).saturating_sub(BESIDE).clamp(1, LISTED);
            choose(screen, (target, listed), (*signal, typed, *asked), room)
        }
        SignalDialog::Done { target, report } => done(screen, target, report, room),
    }
}

/// The target with how many of it are listed, the chosen signal with what was typed.
fn choose(
    screen: &Screen,
    (target, listed): (&SignalTarget, usize),
    (signal, typed, asked): (Signal, &str, bool),
    room: usize,
) -> Vec<Line> {
    let palette = screen.palette;
    let mut lines = vec![recipient(screen, target)];
    for process in target.processes.iter().take(listed) {
        let title = if process.cmdline.is_empty() { &process.comm } else { &process.cmdline };
        let title = printable::printable(title);
        let start = format!("{:>9}  {}  ", process.key.pid, printable::pad(&printable::printable(&process.user), 10));
        let room = room.saturating_sub(printable::width(&start));
        lines.push(vec![(start, palette.muted), (printable::truncate_end(&title, room).into_owned(), palette.text)]);
    }
    let rest = &target.processes[target.processes.len().min(listed)..];
    if !rest.is_empty() {
        let pids: Vec<String> = rest.iter().take(40).map(|process| process.key.pid.to_string()).collect();
        let more = if rest.len() > pids.len() { " …" } else { "" };
        let all = format!("and {} more: {}{more}", rest.len(), pids.join(" "));
        lines.extend(wrap(&all, room).into_iter().take(3).map(|part| vec![(part, palette.muted)]));
    }
    for warning in warnings(screen, target) {
        lines.extend(sentence(warning, room, palette.error));
    }
    lines.push(Vec::new());
    lines.extend(choice(signal, typed, room, screen));
    lines.push(Vec::new());
    for note in notes(target, signal) {
        lines.extend(sentence(note, room, palette.text));
    }
    let unknown = typed.parse().is_ok_and(|number| Signal::by_number(number).is_none());
    let keys = if unknown {
        format!("{typed} is not a signal here; esc cancels")
    } else {
        match (asked, target.processes.len()) {
            (false, _) => format!("enter sends {signal}; esc cancels; left and right, capitals or numbers choose"),
            (true, 1) => format!("really send {signal} to this process? press enter again; esc cancels"),
            (true, count) => format!("really send {signal} to {count} processes? press enter again; esc cancels"),
        }
    };
    lines.extend(sentence(&keys, room, if unknown || asked { palette.warn } else { palette.title }));
    lines
}

fn recipient(screen: &Screen, target: &SignalTarget) -> Line {
    let palette = screen.palette;
    let count = target.processes.len();
    let processes = if count == 1 { "1 process".to_owned() } else { format!("{count} processes") };
    let mut users: Vec<&str> = target.processes.iter().map(|process| &*process.user).collect();
    users.sort_unstable();
    users.dedup();
    let users = match users[..] {
        [user] => format!("of {}", printable::printable(user)),
        _ => format!("of {} users", users.len()),
    };
    let name = match (&target.chosen, &target.processes[..]) {
        (Chosen::Group(name), _) => printable::printable(name).into_owned(),
        (Chosen::Process(pid), [process]) => format!("{pid} {}", printable::printable(&process.comm)),
        (Chosen::Process(pid), _) => pid.to_string(),
    };
    vec![(name, palette.focus), (format!("   {processes} {users}"), palette.text)]
}

fn warnings(screen: &Screen, target: &SignalTarget) -> Vec<&'static str> {
    let has = |pid: u32| target.processes.iter().any(|process| process.key.pid == pid);
    let mut warnings = Vec::new();
    if has(1) {
        warnings.push("pid 1 is among them: if it ends, so does the machine or the container");
    }
    if has(screen.view.own_pid) {
        warnings.push("tusktop itself is among them");
    } else if target.has_us {
        warnings.push("tusktop runs in one of them: its shell or terminal");
    }
    if target.processes.iter().any(|process| process.key.start_ticks.is_none()) {
        warnings
            .push("their start times are not known, and other processes may have their pids now: nothing will be sent");
    }
    warnings
}

/// All signals, the chosen one marked.
fn choice(chosen: Signal, typed: &str, room: usize, screen: &Screen) -> Vec<Line> {
    let palette = screen.palette;
    let (mut lines, mut line, mut used): (Vec<Line>, Line, usize) = (Vec::new(), Vec::new(), 0);
    for signal in Signal::ALL {
        let is_chosen = signal == chosen;
        let part = if is_chosen {
            format!("[{} {}]", signal.number(), signal.name())
        } else {
            format!(" {} {} ", signal.number(), signal.name())
        };
        if used + printable::width(&part) > room {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        used += printable::width(&part);
        line.push((part, if is_chosen { palette.selection } else { palette.muted }));
    }
    if !typed.is_empty() && used + 10 <= room {
        line.push((format!("  typed: {typed}"), palette.focus));
    }
    lines.push(line);
    lines
}

/// What a signal does, as far as it is known: in general, and to the masters and workers of php-fpm and nginx.
fn notes(target: &SignalTarget, signal: Signal) -> Vec<&'static str> {
    let any = |is: fn(&TargetProcess) -> bool| target.processes.iter().any(is);
    let mut notes = Vec::new();
    if any(|process| process.cmdline.starts_with("php-fpm: master process")) {
        notes.push(fpm_master(signal));
    }
    if any(|process| process.pool.is_some()) {
        notes.push(fpm_worker(signal));
    }
    if any(|process| process.cmdline.starts_with("nginx: master process")) {
        notes.push(nginx_master(signal));
    }
    if notes.is_empty() || matches!(signal, Signal::Kill | Signal::Stop | Signal::Cont) {
        notes.truncate(0);
        notes.push(general(signal));
    }
    notes
}

fn general(signal: Signal) -> &'static str {
    match signal {
        Signal::Term => "terminate gracefully",
        Signal::Hup => "many daemons reload their configuration; terminates programs that do not handle it",
        Signal::Int => "terminate, as ctrl+c does",
        Signal::Quit => "terminate; programs that do not handle it leave a core dump",
        Signal::Kill => "kill at once: nothing is saved, and programs cannot handle it",
        Signal::Usr1 | Signal::Usr2 => "its meaning is up to the program; terminates programs that do not handle it",
        Signal::Stop => "stop until CONT",
        Signal::Cont => "resume after STOP",
    }
}

/// As php-fpm's sapi/fpm/fpm/fpm_events.c and fpm_process_ctl.c have it: workers get QUIT, and TERM after the time of
/// `process_control_timeout`, which is none unless it is set.
fn fpm_master(signal: Signal) -> &'static str {
    match signal {
        Signal::Term | Signal::Int => "php-fpm master: quick stop of all pools; running requests are lost",
        Signal::Quit => {
            "php-fpm master: graceful stop; running requests have process_control_timeout (0 unless set) to finish"
        }
        Signal::Usr1 => "php-fpm master: reopens its log files",
        Signal::Usr2 => {
            "php-fpm master: graceful reload; running requests have process_control_timeout (0 unless set) to finish"
        }
        Signal::Hup => "php-fpm master: not documented, newer versions reload; USR2 is the signal for that",
        Signal::Kill | Signal::Stop | Signal::Cont => general(signal),
    }
}

/// As php-fpm's sapi/fpm/fpm/fpm_signals.c has it.
fn fpm_worker(signal: Signal) -> &'static str {
    match signal {
        Signal::Quit => "php-fpm worker: ends when its request is done, and the master starts another",
        _ => "php-fpm worker: ends at once, its request is lost, and the master starts another",
    }
}

/// As nginx's documentation of control has it.
fn nginx_master(signal: Signal) -> &'static str {
    match signal {
        Signal::Term | Signal::Int => "nginx master: ends at once",
        Signal::Quit => "nginx master: ends when the requests are done",
        Signal::Hup => "nginx master: reloads its configuration; workers end when their requests are done",
        Signal::Usr1 => "nginx master: reopens its log files",
        Signal::Usr2 => "nginx master: starts a new program beside this one",
        Signal::Kill | Signal::Stop | Signal::Cont => general(signal),
    }
}

fn done(screen: &Screen, target: &SignalTarget, report: &SignalReport, room: usize) -> Vec<Line> {
    let palette = screen.palette;
    let good = report.outcomes.iter().all(|(_, outcome)| *outcome == Outcome::Sent);
    let mut lines = vec![recipient(screen, target)];
    lines.extend(sentence(&report.sentence(), room, if good { palette.text } else { palette.warn }));
    let others: Vec<_> = report.outcomes.iter().filter(|(_, outcome)| *outcome != Outcome::Sent).collect();
    for (pid, outcome) in others.iter().take(OUTCOMES).filter(|_| report.outcomes.len() > 1) {
        let why = match outcome {
            Outcome::Sent => String::new(),
            Outcome::Ended => "had ended".to_owned(),
            Outcome::Refused => "not permitted: another user's".to_owned(),
            Outcome::Unidentified => "its start time is not known".to_owned(),
            Outcome::Failed(number) => std::io::Error::from_raw_os_error(*number).to_string(),
        };
        lines.push(vec![(format!("{pid:>9}  "), palette.muted), (why, palette.text)]);
    }
    if others.len() > OUTCOMES {
        lines.extend(sentence(&format!("and {} more", others.len() - OUTCOMES), room, palette.muted));
    }
    lines.extend(sentence("esc closes", room, palette.muted));
    lines
}

fn sentence(text: &str, room: usize, style: Style) -> Vec<Line> {
    wrap(text, room).into_iter().map(|part| vec![(part, style)]).collect()
}
