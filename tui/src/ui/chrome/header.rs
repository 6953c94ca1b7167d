//! The header: the machine in the first line, PHP in the second. If there is no room, the least important facts go first.

use jiff::Timestamp;
use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use crate::{
    analysis::timeline::Reference,
    model::{Histogram, Snapshot, Tier, WorkerState},
    ui::{frame::Screen, paint, theme::Palette},
    view::{RecordingInProgress, Scrub},
    words::{printable, units},
};

/// One fact: parts with their styles, and how important it is (0 stays longest).
struct Fact {
    rank: u8,
    parts: Vec<(String, Style)>,
}

impl Fact {
    fn new(rank: u8, text: impl Into<String>, style: Style) -> Self {
        Self { rank, parts: vec![(text.into(), style)] }
    }

    fn and(mut self, text: impl Into<String>, style: Style) -> Self {
        self.parts.push((text.into(), style));
        self
    }

    fn width(&self) -> usize {
        self.parts.iter().map(|(part, _)| printable::width(&printable::printable(part))).sum()
    }
}

/// Share of the CPU time from which waiting for disks and stolen time are worth a place.
const LEAST_SHARE: f64 = 0.005;
/// Columns of the name of a recording that is compared with.
const MAX_NAME: usize = 30;
/// A snapshot of a recording that is about so much time says so: its rates are means over it.
const LONG_MS: u64 = 5_000;

/// Columns between facts.
const GAP: usize = 3;

/// Draws the header and says how many lines it took.
pub(crate) fn draw(buffer: &mut Buffer, area: Rect, screen: &Screen, wide: bool) -> u16 {
    let palette = screen.palette;
    let Some(snapshot) = screen.snapshot else {
        let x = paint::put(buffer, (area.x + 1, area.y), area.width, "tusktop", palette.title);
        paint::put(buffer, (x + 3, area.y), area.right().saturating_sub(x + 3), "reading /proc …", palette.muted);
        return 1;
    };
    let left = identity(screen, snapshot, wide);
    if !wide {
        let mut right = machine(screen, snapshot, 0);
        right.extend(php(screen, snapshot, false));
        right.extend(cost(screen, snapshot));
        line(buffer, area, area.y, left, right);
        return 1;
    }
    line(buffer, area, area.y, left, machine(screen, snapshot, 10));
    if screen.has_php() {
        let facts = php(screen, snapshot, true);
        line(buffer, area, area.y + 1, facts, cost(screen, snapshot));
    } else {
        // Why nothing of PHP is known, when that is known; else there is none.
        let notice = snapshot.notices.iter().find(|notice| notice.kind.is_why_no_php());
        let what = match notice {
            Some(notice) => format!("php   {}   {}", notice.text, notice.hint),
            None => "php   none is running; it appears here when it starts".to_owned(),
        };
        line(buffer, area, area.y + 1, vec![Fact::new(0, what, palette.muted)], cost(screen, snapshot));
    }
    2
}

/// Writes facts from the left edge and to the right edge of a line.
fn line(buffer: &mut Buffer, area: Rect, y: u16, mut left: Vec<Fact>, mut right: Vec<Fact>) {
    let room = usize::from(area.width.saturating_sub(2));
    let width = |facts: &[Fact]| facts.iter().map(|fact| fact.width() + GAP).sum::<usize>();
    while width(&left) + width(&right) > room + GAP {
        let worst = |facts: &[Fact]| facts.iter().enumerate().max_by_key(|(_, f)| f.rank).map(|(at, f)| (f.rank, at));
        match (worst(&left), worst(&right)) {
            (Some((rank, at)), other) if other.is_none_or(|(r, _)| rank > r) && left.len() > 1 => drop(left.remove(at)),
            (_, Some((_, at))) => drop(right.remove(at)),
            _ => break,
        }
    }
    let mut x = area.x + 1;
    let end = area.right().saturating_sub(1);
    for fact in &left {
        x = write(buffer, (x, y), end, fact) + GAP as u16;
    }
    let mut x = x.max(end.saturating_sub((width(&right)).saturating_sub(GAP) as u16));
    for fact in &right {
        x = write(buffer, (x, y), end, fact) + GAP as u16;
    }
}

