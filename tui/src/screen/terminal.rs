//! The live screen on a terminal: one loop over keys, snapshots and signals that feeds a [`Stage`] and shows what it draws. It
//! owns the loop and the ways to leave; `tty` owns the terminal, and the stage knows what keys mean and what is drawn.

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use crossterm::event::EventStream;
use futures_util::StreamExt;
use thiserror::Error;
use tokio::{
    signal::unix::{Signal, SignalKind, signal as listen},
    sync::{
        Notify,
        broadcast::{self, error::RecvError},
        watch,
    },
};

use super::{
    send_signal,
    stage::Stage,
    tty::{self, Tty},
};
use crate::{
    analysis::timeline::Worked,
    app::Command,
    exit,
    model::{Contents, ContentsOrder, Inspection, InspectionOrder, SignalOrder, Snapshot, TraceOrder},
    view::RecordingInProgress,
};

/// Time between two looks at a recording that plays.
const FRAME: Duration = Duration::from_millis(100);

/// Where a close look at a process is ordered, and where it comes from.
#[derive(Debug)]
pub struct Inspections {
    /// Orders; `None` while there is none.
    pub orders: watch::Sender<Option<InspectionOrder>>,
    /// The last reading of what was ordered.
    pub readings: watch::Receiver<Option<Arc<Inspection>>>,
    /// Takes the part of the machine's memory that is looked into.
    pub contents_orders: watch::Sender<Option<ContentsOrder>>,
    /// What is in it.
    pub contents: watch::Receiver<Option<Arc<Contents>>>,
}

/// Where a recording beside the screen is ordered, and what becomes of it.
#[derive(Debug)]
pub struct Recordings {
    /// Whether there shall be one.
    pub wanted: watch::Sender<bool>,
    /// How far it is; `None` where there is none.
    pub states: watch::Receiver<Option<RecordingInProgress>>,
}

/// Why the screen ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, of [`exit`]: fine, or that of the signal.
    pub code: u8,
}

/// What stops the screen from working.
#[derive(Debug, Error)]
pub enum TerminalError {
    /// The terminal cannot be set up.
    #[error("cannot set up the terminal; is this a terminal? `tusktop snap` works without one")]
    Setup(#[source] io::Error),
    /// A signal handler cannot be set up.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// A part of the program failed; its message is on the screen that was there before.
    #[error("an internal error ended the screen")]
    Panicked,
}

/// Whether the locale says that the terminal cannot show UTF-8. `lookup` reads an environment variable.
/// The first of LC_ALL, LC_CTYPE and LANG that is set and not empty decides; with none of them it is the C locale.
pub(crate) fn ascii_locale(lookup: impl Fn(&str) -> Option<String>) -> bool {
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| lookup(name).filter(|value| !value.is_empty()));
    let locale = locale.unwrap_or_default().to_ascii_lowercase();
    !(locale.contains("utf-8") || locale.contains("utf8"))
}

