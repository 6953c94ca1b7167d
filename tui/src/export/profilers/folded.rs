//! Stacks as lines, for flamegraph.pl, inferno, speedscope and others: `group;route;outermost;...;innermost MICROSECONDS`.
//! Waiting has a last frame of its own, `[waiting]`.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use super::{name, stacks};
use crate::{model::Snapshot, words::printable};

/// Writes the stacks, in order of their names.
///
/// # Errors
/// What `out` answers.
pub fn write(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let php = &*snapshot.php;
    // Lines that are the same to a reader are one.
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for timed in stacks(php) {
        let mut line = String::new();
        let frames = timed.frames().filter_map(|frame| php.functions.get(frame)).map(name);
        for frame in [timed.group().into(), timed.route()].into_iter().chain(frames).filter(|frame| !frame.is_empty()) {
            if !line.is_empty() {
                line.push(';');
            }
            line.extend(printable::printable(&frame).chars().map(|c| if c == ';' { ',' } else { c }));
        }
        if timed.wait_ns > 0 {
            *lines.entry(format!("{line};[waiting]")).or_default() += timed.wait_ns;
        }
        if timed.cpu_ns > 0 {
            *lines.entry(line).or_default() += timed.cpu_ns;
        }
    }
    for (line, ns) in lines {
        writeln!(out, "{line} {}", ns.div_ceil(1_000))?;
    }
    Ok(())
}