fn write(buffer: &mut Buffer, (mut x, y): (u16, u16), end: u16, fact: &Fact) -> u16 {
    for (part, style) in &fact.parts {
        x = paint::put(buffer, (x, y), end.saturating_sub(x), part, *style);
    }
    x
}

fn identity(screen: &Screen, snapshot: &Snapshot, wide: bool) -> Vec<Fact> {
    let palette = screen.palette;
    let mut facts = vec![];
    if wide {
        facts.push(Fact::new(3, "tusktop", palette.muted));
    }
    facts.push(Fact::new(1, snapshot.host.name.clone(), palette.title));
    if snapshot.host.uptime_s > 0 {
        facts.push(Fact::new(9, format!("up {}", units::age(snapshot.host.uptime_s)), palette.muted));
    }
    let mut at = Fact::new(5, clock(snapshot.at, screen), palette.text);
    if (screen.scrub.is_some() || screen.view.recorded) && snapshot.interval_ms >= LONG_MS {
        at = at.and(format!(" over {}", units::age(snapshot.interval_ms / 1000)), palette.warn);
    }
    facts.push(at);
    let not_now = |text: &str| Fact::new(0, text, paint::reversed(palette.warn));
    facts.push(match (screen.scrub, screen.view.paused) {
        (Some(scrub), _) if scrub.latest.is_some() => not_now(&past(scrub, snapshot.at)),
        _ if screen.view.recorded => not_now("RECORDING"),
        (_, true) => not_now("PAUSED"),
        (_, false) => Fact::new(2, "LIVE", palette.ok),
    });
    if let Some(recording) = screen.recording {
        facts.extend(in_progress(recording, palette));
    }
    facts.extend(screen.reference.map(|reference| compared(reference, screen, wide)));
    facts
}

/// What is compared with what.
fn compared(reference: &Reference, screen: &Screen, wide: bool) -> Fact {
    let palette = screen.palette;
    let time = |at: Timestamp, format: &str| at.to_zoned(screen.time_zone.clone()).strftime(format).to_string();
    let name = printable::printable(&reference.name);
    let name = printable::truncate_end(&name, MAX_NAME);
    let what = if screen.between.is_some() { "marked span against " } else { "all against " };
    let fact = Fact::new(1, if wide { what } else { "against " }, palette.muted).and(name, palette.focus);
    if let Some(read) = reference.progress() {
        return fact.and(format!(" {:.0} % read", (read * 100.0).floor()), palette.warn);
    }
    match wide {
        false => fact,
        true => {
            let (from, to) = (reference.before.from, reference.before.to);
            fact.and(format!(" of {} to {}", time(from, "%d %b %H:%M"), time(to, "%H:%M")), palette.muted)
        }
    }
}

/// The recording that is made beside the screen.
fn in_progress(recording: &RecordingInProgress, palette: &Palette) -> Vec<Fact> {
    let RecordingInProgress { file, bytes, missed, problem } = recording;
    if let Some(problem) = problem {
        return vec![
            Fact::new(0, "NOT RECORDED", paint::reversed(palette.error)).and(format!(" {problem}"), palette.error),
        ];
    }
    let mut facts = vec![
        Fact::new(0, "REC", paint::reversed(palette.error)).and(format!(" {}", units::bytes(*bytes)), palette.text),
    ];
    if *missed > 0 {
        facts.push(Fact::new(1, format!("{} snapshots missed", units::count(*missed)), palette.warn));
    }
    facts.push(Fact::new(6, file.clone(), palette.text));
    facts
}

/// How long ago what is shown of the past was.
fn past(scrub: &Scrub, at: Timestamp) -> String {
    let ago = scrub.latest.map_or(0, |latest| latest.duration_since(at).as_secs());
    format!("PAST {} ago", units::age(ago.try_into().unwrap_or(0)))
}

fn clock(at: Timestamp, screen: &Screen) -> String {
    at.to_zoned(screen.time_zone.clone()).strftime("%H:%M:%S").to_string()
}

