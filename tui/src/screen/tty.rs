//! The terminal itself: taken with raw mode and the alternate screen, given back in every way the program can end.
//! Frames leave as one write inside a synchronized update (DEC private mode 2026), so that nothing flickers.

use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    panic,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crossterm::{
    cursor::{Hide, Show},
    event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture},
    execute, queue,
    style::ResetColor,
    terminal::{
        BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
        enable_raw_mode,
    },
};
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    buffer::Buffer,
    layout::{Position, Rect},
};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::Notify;

/// How long the program has to leave after the terminal went away. Reading from a terminal that is gone can keep the reader
/// busy without end, and a leftover process must not stay.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);

/// A terminal that is ours until this is dropped.
pub(crate) struct Tty {
    terminal: Terminal<CrosstermBackend<FrameWriter>>,
    taken: Arc<AtomicBool>,
}

impl Tty {
    /// Takes the terminal. `panicked` is told when any thread panics; the terminal is given back before the message.
    pub(crate) fn take(mouse: bool, panicked: Arc<Notify>) -> io::Result<Self> {
        let taken = Arc::new(AtomicBool::new(true));
        give_back_on_panic(taken.clone(), panicked);
        let writer = FrameWriter { frame: Vec::with_capacity(16 * 1024), taken: taken.clone() };
        let mut tty = enter(mouse)
            .and_then(|()| Terminal::new(CrosstermBackend::new(writer)))
            .map(|terminal| Self { terminal, taken: taken.clone() })
            .inspect_err(|_| give_back(&taken))?;
        tty.clear()?;
        Ok(tty)
    }

    /// Draws one frame; `everything` also what did not change.
    pub(crate) fn draw<T>(&mut self, everything: bool, draw: impl FnOnce(&mut Buffer) -> T) -> io::Result<T> {
        if everything {
            self.clear()?;
        }
        let mut drawn = None;
        self.terminal.draw(|frame| drawn = Some(draw(frame.buffer_mut())))?;
        drawn.ok_or_else(|| io::Error::other("nothing was drawn"))
    }

    /// Starts or stops capturing the mouse.
    pub(crate) fn capture_mouse(&mut self, on: bool) -> io::Result<()> {
        if on { execute!(io::stdout(), EnableMouseCapture) } else { execute!(io::stdout(), DisableMouseCapture) }
    }

    /// Gives the terminal back, stops the process group as Ctrl-Z does outside raw mode, and takes the terminal again after.
    pub(crate) fn suspend(&mut self, mouse: bool) -> io::Result<()> {
        give_back(&self.taken);
        // The whole group: `sudo` or `make` in front of us must stop too, or the shell would not come back.
        rustix::process::kill_current_process_group(rustix::process::Signal::STOP)?;
        self.taken.store(true, Ordering::SeqCst);
        enter(mouse)?;
        self.clear()
    }

    /// Forgets what is on the screen. (`Terminal::clear` would ask the terminal where its cursor is and wait for the answer.)
    fn clear(&mut self) -> io::Result<()> {
        let area = Rect::from((Position::ORIGIN, self.terminal.size()?));
        self.terminal.resize(area)
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        give_back(&self.taken);
    }
}

fn enter(mouse: bool) -> io::Result<()> {
    enable_raw_mode()?;
    let mut out = io::stdout().lock();
    // A paste comes as one event then, and not as keys that act.
    queue!(out, EnterAlternateScreen, EnableBracketedPaste, Hide)?;
    if mouse {
        queue!(out, EnableMouseCapture)?;
    }
    out.flush()
}

/// Undoes everything, once. Errors are of no use to anyone here: the terminal may be gone.
fn give_back(taken: &AtomicBool) {
    if taken.swap(false, Ordering::SeqCst) {
        let mut out = io::stdout().lock();
        let _ = execute!(
            out,
            EndSynchronizedUpdate,
            DisableMouseCapture,
            DisableBracketedPaste,
            ResetColor,
            LeaveAlternateScreen,
            Show
        );
        let _ = disable_raw_mode();
    }
}

fn give_back_on_panic(taken: Arc<AtomicBool>, panicked: Arc<Notify>) {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        give_back(&taken);
        panicked.notify_one();
        report(info);
    }));
}

/// Collects a frame and writes it at once.
#[derive(Debug)]
struct FrameWriter {
    frame: Vec<u8>,
    taken: Arc<AtomicBool>,
}

impl Write for FrameWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.frame.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        queue!(self.frame, EndSynchronizedUpdate)?;
        let mut out = io::stdout().lock();
        // After a panic elsewhere the screen is not ours any more.
        if self.taken.load(Ordering::SeqCst) {
            queue!(out, BeginSynchronizedUpdate)?;
            out.write_all(&self.frame)?;
            out.flush()?;
        }
        self.frame.clear();
        Ok(())
    }
}

/// Tells `gone` when the other end of the terminal was closed, and ends the program if it does not leave by itself then.
pub(crate) fn watch_for_hangup(gone: Arc<Notify>) -> io::Result<()> {
    // The one that keys are read from.
    let stdin = rustix::stdio::stdin();
    let tty = if stdin.is_terminal() { stdin.try_clone_to_owned()? } else { File::open("/dev/tty")?.into() };
    thread::Builder::new().name("hangup".to_owned()).spawn(move || {
        // Asked for nothing, poll still reports a hangup.
        let mut watched = [PollFd::new(&tty, PollFlags::empty())];
        loop {
            match poll(&mut watched, None) {
                Ok(_) if watched[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
        gone.notify_one();
        thread::park_timeout(LEAVE_WITHIN);
        std::process::exit(i32::from(crate::exit::HUNG_UP));
    })?;
    Ok(())
}
