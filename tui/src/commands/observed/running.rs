//! A command that runs: signals reach it, its end is waited for.

use std::{
    fs::File,
    io,
    process::{Child, ExitStatus},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// Signals that ask a program to end: they are for the command, whose end is then seen and printed.
const PASSED_ON: [(i32, Signal); 4] = [
    (libc::SIGINT, Signal::INT),
    (libc::SIGQUIT, Signal::QUIT),
    (libc::SIGTERM, Signal::TERM),
    (libc::SIGHUP, Signal::HUP),
];

/// The signals that come for the command.
#[derive(Debug)]
pub(crate) struct Signals(mpsc::Receiver<Signal>);

impl Signals {
    /// Takes them from now on; until then they end this program.
    ///
    /// # Errors
    /// A handler cannot be set.
    pub(crate) fn take() -> io::Result<Self> {
        let (sender, signals) = mpsc::channel(4);
        for (number, kind) in PASSED_ON {
            let mut stream = signal(SignalKind::from_raw(number))?;
            let sender = sender.clone();
            tokio::spawn(async move { while stream.recv().await.is_some() && sender.send(kind).await.is_ok() {} });
        }
        Ok(Self(signals))
    }
}

/// A command that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pid: Pid,
    end: JoinHandle<io::Result<ExitStatus>>,
    ended: Option<io::Result<ExitStatus>>,
    signals: Signals,
}

impl Running {
    /// Lets a stopped process run.
    pub(super) fn new(mut child: Child, signals: Signals) -> Self {
        let pid = Pid::from_child(&child);
        // It is our child and was not waited for: the number cannot be another's.
        let _ = kill_process(pid, Signal::CONT);
        Self { pid, end: tokio::task::spawn_blocking(move || child.wait()), ended: None, signals }
    }

    /// Waits for its end, at most until `deadline`; signals are passed on meanwhile.
    pub(crate) async fn wait_until(&mut self, deadline: Option<Instant>) {
        // A year is without end here, and far from what overflows.
        let far = Instant::now() + Duration::from_secs(365 * 24 * 3600);
        while self.ended.is_none() {
            tokio::select! {
                biased;
                ended = &mut self.end => self.ended = Some(ended.unwrap_or_else(|error| Err(io::Error::other(error)))),
                Some(signal) = self.signals.0.recv() => self.pass_on(signal),
                () = sleep_until(deadline.unwrap_or(far)) => return,
            }
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// waitpid(2) fails, which happens only when somebody else has waited for it.
    pub(crate) async fn end(mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(ended) = self.ended {
                return ended;
            }
            self.wait_until(None).await;
        }
    }

    fn pass_on(&self, signal: Signal) {
        let typed = matches!(signal, Signal::INT | Signal::QUIT) && shares_keyboard();
        if !typed {
            // It is waited for in another thread, which may have just seen its end: then there is nothing left to be told.
            let _ = kill_process(self.pid, signal);
        }
    }
}

/// Whether a key such as ^C reaches the command by itself: the terminal sends its signal to the whole foreground group,
/// in which both are. A second one makes many programs end without tidying up.
fn shares_keyboard() -> bool {
    let Ok(terminal) = File::open("/dev/tty") else { return false };
    rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}
