//! `tusktop doctor`: what can be observed on this machine and of each PHP, why the rest cannot, and what to type.
//!
//! It uses the same collector as the live screen, so it reports what the screen would show, and detaches everything when it
//! ends. `system` looks at the machine, `report` judges, `text` prints for people.

mod report;
mod system;
mod text;

use std::{
    io::{self, Write as _},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{sync::mpsc, time::timeout};

use self::report::Report;
use crate::{
    cli::DoctorArgs,
    collect::{
        Sample, Tick,
        php::{self, PhpSample},
    },
    config::Settings,
    model::Notice,
};

/// How long the collector may take to find and attach PHP, and then to detach.
const ATTACH_LIMIT: Duration = Duration::from_secs(30);
const DETACH_LIMIT: Duration = Duration::from_millis(700);

/// Looks at everything and prints the findings. The exit code is theirs.
///
/// # Errors
/// Standard output refuses.
pub async fn run(settings: &Settings, arguments: DoctorArgs) -> anyhow::Result<u8> {
    let report = examine(settings).await;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if arguments.json {
        report.write_json(&mut out)?;
    } else {
        report.write_text(&mut out)?;
    }
    out.flush()?;
    Ok(report.code())
}

/// Looks at everything, as these settings would have it observed.
async fn examine(settings: &Settings) -> Report {
    let (system, sample) = tokio::join!(tokio::task::spawn_blocking(system::examine), sample(settings));
    let system = system.unwrap_or_default();
    let sample =
        sample.unwrap_or_else(|| PhpSample { notices: vec![Notice::php_not_answering()], ..PhpSample::default() });
    Report::new(Timestamp::now(), system, sample)
}

/// One reading of the collector, which has ended by then.
async fn sample(settings: &Settings) -> Option<PhpSample> {
    let (answers, mut samples) = mpsc::channel(2);
    let options = php::Options {
        hz: settings.hz,
        owners: settings.php_owners.clone(),
        secrets: settings.secrets,
        programs: php::installed(),
        ..php::Options::default()
    };
    let handle = php::spawn(options, answers);
    handle.ticks.send(Tick { at: Instant::now() }).await.ok()?;
    let sample = timeout(ATTACH_LIMIT, samples.recv()).await.ok()??;
    drop(handle);
    let _ = timeout(DETACH_LIMIT, async { while samples.recv().await.is_some() {} }).await;
    match sample {
        Sample::Php(sample) => Some(*sample),
        Sample::Processes(_) => None,
    }
}