fn machine(screen: &Screen, snapshot: &Snapshot, bar: u16) -> Vec<Fact> {
    let palette = screen.palette;
    let (system, host) = (&snapshot.system, &snapshot.host);
    let [one, five, fifteen] = system.load;
    let mut facts = vec![
        Fact::new(7, "load ", palette.muted).and(format!("{one:.2} {five:.2} {fifteen:.2}"), palette.text),
        match system.cpu_ratio {
            Some(ratio) => meter(2, "cpu", ratio, bar, palette).and(format!(" {:>3.0} %", ratio * 100.0), palette.text),
            None => Fact::new(2, "cpu ", palette.muted).and("-", palette.text),
        },
    ];
    for (name, ratio) in [("iowait", system.io_wait_ratio), ("steal", system.steal_ratio)] {
        // They matter where they are: most machines have neither.
        if let Some(ratio) = ratio.filter(|&ratio| ratio >= LEAST_SHARE) {
            let style = if ratio >= 0.1 { palette.warn } else { palette.text };
            facts.push(Fact::new(4, format!("{name} "), palette.muted).and(format!("{:.0} %", ratio * 100.0), style));
        }
    }
    let used = system.memory_available_bytes.map(|available| host.memory_bytes.saturating_sub(available));
    facts.push(match used {
        Some(used) if host.memory_bytes > 0 => meter(1, "mem", used as f64 / host.memory_bytes as f64, bar, palette)
            .and(format!(" {}", units::bytes_of(used, host.memory_bytes)), palette.text),
        _ => Fact::new(1, "mem ", palette.muted).and("-", palette.text),
    });
    if let Some(swap) = system.swap_used_bytes.filter(|&swap| swap > 0) {
        facts.push(Fact::new(10, "swap ", palette.muted).and(units::bytes(swap), palette.text));
    }
    let pressure = &system.pressure;
    let parts = [("cpu", pressure.cpu_some), ("io", pressure.io_some), ("mem", pressure.memory_some)];
    if parts.iter().any(|(_, value)| value.is_some()) {
        let mut fact = Fact::new(8, "psi ", palette.muted);
        for (index, (name, value)) in parts.into_iter().enumerate() {
            let style = match value {
                Some(value) if value >= 20.0 => palette.error,
                Some(value) if value >= 5.0 => palette.warn,
                _ => palette.text,
            };
            let gap = if index == 0 { "" } else { "  " };
            fact = fact.and(format!("{gap}{name} "), palette.muted);
            fact = fact.and(value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}")), style);
        }
        facts.push(fact);
    }
    facts
}

fn meter(rank: u8, name: &str, ratio: f64, columns: u16, palette: &Palette) -> Fact {
    let style = match ratio {
        ratio if ratio >= 0.9 => palette.error,
        ratio if ratio >= 0.7 => palette.warn,
        _ => palette.ok,
    };
    let fact = Fact::new(rank, name.to_owned(), palette.muted);
    if columns == 0 {
        return fact;
    }
    fact.and(" ▕", palette.border).and(paint::bar(columns, ratio, 0.0), style).and("▏", palette.border)
}

