//! The recording that a key starts and stops on the live screen. The screen never waits for it: snapshots go through a short channel
//! to a thread that writes, and those that find it full are counted.

use std::sync::Arc;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{
        broadcast::{self, error::RecvError},
        mpsc, watch,
    },
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use super::{PATIENCE, after_missed, files::Files};
use crate::{cli::RecordArgs, model::Snapshot, view::RecordingInProgress};

/// Snapshots that wait for the disk.
const BACKLOG: usize = 4;

type States = watch::Sender<Option<RecordingInProgress>>;

/// Waits for the wish to record these snapshots, and does so. It ends when nothing can be wished any more, with the file whole.
pub(in crate::commands) fn spawn(
    snapshots: broadcast::Receiver<Arc<Snapshot>>,
    wanted: watch::Receiver<bool>,
    states: States,
) -> JoinHandle<()> {
    tokio::spawn(follow(snapshots, wanted, states))
}

async fn follow(snapshots: broadcast::Receiver<Arc<Snapshot>>, mut wanted: watch::Receiver<bool>, states: States) {
    // Where a limit is set to the size of files, writing fails then, and does not end the program.
    let _too_large = signal(SignalKind::from_raw(libc::SIGXFSZ));
    while wanted.wait_for(|wanted| *wanted).await.is_ok() {
        record(snapshots.resubscribe(), &mut wanted, &states).await;
        // What went wrong is shown until the key is pressed again.
        let over = wanted.wait_for(|wanted| !*wanted).await.is_err();
        states.send_replace(None);
        if over {
            break;
        }
    }
}

/// Makes one recording.
async fn record(
    mut snapshots: broadcast::Receiver<Arc<Snapshot>>,
    wanted: &mut watch::Receiver<bool>,
    states: &States,
) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let written = states.clone();
    let mut writing = spawn_blocking(move || write(receiver, &written));
    let mut missed = 0;
    let miss = |count| states.send_modify(|state| state.get_or_insert_default().missed += count);
    loop {
        tokio::select! {
            _ = wanted.wait_for(|wanted| !*wanted) => break,
            _ = &mut writing => return,
            snapshot = snapshots.recv() => match snapshot {
                Ok(snapshot) if sender.try_send((snapshot.clone(), missed)).is_ok() => missed = 0,
                Ok(_) => {
                    missed += 1;
                    miss(1);
                }
                Err(RecvError::Lagged(count)) => {
                    missed += count;
                    miss(count);
                }
                Err(RecvError::Closed) => break,
            },
        }
    }
    drop(sender);
    // A disk that hangs does not hold up who wants to leave.
    let _ = timeout(PATIENCE, writing).await;
}

/// Writes until there is nothing more to come.
fn write(mut snapshots: mpsc::Receiver<(Arc<Snapshot>, u64)>, states: &States) {
    let change = |change: &dyn Fn(&mut RecordingInProgress)| {
        states.send_modify(|state| change(state.get_or_insert_default()));
    };
    let fail = |error: anyhow::Error| {
        let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
        change(&|state| state.problem = Some(causes.join(": ")));
    };
    let mut files = match Files::open(&RecordArgs::default()) {
        Ok(files) => files,
        Err(error) => return fail(error),
    };
    change(&|state| state.file = files.name());
    while let Some((snapshot, missed)) = snapshots.blocking_recv() {
        if let Err(error) = files.push(&after_missed(&snapshot, missed)) {
            files.give_up();
            return fail(error.into());
        }
        change(&|state| state.bytes = files.bytes());
    }
    if let Err(error) = files.finish() {
        fail(error.into());
    }
}
