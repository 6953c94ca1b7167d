//! Rows of cells as aligned columns of plain text. Cells come from outside, so control characters are replaced.

use std::io::{self, Write};

use crate::words::printable::{pad, pad_left, printable, width};

/// On which side a column is flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table with a title line above each column.
#[derive(Debug)]
pub(super) struct Columns<const N: usize> {
    titles: [(String, Align); N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Columns<N> {
    /// A table without rows.
    pub(crate) fn new<T: Into<String>>(titles: [(T, Align); N]) -> Self {
        Self { titles: titles.map(|(title, align)| (title.into(), align)), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell).into_owned()));
    }

    /// Writes all rows, two spaces between columns and none at the end of a line.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let titles = self.titles.clone().map(|(title, _)| title);
        let rows = || std::iter::once(&titles).chain(&self.rows);
        let widths: [usize; N] =
            std::array::from_fn(|column| rows().map(|row| width(&row[column])).max().unwrap_or_default());
        for row in rows() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                if column > 0 {
                    line.push_str("  ");
                }
                line.push_str(&match self.titles[column].1 {
                    Align::Left => pad(cell, widths[column]),
                    Align::Right => pad_left(cell, widths[column]),
                });
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stay_straight_and_nothing_hostile_is_written() {
        let mut columns = Columns::new([("NAME", Align::Left), ("N", Align::Right), ("END", Align::Left)]);
        columns.row(["日本".into(), "1".into(), "a".into()]);
        columns.row(["\x1b[31mred\n".into(), "100".into(), "\u{202e}".into()]);
        let mut out = Vec::new();
        columns.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "NAME         N  END\n日本         1  a\n·[31mred·  100  ·\n");
    }
}
