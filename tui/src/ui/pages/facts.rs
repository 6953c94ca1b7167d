//! Pages of facts: labels with values that go on in further lines, headings, rows of tables; in one column or two.

use ratatui::{buffer::Buffer, layout::Rect};

use crate::{
    ui::{frame::Screen, paint, windows::wrap},
    words::printable,
};

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A label and a value.
    Fact,
    /// The same, and it is close to a limit.
    Warning,
    /// A heading, and what is to be said of the part below it.
    Heading,
    /// A row of a table, in the label; it is cut where it does not fit.
    Row,
    /// The same, for the names of columns and for what is unknown.
    Muted,
}

/// One line of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Label, heading or row.
    pub label: String,
    pub value: String,
    /// What it is.
    pub kind: Kind,
}

/// A label with a value.
pub(crate) fn fact(label: &str, value: impl Into<String>) -> Line {
    Line { label: label.to_owned(), value: value.into(), kind: Kind::Fact }
}

pub(crate) fn heading(label: &str) -> Line {
    Line { label: label.to_owned(), value: String::new(), kind: Kind::Heading }
}

/// Lines as they are drawn: those that are too long broken, in columns beside each other.
pub(crate) struct Page {
    columns: Vec<Vec<Line>>,
    label_width: u16,
    column_width: u16,
}

/// Columns between two columns of a page.
const GAP: u16 = 3;

impl Page {
    /// Lays out parts for an area of some columns. A part is not divided; with room for two columns the parts from `second`
    /// on are in the second.
    pub(crate) fn new(parts: Vec<Vec<Line>>, width: u16, second: Option<usize>) -> Self {
        let label = |lines: &[Line]| {
            let facts = lines.iter().filter(|line| matches!(line.kind, Kind::Fact | Kind::Warning));
            facts.map(|line| printable::width(&line.label)).max().unwrap_or(0)
        };
        let count = if second.is_some() { 2 } else { 1 };
        let column_width = (width + GAP) / count - GAP.min(width);
        let column_width = if count == 1 { width } else { column_width };
        let widest = parts.iter().map(|lines| label(lines)).max().unwrap_or(0) as u16;
        let label_width = widest.min(column_width / 3);
        let room = usize::from(column_width.saturating_sub(label_width + 4));
        let mut columns = vec![Vec::new(); usize::from(count)];
        for (index, part) in parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
            let column = &mut columns[usize::from(second.is_some_and(|second| index >= second))];
            if !column.is_empty() {
                column.push(heading(""));
            }
            column.extend(wrapped(part, room, usize::from(column_width)));
        }
        Self { columns, label_width, column_width }
    }

    /// Height of all of it.
    pub(crate) fn height(&self) -> usize {
        self.columns.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Draws it from a line on.
    pub(crate) fn draw(&self, buffer: &mut Buffer, area: Rect, first: usize, screen: &Screen) {
        let palette = screen.palette;
        let mut left = area.x;
        for column in &self.columns {
            let right = area.right().min(left + self.column_width);
            for (line, y) in column.iter().skip(first).zip(area.y..area.bottom()) {
                let x = left + 1;
                let room = right.saturating_sub(x);
                let value_x = x + self.label_width + 2;
                let value_room = right.saturating_sub(value_x);
                match line.kind {
                    Kind::Heading => {
                        let end = paint::put(buffer, (x, y), room, &line.label, palette.title);
                        paint::put(buffer, (end + 3, y), right.saturating_sub(end + 3), &line.value, palette.muted);
                    }
                    Kind::Row => {
                        paint::put(buffer, (x, y), room, &line.label, palette.text);
                    }
                    Kind::Muted => {
                        paint::put(buffer, (x, y), room, &line.label, palette.muted);
                    }
                    Kind::Fact | Kind::Warning => {
                        paint::put(buffer, (x, y), self.label_width, &line.label, palette.muted);
                        let style = if line.kind == Kind::Warning { palette.warn } else { palette.text };
                        paint::put(buffer, (value_x, y), value_room, &line.value, style);
                    }
                }
            }
            left = right + GAP;
        }
    }
}

/// Long values go on in further lines, and so does text without a value.
fn wrapped(lines: Vec<Line>, room: usize, width: usize) -> Vec<Line> {
    let room = room.max(4);
    let mut out = Vec::with_capacity(lines.len());
    for line in lines {
        let value = printable::printable(&line.value).into_owned();
        let is_text = line.kind == Kind::Heading && value.is_empty();
        if is_text && printable::width(&line.label) + 1 > width {
            let parts = wrap(&line.label, width.saturating_sub(1).max(4));
            out.extend(parts.into_iter().map(|label| Line { label, value: String::new(), kind: line.kind }));
            continue;
        }
        if !matches!(line.kind, Kind::Fact | Kind::Warning) || printable::width(&value) <= room {
            out.push(Line { value, ..line });
            continue;
        }
        let Line { mut label, kind, .. } = line;
        let (mut part, mut used) = (String::new(), 0);
        for c in value.chars() {
            let columns = printable::width(c.encode_utf8(&mut [0; 4]));
            if used + columns > room {
                // Between words, unless that would leave most of the line empty, as with a long path.
                let space = part.rfind(' ').filter(|&at| at > part.len() / 2);
                let rest = space.map_or_else(String::new, |at| part.split_off(at).trim_start().to_owned());
                out.push(Line { label: std::mem::take(&mut label), value: std::mem::replace(&mut part, rest), kind });
                used = printable::width(&part);
            }
            part.push(c);
            used += columns;
        }
        out.push(Line { label, value: part, kind });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_that_is_too_long_goes_on_in_the_next_line() {
        let page =
            Page::new(vec![vec![heading("it exists once, so it is counted once"), fact("size", "1 MiB")]], 24, None);
        let labels: Vec<_> = page.columns[0].iter().map(|line| &*line.label).collect();
        assert_eq!(labels, ["it exists once, so it", "is counted once", "size"]);
    }
}
