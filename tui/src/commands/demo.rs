//! `tusktop demo`: the screen over a recording that comes with the program: a small shop with some load. It needs neither root nor
//! PHP. `make demo-recording` makes it from `tui/demo`.

use std::{
    fs::File,
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::{Context as _, bail};
use rustix::fs::{MemfdFlags, memfd_create};

use super::{live, replay};
use crate::{
    cli::DemoArgs,
    exit,
    recording::Recording,
    screen::stage,
    system::new_file::{Existing, NewFile},
};

/// The recording.
const RECORDING: &[u8] = include_bytes!("../../demo/demo.tusk");

/// Plays the recording on the screen, or writes it to a file.
///
/// # Errors
/// The terminal cannot be set up, or the file cannot be written.
pub async fn run(screen: stage::Options, arguments: DemoArgs) -> anyhow::Result<u8> {
    match &arguments.output {
        Some(path) if path.as_os_str() == "-" => {
            io::stdout().write_all(RECORDING)?;
            return Ok(exit::FINE);
        }
        Some(path) => {
            let mut file = NewFile::create(path, Existing::Keep)?;
            file.write_all(RECORDING)?;
            file.finish()?;
            return Ok(exit::FINE);
        }
        None => {}
    }
    if !live::can_draw() {
        bail!("the demo needs a terminal; `tusktop demo -o demo.tusk` writes its recording to a file");
    }
    replay::play(screen, recording()?).await
}

/// The recording, in a file without a name.
fn recording() -> anyhow::Result<Recording> {
    let mut file = File::from(memfd_create(c"demo", MemfdFlags::CLOEXEC).context("there is no memory for the demo")?);
    file.write_all(RECORDING)?;
    Ok(Recording::of(file, PathBuf::from("demo.tusk"))?)
}