fn php(screen: &Screen, snapshot: &Snapshot, wide: bool) -> Vec<Fact> {
    let palette = screen.palette;
    let php = &snapshot.php;
    let mut facts = Vec::new();
    if !screen.has_php() {
        return facts;
    }
    if wide {
        let mut kinds: Vec<String> = php
            .targets
            .iter()
            .filter(|target| target.not_observed.is_none())
            .map(|target| format!("{} {}", target.version.as_deref().unwrap_or("?"), target.sapi))
            .collect();
        kinds.sort();
        kinds.dedup();
        facts.push(Fact::new(3, "php ", palette.muted).and(kinds.join(", "), palette.title));
    }
    let busy = php.workers.iter().filter(|worker| worker.state == WorkerState::Running).count();
    let known = php.workers.iter().any(|worker| worker.state != WorkerState::Unknown);
    let mut pools: Vec<&str> = php.workers.iter().map(|worker| &*worker.pool).collect();
    pools.sort_unstable();
    pools.dedup();
    facts.push(Fact::new(9, plural(pools.len(), "pool"), palette.text));
    let busy = if known { format!(" ({busy} busy)") } else { String::new() };
    facts.push(Fact::new(6, plural(php.workers.len(), "worker") + &busy, palette.text));
    let mut histogram = Histogram::default();
    let (mut requests, mut errors) = (0, 0);
    for route in &screen.php.routes {
        histogram.merge(&route.histogram);
        requests += route.requests;
        errors += route.errors;
    }
    let seconds = screen.covered.as_secs_f64();
    let observed = php.targets.iter().any(|target| target.tiers.is_on(Tier::Requests));
    if !observed || seconds <= 0.0 {
        facts.push(Fact::new(4, "requests -", palette.muted));
    } else {
        facts.push(
            Fact::new(3, format!("{:.1}", requests as f64 / seconds), palette.title).and(" req/s", palette.muted),
        );
        let quantile = |q| units::milliseconds(histogram.quantile_ms(q));
        let mut fact = Fact { rank: 4, parts: Vec::new() };
        for (name, q) in [("p50 ", 0.5), ("p95 ", 0.95)].into_iter().filter(|_| wide) {
            fact = fact.and(name, palette.muted).and(quantile(q) + "  ", palette.text);
        }
        facts.push(fact.and("p99 ", palette.muted).and(quantile(0.99), palette.title).and(" ms", palette.muted));
        let style = if errors > 0 { palette.error } else { palette.text };
        facts.push(Fact::new(7, "5xx ", palette.muted).and(units::rate(errors as f64 / seconds), style));
    }
    facts.extend(problems(screen, seconds));
    facts
}

/// Rates of what went wrong; errors and compiled files only where there are any.
fn problems(screen: &Screen, seconds: f64) -> Vec<Fact> {
    let (palette, php) = (screen.palette, screen.php);
    let mut facts = Vec::new();
    if seconds <= 0.0 {
        return facts;
    }
    let mut add = |rank, name: &str, count: u64, style| {
        facts.push(Fact::new(rank, name, palette.muted).and(units::rate(count as f64 / seconds), style));
    };
    if let Some(exceptions) = &php.exceptions {
        let uncaught = exceptions.iter().any(|exception| exception.uncaught.is_some_and(|uncaught| uncaught > 0));
        let style = if uncaught { palette.error } else { palette.text };
        add(8, "exc ", exceptions.iter().map(|exception| exception.count).sum(), style);
    }
    let errors = php.errors.iter().flatten().map(|error| error.count - error.silenced.unwrap_or(0).min(error.count));
    let compiles = php.compiles.iter().flatten().map(|file| file.count);
    for (rank, name, count) in [(11, "err ", errors.sum::<u64>()), (12, "compiled ", compiles.sum())] {
        if count > 0 {
            add(rank, name, count, palette.text);
        }
    }
    facts
}

fn cost(screen: &Screen, snapshot: &Snapshot) -> Vec<Fact> {
    let palette = screen.palette;
    let mut facts = Vec::new();
    let hz = snapshot.php.targets.iter().filter(|target| target.tiers.is_on(Tier::Sampling));
    if let Some(hz) = hz.filter_map(|target| target.tiers[Tier::Sampling].hz).max() {
        facts.push(Fact::new(8, "sampling ", palette.muted).and(format!("{hz} Hz"), palette.text));
    }
    let own = match (snapshot.cost.cpu_ratio, snapshot.cost.bpf_ratio) {
        (None, None) => "-".to_owned(),
        (cpu, bpf) => format!("{:.1} %", (cpu.unwrap_or(0.0) + bpf.unwrap_or(0.0)) * 100.0),
    };
    facts.push(Fact::new(5, "own cost ", palette.muted).and(own, palette.text));
    let drops = snapshot.drops.sum() + screen.lagged;
    let style = if drops > 0 { palette.warn } else { palette.text };
    facts.push(Fact::new(6, "drops ", palette.muted).and(units::count(drops), style));
    let left_out = screen.php.left_out_samples;
    if left_out > 0 {
        let text = format!("{} samples of rare stacks left out", units::count(left_out));
        facts.push(Fact::new(6, text, palette.warn));
    }
    facts
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
