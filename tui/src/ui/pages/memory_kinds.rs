//! Memory of one process by kind of mapping: a table, biggest first, and the biggest mappings with a name.

use std::{cmp::Reverse, time::Duration};

use jiff::Timestamp;

use super::{
    facts::{Kind, Line, heading},
    process::{dash, muted},
};
use crate::{
    model::{Inspection, MappingSum, Mappings, Unread},
    ui::paint,
    words::{printable, units},
};

/// Columns of the name of a kind.
const NAME: usize = 16;
/// Columns of a number.
const NUMBER: usize = 10;
/// Columns of the bars.
const BAR: u16 = 12;
/// A reading that is older than this says how it is made again.
const OLD: Duration = Duration::from_secs(10);

/// Name of a column and what it shows of a sum.
type Column = (&'static str, fn(&MappingSum) -> String);

/// Whether reading the mappings has to be asked for: it was too expensive to be done unasked.
pub(crate) fn askable(inspection: &Inspection) -> bool {
    !inspection.ended
        && match &inspection.mappings {
            Err(why) => matches!(why, Unread::TooExpensive(_)),
            Ok(_) => age(inspection, inspection.at) >= OLD,
        }
}

/// The lines of the table; `width` is that of the pane.
pub(crate) fn lines(inspection: &Inspection, now: Timestamp, width: u16) -> Vec<Line> {
    let mut title = heading("memory by kind");
    let mappings = match &inspection.mappings {
        Ok(mappings) => mappings,
        Err(Unread::TooExpensive(time)) => {
            let long = format!("- (takes about {} and holds the process up)", units::duration_ms(ms(*time)));
            return vec![title, muted(long), muted("enter reads it anyway".to_owned())];
        }
        Err(why) => return vec![title, muted(dash(*why))],
    };
    let again = if askable(inspection) { "; enter reads it again" } else { "" };
    let ago = match age(inspection, now) {
        ago if ago < Duration::from_secs(1) => "just now".to_owned(),
        ago => format!("{} ago", units::age(ago.as_secs())),
    };
    title.value = format!("read {ago}, took {}{again}", units::duration_ms(ms(inspection.mappings_cost)));
    let mut lines = vec![title];
    lines.extend(table(mappings, usize::from(width)));
    lines
}

fn table(mappings: &Mappings, width: usize) -> Vec<Line> {
    let columns: [Column; 6] = [
        ("PSS", |sum| units::bytes(sum.pss)),
        ("RSS", |sum| units::bytes(sum.rss)),
        ("private", |sum| units::bytes(sum.uss)),
        ("swap", |sum| units::bytes(sum.swap)),
        ("size", |sum| units::bytes(sum.size)),
        ("count", |sum| units::count(sum.count)),
    ];
    // The frame of the pane and a column at each side.
    let room = width.saturating_sub(4);
    let shown = &columns[..(room.saturating_sub(NAME) / NUMBER).clamp(1, columns.len())];
    let has_bar = room >= NAME + shown.len() * NUMBER + usize::from(BAR) + 2;
    let line = |name: &str, values: Vec<String>, bar: Option<f64>| {
        let mut line = printable::pad(name, NAME);
        values.iter().for_each(|value| line.push_str(&printable::pad_left(value, NUMBER)));
        if let Some(share) = bar.filter(|_| has_bar) {
            line.push_str("  ");
            line.push_str(&paint::bar(BAR, share, 0.0));
        }
        Line { label: line, value: String::new(), kind: Kind::Row }
    };
    let row = |name: &str, sum: &MappingSum, bar: Option<f64>| {
        line(name, shown.iter().map(|(_, value)| value(sum)).collect(), bar)
    };
    let names = line("", shown.iter().map(|(name, _)| (*name).to_owned()).collect(), None);
    let mut lines = vec![Line { kind: Kind::Muted, ..names }];
    let mut kinds = mappings.kinds.clone();
    kinds.sort_by_key(|(kind, sum)| (Reverse((sum.pss, sum.rss, sum.size)), *kind));
    let all = mappings.total.pss.max(1) as f64;
    lines.extend(
        kinds.iter().map(|(kind, sum)| row(crate::words::inspection::mapping(*kind), sum, Some(sum.pss as f64 / all))),
    );
    lines.push(row("all", &mappings.total, None));
    if mappings.biggest.iter().any(|(_, _, sum)| sum.pss > 0) {
        lines.push(muted(format!("{:>NUMBER$}{:>NUMBER$}  biggest with a name", "PSS", "private")));
    }
    for (name, kind, sum) in mappings.biggest.iter().filter(|(_, _, sum)| sum.pss > 0) {
        let start =
            printable::pad_left(&units::bytes(sum.pss), NUMBER) + &printable::pad_left(&units::bytes(sum.uss), NUMBER);
        let name = printable::printable(name);
        let name = match kind {
            crate::model::MappingKind::Opcache => format!("opcache: {name}"),
            _ => printable::truncate_start(&name, room.saturating_sub(2 * NUMBER + 2)).into_owned(),
        };
        lines.push(Line { label: format!("{start}  {name}"), value: String::new(), kind: Kind::Row });
    }
    lines
}

fn age(inspection: &Inspection, now: Timestamp) -> Duration {
    now.duration_since(inspection.mappings_at).try_into().unwrap_or(Duration::ZERO)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
