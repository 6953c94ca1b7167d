//! Signals: the list, the processes that one is for, and its outcome.

use std::{fmt, sync::Arc};

use super::ProcessKey;

/// The signals that can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signal {
    /// End.
    #[default]
    Term,
    /// Hang up.
    Hup,
    /// Interrupt.
    Int,
    /// Quit.
    Quit,
    /// End, and nothing can be done about it.
    Kill,
    /// The first that has no meaning of its own.
    Usr1,
    /// The second.
    Usr2,
    /// Stop.
    Stop,
    /// Go on.
    Cont,
}

impl Signal {
    /// All, in the order of the choice.
    pub const ALL: [Self; 9] =
        [Self::Term, Self::Hup, Self::Int, Self::Quit, Self::Kill, Self::Usr1, Self::Usr2, Self::Stop, Self::Cont];

    /// Name without `SIG`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Hup => "HUP",
            Self::Int => "INT",
            Self::Quit => "QUIT",
            Self::Kill => "KILL",
            Self::Usr1 => "USR1",
            Self::Usr2 => "USR2",
            Self::Stop => "STOP",
            Self::Cont => "CONT",
        }
    }

    /// Number, as on x86 and arm (signal(7)).
    pub fn number(self) -> i32 {
        match self {
            Self::Hup => 1,
            Self::Int => 2,
            Self::Quit => 3,
            Self::Kill => 9,
            Self::Usr1 => 10,
            Self::Usr2 => 12,
            Self::Term => 15,
            Self::Cont => 18,
            Self::Stop => 19,
        }
    }

    /// The one before or after it in the choice, round and round.
    pub fn step(self, forward: bool) -> Self {
        let at = Self::ALL.iter().position(|&signal| signal == self).unwrap_or(0);
        Self::ALL[(at + if forward { 1 } else { Self::ALL.len() - 1 }) % Self::ALL.len()]
    }

    /// The one whose name starts with a capital; where there are several, the one after this.
    pub fn by_letter(self, letter: char) -> Option<Self> {
        let matches = |signal: &Self| signal.name().starts_with(letter);
        let at = Self::ALL.iter().position(|&signal| signal == self).unwrap_or(0);
        Self::ALL.into_iter().skip(at + 1).chain(Self::ALL).find(matches)
    }

    /// The one with a number.
    pub fn by_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.number() == number)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIG{} ({})", self.name(), self.number())
    }
}

/// A process that a signal could go to, as it was when it was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetProcess {
    /// Which.
    pub key: ProcessKey,
    /// Kernel's name of the process.
    pub comm: Arc<str>,
    /// Command line.
    pub cmdline: Arc<str>,
    /// Effective user.
    pub user: Arc<str>,
    /// php-fpm pool of a worker.
    pub pool: Option<Arc<str>>,
}

/// What was chosen to get a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// All processes of a group.
    Group(Arc<str>),
    /// One process.
    Process(u32),
}

/// Processes that were chosen together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalTarget {
    /// As what they were chosen.
    pub chosen: Chosen,
    /// Its processes, in order of pid.
    pub processes: Vec<TargetProcess>,
    /// tusktop itself is among them, or a process that it runs in: its shell, its terminal.
    pub has_us: bool,
}

impl SignalTarget {
    /// Whether a mistake would cost much: then a signal has to be confirmed twice.
    pub fn is_delicate(&self) -> bool {
        self.has_us || self.processes.len() > 1 || self.processes.iter().any(|process| process.key.pid == 1)
    }
}

/// A signal for processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalOrder {
    /// The processes that it is for.
    pub target: Arc<SignalTarget>,
    /// Which.
    pub signal: Signal,
}

/// What became of a signal to one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was sent.
    Sent,
    /// The process had ended, and its pid may be another's.
    Ended,
    /// The kernel does not permit it.
    Refused,
    /// When the process started is not known, so it could not be told from another with its pid.
    Unidentified,
    /// The kernel could not; its error number.
    Failed(i32),
}

/// What became of a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalReport {
    /// Which.
    pub signal: Signal,
    /// By pid.
    pub outcomes: Vec<(u32, Outcome)>,
}

impl SignalReport {
    /// In one sentence: `sent TERM to 3 of 4; 1 had ended`.
    pub fn sentence(&self) -> String {
        let count = |wanted: fn(&Outcome) -> bool| self.outcomes.iter().filter(|(_, outcome)| wanted(outcome)).count();
        let all = self.outcomes.len();
        let sent = count(|outcome| *outcome == Outcome::Sent);
        let mut sentence = match (&self.outcomes[..], sent) {
            ([(pid, _)], 1) => format!("sent {} to {pid}", self.signal.name()),
            ([(pid, _)], _) => format!("{} was not sent to {pid}", self.signal.name()),
            _ => format!("sent {} to {sent} of {all}", self.signal.name()),
        };
        let others: [(usize, &str); 4] = [
            (count(|outcome| *outcome == Outcome::Ended), "had ended"),
            (count(|outcome| *outcome == Outcome::Refused), "not permitted"),
            (count(|outcome| *outcome == Outcome::Unidentified), "of unknown start time"),
            (count(|outcome| matches!(outcome, Outcome::Failed(_))), "failed"),
        ];
        for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
            sentence.push_str(&if all == 1 { format!(": {what}") } else { format!("; {count} {what}") });
        }
        sentence
    }
}
