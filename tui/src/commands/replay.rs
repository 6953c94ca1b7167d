//! `tusktop replay`: the screen over a recording, without root and without collecting. From a pipe it follows.

use std::{
    io::{self, BufReader},
    sync::Arc,
    thread,
};

use anyhow::{Context as _, bail};
use tokio::sync::{broadcast, watch};

use super::live;
use crate::{
    cli::ReplayArgs,
    model::Snapshot,
    recording::{Event, Recording, Stream},
    screen::{
        stage::{self, Stage},
        terminal::{self, Inspections, Recordings},
    },
};

/// What signals and tracing say.
const RECORDED: &str = "this is a recording";
/// Snapshots that the screen may be behind a pipe before it loses the oldest.
const BACKLOG: usize = 64;

/// Opens the screen over a recording; it ends when the user leaves, a signal comes or the terminal goes away.
///
/// # Errors
/// The recording cannot be read, or the terminal cannot be set up.
pub async fn run(mut screen: stage::Options, arguments: ReplayArgs) -> anyhow::Result<u8> {
    if !live::can_draw() {
        bail!("replay needs a terminal; `tusktop cat` prints a recording");
    }
    screen.read_only = Some(RECORDED.into());
    let mut stage = Stage::new(&screen)?;
    let (sender, snapshots) = broadcast::channel(BACKLOG);
    if arguments.file.as_os_str() == "-" {
        stage.app.view.recorded = true;
        follow(sender)?;
    } else {
        stage.replay(Recording::open(&arguments.file)?);
    }
    live::compare(&mut stage, &arguments.live)?;
    show(stage, snapshots).await
}

/// Opens the screen over a recording that plays at once.
///
/// # Errors
/// The terminal cannot be set up.
pub(super) async fn play(mut screen: stage::Options, recording: Recording) -> anyhow::Result<u8> {
    screen.read_only = Some(RECORDED.into());
    let mut stage = Stage::new(&screen)?;
    stage.replay(recording);
    stage.app.view.paused = false;
    show(stage, broadcast::channel(1).1).await
}

async fn show(stage: Stage, snapshots: broadcast::Receiver<Arc<Snapshot>>) -> anyhow::Result<u8> {
    // Nothing is looked at closely in a recording.
    let (orders, _wanted) = watch::channel(None);
    let (_none, readings) = watch::channel(None);
    // Nor is one recorded.
    let (wanted, _wish) = watch::channel(false);
    let (_none, states) = watch::channel(None);
    let (contents_orders, _wanted) = watch::channel(None);
    let (_none, contents) = watch::channel(None);
    let inspections = Inspections { orders, readings, contents_orders, contents };
    let recordings = Recordings { wanted, states };
    let end = terminal::run(stage, snapshots, |_| {}, inspections, recordings).await;
    Ok(end?.code)
}

/// Hands over what comes through standard input. The thread ends with the pipe or with the program.
fn follow(snapshots: broadcast::Sender<Arc<Snapshot>>) -> anyhow::Result<()> {
    let mut stream = Stream::new(BufReader::new(io::stdin()))?;
    // Before the screen is there, so that what is no recording is said where it can be read.
    let first = stream.next_event()?.context("there is nothing in this recording")?;
    thread::Builder::new().name("follow".into()).spawn(move || {
        let mut event = Some(first);
        while let Some(now) = event {
            if let Event::Snapshot(snapshot) = now
                && snapshots.send(Arc::from(snapshot)).is_err()
            {
                return;
            }
            // A pipe that breaks ends the session: the last snapshot stays on the screen.
            event = stream.next_event().ok().flatten();
        }
    })?;
    Ok(())
}
