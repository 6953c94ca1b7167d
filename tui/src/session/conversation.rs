//! The conversation with the PHP collector: one question at a time, and no answer is lost or used twice.

use tokio::{sync::mpsc, time::Instant};

use crate::{
    aggregate::PhpReading,
    collect::{Tick, php::PhpSample},
};

/// How far the conversation with the PHP collector is.
#[derive(Default)]
pub(super) struct Conversation {
    ticks: Option<mpsc::Sender<Tick>>,
    ended: bool,
    /// When it was asked, while the answer is not there.
    asked_at: Option<Instant>,
    /// When the interval of the next answer began; `None` before the first answer.
    since: Option<Instant>,
    /// An answer that is in no snapshot yet, with the seconds it covers.
    answer: Option<(Box<PhpSample>, f64)>,
}

impl Conversation {
    /// With the collector that `ticks` ask; without one PHP is off.
    pub(crate) fn with(ticks: Option<mpsc::Sender<Tick>>) -> Self {
        Self { ticks, ..Self::default() }
    }

    /// An answer is due.
    pub(crate) fn is_waiting(&self) -> bool {
        self.asked_at.is_some()
    }

    /// It has answered before, so it has attached.
    pub(crate) fn is_attached(&self) -> bool {
        self.since.is_some()
    }

    /// Asks for a reading, unless one is due or waits to be used.
    pub(crate) fn ask(&mut self, at: Instant) {
        let Some(ticks) = &self.ticks else { return };
        if ticks.is_closed() {
            *self = Self { ended: true, answer: self.answer.take(), ..Self::default() };
        } else if self.asked_at.is_none() && self.answer.is_none() && ticks.try_send(Tick { at: at.into_std() }).is_ok()
        {
            self.asked_at = Some(at);
        }
    }

    /// Keeps an answer for the next [`Conversation::reading`].
    pub(crate) fn take(&mut self, sample: Box<PhpSample>) {
        let Some(asked_at) = self.asked_at.take() else { return };
        // Before its first answer it attaches; it has counted since some moment in that time.
        let until = if self.since.is_some() { asked_at } else { Instant::now() };
        let since = self.since.replace(until).unwrap_or(asked_at);
        self.answer = Some((sample, until.saturating_duration_since(since).as_secs_f64()));
    }

    /// What there is to say about the interval that ends now.
    pub(crate) fn reading(&mut self) -> PhpReading {
        match self.answer.take() {
            Some((sample, interval_s)) => PhpReading::Sample(sample, interval_s),
            None if self.ended => PhpReading::Ended,
            None if self.ticks.is_none() => PhpReading::Off,
            None if self.since.is_none() => PhpReading::Starting,
            None => PhpReading::Late,
        }
    }
}
