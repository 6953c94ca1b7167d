//! What starts the recording of an event: conditions as they are typed, and whether they hold in one snapshot after the other. It
//! owns the grammar and the sums over the last minutes; what follows from an event is `commands/record`'s matter.

mod amount;
mod measure;
mod parse;

use std::time::Duration;

use regex::Regex;

use self::{amount::Amount, measure::Measure};
use crate::model::{Notice, Snapshot};

pub use self::parse::GRAMMAR;

/// A condition, as `--when` takes it.
#[derive(Debug, Clone)]
pub struct Trigger {
    /// As it was typed.
    text: String,
    what: What,
    /// How long it has to hold.
    lasting: Duration,
}

/// What is compared with what.
#[derive(Debug, Clone)]
enum What {
    /// Duration of requests that finished `within` a time.
    Requests { quantile: Quantile, of: Name, above_ms: f64, within: Duration },
    /// Requests with a status of 500 or above.
    Failed { of: Name, above: Amount, within: Duration },
    /// Exceptions thrown, a second.
    Exceptions { of: Name, above: Amount, within: Duration },
    /// Memory of a group, or in use on the machine.
    Memory { of: Name, above: Amount },
    /// Memory above the least of a time.
    Growth { of: Name, above: u64, within: Duration },
    /// Pressure stall information.
    Pressure { of: Resource, above: f64 },
    /// All workers that a pool may have serve a request.
    PoolFull { of: Name },
    /// The kernel killed a process for its memory.
    OomKill,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Quantile {
    At(f64, &'static str),
    Max,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resource {
    Cpu,
    Io,
    Memory,
}

/// Which of several things: those whose name matches, or all together where none is named.
#[derive(Debug, Clone)]
struct Name(Option<(Regex, String)>);

impl Name {
    fn is_any(&self) -> bool {
        self.0.is_none()
    }

    fn matches(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|(pattern, _)| pattern.is_match(name))
    }
}

impl Trigger {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is wrong and what is possible, as a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse::trigger(text)
    }
}

/// Whether a condition holds in the latest snapshot.
#[derive(Debug, Clone, PartialEq)]
enum Holds {
    /// It does; the text says what was measured.
    Yes(String),
    No,
    /// It cannot be known, and why.
    Unknown(&'static str),
}

/// A condition that holds, for as long as it has to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// As it was typed.
    pub condition: String,
    /// What was measured, such as `p99 of requests in the last 10s is 3.1 s`.
    pub measured: String,
    /// It did not hold in the snapshot before.
    pub is_new: bool,
}

impl Cause {
    /// How a snapshot says it.
    pub fn notice(&self) -> Notice {
        Notice::recording_triggered(&self.measured, &self.condition)
    }
}

/// Conditions over a session.
#[derive(Debug)]
pub struct Watch {
    watched: Vec<Watched>,
    /// Time of all intervals so far.
    clock: Duration,
}

#[derive(Debug)]
struct Watched {
    trigger: Trigger,
    measure: Measure,
    /// Since when it holds.
    since: Option<Duration>,
    fired: bool,
    unknown: Option<&'static str>,
}

/// What a snapshot says of all conditions.
#[derive(Debug, Default)]
pub struct Watching {
    /// Those that hold.
    pub causes: Vec<Cause>,
    /// Those that cannot be known, each with the reason, when that is new.
    pub unknown: Vec<(String, &'static str)>,
}

impl Watch {
    /// Begins to watch.
    pub fn new(triggers: Vec<Trigger>) -> Self {
        let watched = triggers.into_iter().map(|trigger| {
            let measure = Measure::new(&trigger.what);
            Watched { trigger, measure, since: None, fired: false, unknown: None }
        });
        Self { watched: watched.collect(), clock: Duration::ZERO }
    }

    /// Takes the next snapshot. A condition that holds is a new cause once; then it has to stop holding before it is one again.
    pub fn take(&mut self, snapshot: &Snapshot) -> Watching {
        // Not by the time of day, which can be set.
        self.clock += Duration::from_millis(snapshot.interval_ms);
        let mut watching = Watching::default();
        for watched in &mut self.watched {
            let holds = watched.measure.take(&watched.trigger.what, snapshot, self.clock);
            let unknown = if let Holds::Unknown(why) = holds { Some(why) } else { None };
            if let Some(why) = unknown.filter(|_| watched.unknown != unknown) {
                watching.unknown.push((watched.trigger.text.clone(), why));
            }
            watched.unknown = unknown;
            let Holds::Yes(measured) = holds else {
                (watched.since, watched.fired) = (None, false);
                continue;
            };
            let since = *watched.since.get_or_insert(self.clock);
            if self.clock - since >= watched.trigger.lasting {
                let is_new = !std::mem::replace(&mut watched.fired, true);
                watching.causes.push(Cause { condition: watched.trigger.text.clone(), measured, is_new });
            }
        }
        watching
    }
}

#[cfg(test)]
mod tests;