/// Shows snapshots until the user leaves, a signal comes, the terminal goes away or the sender ends.
/// `order` is asked for exact tracing, `inspections` for the process whose detail is open.
pub async fn run(
    mut stage: Stage,
    mut snapshots: broadcast::Receiver<Arc<Snapshot>>,
    order: impl Fn(TraceOrder),
    mut inspections: Inspections,
    mut recordings: Recordings,
) -> Result<Exit, TerminalError> {
    let mut signals = Signals::new().map_err(TerminalError::Signals)?;
    let (panicked, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut tty = Tty::take(stage.app.view.mouse, panicked.clone()).map_err(TerminalError::Setup)?;
    tty::watch_for_hangup(gone.clone()).map_err(TerminalError::Setup)?;
    let mut events = EventStream::new();
    let mut live = true;
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut played = Instant::now();
    // There may be something left to read of the moment that is shown.
    let mut working = true;
    if tty.draw(false, |buffer| stage.draw(buffer)).is_err() {
        return Ok(HUNG_UP);
    }
    loop {
        let command = tokio::select! {
            biased;
            () = panicked.notified() => return Err(TerminalError::Panicked),
            () = gone.notified() => return Ok(HUNG_UP),
            Some(command) = signals.next() => Some(command),
            event = events.next() => match event {
                Some(Ok(event)) => stage.event(&event, Instant::now()),
                // The terminal is gone.
                Some(Err(_)) | None => return Ok(HUNG_UP),
            },
            Ok(()) = inspections.readings.changed() => {
                stage.inspection.clone_from(&inspections.readings.borrow_and_update());
                Some(Command::Draw)
            }
            Ok(()) = inspections.contents.changed() => {
                stage.contents.clone_from(&inspections.contents.borrow_and_update());
                Some(Command::Draw)
            }
            Ok(()) = recordings.states.changed() => {
                stage.recording.clone_from(&recordings.states.borrow_and_update());
                Some(Command::Draw)
            }
            _ = frames.tick(), if stage.is_playing() => {
                // The time in which it did not play does not count.
                let elapsed = std::mem::replace(&mut played, Instant::now()).elapsed().min(2 * FRAME);
                stage.play(elapsed).then_some(Command::Draw)
            }
            snapshot = snapshots.recv(), if live => match snapshot {
                Ok(snapshot) => stage.take(snapshot).then_some(Command::Draw),
                Err(RecvError::Lagged(count)) => {
                    stage.miss(count);
                    None
                }
                Err(RecvError::Closed) => {
                    live = false;
                    None
                }
            },
            // Last, and a few milliseconds at a time, so that keys are answered first.
            () = tokio::task::yield_now(), if working => {
                let worked = stage.work();
                working = worked != Worked::Nothing;
                (worked == Worked::Visible).then_some(Command::Draw)
            }
        };
        working |= command.is_some();
        let mut everything = false;
        let done = match command {
            None => continue,
            Some(Command::Leave(code)) => return Ok(Exit { code }),
            // The stage has gone there.
            Some(Command::Draw | Command::Go(_)) => Ok(()),
            Some(Command::Redraw) => {
                everything = true;
                Ok(())
            }
            Some(Command::CaptureMouse(on)) => tty.capture_mouse(on),
            Some(Command::Trace(what)) => {
                order(what);
                Ok(())
            }
            Some(Command::Record) => {
                recordings.wanted.send_modify(|wanted| *wanted = !*wanted);
                Ok(())
            }
            Some(Command::Suspend) => {
                everything = true;
                tty.suspend(stage.app.view.mouse)
            }
            Some(Command::Signal(order)) => {
                send(&mut stage, &order);
                Ok(())
            }
        };
        let drawn = done.and_then(|()| tty.draw(everything, |buffer| stage.draw(buffer)));
        let wanted = stage.inspected();
        inspections.orders.send_if_modified(|order| std::mem::replace(order, wanted) != wanted);
        let wanted = stage.looked_into();
        inspections.contents_orders.send_if_modified(|order| {
            let changed = *order != wanted;
            *order = wanted;
            changed
        });
        if drawn.is_err() {
            return Ok(HUNG_UP);
        }
        stage.app.drawn(Instant::now());
    }
}

/// Sends a signal, and has the screen say what became of it. It takes some microseconds for each process.
fn send(stage: &mut Stage, order: &SignalOrder) {
    if stage.app.view.read_only.is_none() {
        let report = send_signal::send(Path::new("/proc"), order);
        stage.app.signalled(order, report);
    }
}

/// The terminal is gone: nothing can be restored, and a message would not be read.
const HUNG_UP: Exit = Exit { code: exit::HUNG_UP };

/// The signals that end or stop us.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
    stop: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            stop: listen(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?,
        })
    }
}

impl Signals {
    /// Waits for a signal and says what it asks for.
    async fn next(&mut self) -> Option<Command> {
        tokio::select! {
            _ = self.hangup.recv() => Some(Command::Leave(exit::HUNG_UP)),
            _ = self.interrupt.recv() => Some(Command::Leave(exit::INTERRUPTED)),
            _ = self.terminate.recv() => Some(Command::Leave(exit::TERMINATED)),
            _ = self.stop.recv() => Some(Command::Suspend),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_decides_about_utf8() {
        let env = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        assert!(!ascii_locale(env(&[("LANG", "de_DE.UTF-8")])));
        assert!(!ascii_locale(env(&[("LANG", "C"), ("LC_ALL", "C.utf8")])));
        assert!(ascii_locale(env(&[("LANG", "en_US.UTF-8"), ("LC_ALL", "C")])));
        assert!(!ascii_locale(env(&[("LANG", "en_US.UTF-8"), ("LC_ALL", "")])));
        assert!(ascii_locale(env(&[])));
    }
}
