//! Shows a fixture on the terminal.
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tusktop::{model::Snapshot, terminal, ui::theme};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let base: Snapshot = serde_json::from_str(include_str!("../tests/fixtures/web01.json"))?;
    let (sender, receiver) = tokio::sync::broadcast::channel(4);
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(1000));
        let mut n = 0_i64;
        loop {
            tick.tick().await;
            let mut s = base.clone();
            s.at = s.at + jiff::SignedDuration::from_secs(n);
            for (i, g) in s.groups.iter_mut().enumerate() {
                g.memory.rss_bytes = g.memory.rss_bytes.map(|b| b + (n as u64) * 300_000 * (i as u64 % 3));
            }
            n += 1;
            let _ = sender.send(Arc::new(s));
        }
    });
    let lookup = |name: &str| std::env::var(name).ok();
    let depth = theme::depth(theme::ColorChoice::Auto, theme::ColorChoice::Auto, lookup);
    let name = std::env::args().nth(1).unwrap_or_else(|| theme::default_name(depth).to_owned());
    let options = terminal::Options {
        theme: theme::load(&name, None)?,
        depth,
        ascii: terminal::ascii_locale(lookup),
        mouse: false,
        keys: BTreeMap::new(),
        time_zone: jiff::tz::TimeZone::UTC,
    };
    let exit = terminal::run(options, receiver).await?;
    std::process::exit(exit.code.into());
}
