//! A flame as a picture that any browser shows: frames from the outermost on top, as wide as their share, CPU time and waiting in two
//! colours. It is an image alone, without scripts; the name and the times of a frame are its title, which browsers show beside the
//! pointer.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use super::sample_ns;
use crate::{
    analysis::{
        flame::{Flame, Source},
        profile::{Basis, Scope},
    },
    model::{HotTime, Snapshot},
    words::{printable, units},
};

/// Width of the picture, and its margin.
const WIDTH: f64 = 1_200.0;
const MARGIN: f64 = 10.0;
/// Height of a line, and of the title.
const LINE: f64 = 17.0;
const HEAD: f64 = 48.0;
/// Frames narrower than this are left out, as nothing is seen of them.
const NARROWEST: f64 = 0.2;
/// Width of a character; it decides how much of a name is written.
const CHARACTER: f64 = 7.2;

/// Writes the picture.
///
/// # Errors
/// What `out` answers.
pub fn write(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let php = &*snapshot.php;
    let basis = Basis { time: HotTime::Both, sample_ns: sample_ns(php) };
    let source = Source { now: (php, 1.0), before: None, scope: &Scope::All, basis, fold: None };
    let flame = source.flame();
    let whole = flame.nodes[0].weight;
    let deepest = flame.nodes.iter().map(|node| node.depth).max().unwrap_or(0);
    let height = HEAD + deepest.max(1) as f64 * LINE + MARGIN;
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"12\">"
    )?;
    writeln!(out, "<style>g:hover rect {{ stroke: #000; stroke-width: 1 }} text {{ fill: #111 }}</style>")?;
    writeln!(out, "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>")?;
    let head = format!(
        "{}   {}   {} of CPU time and waiting{}",
        snapshot.host.name,
        snapshot.at.strftime("%Y-%m-%d %H:%M:%S UTC"),
        units::duration_ns(whole),
        if whole == 0 { "   no PHP activity" } else { "" }
    );
    writeln!(out, "<text x=\"{MARGIN}\" y=\"20\" font-size=\"14\">{}</text>", text(&head))?;
    writeln!(
        out,
        "<rect x=\"{MARGIN}\" y=\"28\" width=\"10\" height=\"10\" fill=\"{CPU}\"/><text x=\"24\" y=\"37\">CPU time</text>\
         <rect x=\"104\" y=\"28\" width=\"10\" height=\"10\" fill=\"{WAIT}\"/><text x=\"118\" y=\"37\">waiting</text>"
    )?;
    frames(&flame, whole.max(1), out)?;
    writeln!(out, "</svg>")
}

const CPU: &str = "#f5a95b";
const WAIT: &str = "#8fb8de";

fn frames(flame: &Flame, whole: u64, out: &mut impl Write) -> io::Result<()> {
    let scale = (WIDTH - 2.0 * MARGIN) / whole as f64;
    let mut open = vec![(0_usize, 0_u64)];
    while let Some((number, before)) = open.pop() {
        let node = &flame.nodes[number];
        let width = node.weight as f64 * scale;
        if width < NARROWEST {
            continue;
        }
        let mut at = before;
        for &child in &node.children {
            open.push((child, at));
            at += flame.nodes[child].weight;
        }
        if number == 0 {
            continue;
        }
        let (x, y) = (MARGIN + before as f64 * scale, HEAD + (node.depth - 1) as f64 * LINE);
        let cpu = width * node.cpu as f64 / node.now.max(1) as f64;
        let frame = flame.frame(number);
        let (name, place) = (frame.name(), frame.place());
        let share = units::percent_column(node.now as f64 / whole as f64);
        let wait = units::duration_ns(node.now - node.cpu);
        let title = format!(
            "{}\n{}\n{} ({share}), of it {wait} waiting",
            text(&name),
            text(&place),
            units::duration_ns(node.now)
        );
        let mut line = format!("<g><title>{title}</title>");
        for (x, width, colour) in [(x, cpu, CPU), (x + cpu, width - cpu, WAIT)] {
            if width >= 0.05 {
                let height = LINE - 1.0;
                let _ = write!(
                    line,
                    "<rect x=\"{x:.2}\" y=\"{y}\" width=\"{:.2}\" height=\"{height}\" fill=\"{colour}\"/>",
                    (width - 0.4).max(0.1)
                );
            }
        }
        let room = ((width - 6.0) / CHARACTER) as usize;
        if room >= 3 {
            let name = printable::printable(&name);
            let shown = printable::truncate_end(&name, room);
            let _ = write!(line, "<text x=\"{:.2}\" y=\"{}\">{}</text>", x + 3.0, y + 12.0, text(&shown));
        }
        writeln!(out, "{line}</g>")?;
    }
    Ok(())
}

/// Text in XML: without what it would read as its own, and without control characters, which it cannot have.
fn text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in printable::printable(text).chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push(printable::REPLACEMENT),
            c => escaped.push(c),
        }
    }
    escaped
}
