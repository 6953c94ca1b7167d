//! Gives lines back that were written as changes. What it reads may be anything: it checks all of it, and is bounded.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    MAX_ROWS, START, VERSION,
    split::{Values, split_row},
    table::LastLine,
};

/// Why a line cannot be given back.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// It is made by a newer version.
    #[error("it is written in another way (version {0}, and this tusktop reads {VERSION}): use a newer tusktop")]
    Newer(u32),
    /// The text cannot be read.
    #[error(transparent)]
    Malformed(#[from] serde_json::Error),
    /// It does not belong to the lines before it.
    #[error("it does not fit the snapshot before it")]
    Other,
    /// It would be longer than a snapshot.
    #[error("it is too long")]
    TooLong,
}

/// Reads lines of which most are changes.
#[derive(Debug, Default)]
pub(in crate::recording) struct Changes {
    /// The last whole line, until changes come.
    whole: Vec<u8>,
    last: Option<LastLine>,
}

#[derive(Deserialize)]
struct Version {
    changes: u32,
}

#[derive(Deserialize)]
struct ChangedLine<'a> {
    changes: u32,
    #[serde(borrow)]
    tables: BTreeMap<String, ChangedTable<'a>>,
}

#[derive(Deserialize)]
struct ChangedTable<'a> {
    rows: Option<Vec<u32>>,
    #[serde(borrow, default)]
    new: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    columns: BTreeMap<String, (Vec<u32>, Vec<&'a RawValue>)>,
}

impl Changes {
    /// Whether a line is one of changes.
    pub(in crate::recording) fn is_changes(line: &[u8]) -> bool {
        line.starts_with(START)
    }

    /// Takes a whole line, to which changes may follow.
    pub(in crate::recording) fn begin(&mut self, line: &[u8]) {
        self.last = None;
        self.whole.clear();
        self.whole.extend_from_slice(line);
    }

    /// Takes a line of changes.
    pub(in crate::recording) fn take(&mut self, line: &[u8]) -> Result<(), ChangesError> {
        // Put back only where all of the line could be applied.
        self.last = Some(self.changed(line)?);
        Ok(())
    }

    /// A value of the line taken last that is in no table, as JSON.
    pub(in crate::recording) fn value(&self, name: &str) -> Option<&[u8]> {
        self.last.as_ref()?.value(name)
    }

    /// Writes the line taken last as a whole one. Tables that are not wanted are empty in it.
    pub(in crate::recording) fn write(
        &self,
        wanted: impl Fn(&str) -> bool,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), ChangesError> {
        out.clear();
        let written = self.last.as_ref().and_then(|last| last.write(wanted, out, limit));
        written.ok_or(if out.len() > limit { ChangesError::TooLong } else { ChangesError::Other })
    }

    fn changed(&mut self, line: &[u8]) -> Result<LastLine, ChangesError> {
        let text = std::str::from_utf8(line).map_err(|_| ChangesError::Other)?;
        let ChangedLine { changes, tables } = match serde_json::from_str(text) {
            Ok(line) => line,
            // Another version may look different.
            Err(error) => match serde_json::from_str::<Version>(text) {
                Ok(Version { changes }) if changes != VERSION => return Err(ChangesError::Newer(changes)),
                _ => return Err(error.into()),
            },
        };
        if changes != VERSION {
            return Err(ChangesError::Newer(changes));
        }
        let last = match self.last.take() {
            Some(last) => Some(last),
            None => {
                // What is no JSON is found out here, so that splitting can go by single bytes.
                serde_json::from_slice::<serde::de::IgnoredAny>(&self.whole).map_err(|_| ChangesError::Other)?;
                LastLine::of(&std::mem::take(&mut self.whole)).map(|(last, _)| last)
            }
        };
        let mut last = last.ok_or(ChangesError::Other)?;
        for (path, change) in tables {
            apply(&mut last, &path, change).ok_or(ChangesError::Other)?;
        }
        Ok(last)
    }
}

fn apply(last: &mut LastLine, path: &str, change: ChangedTable<'_>) -> Option<()> {
    let number = last.tables.iter().position(|table| table.path == path)?;
    let mut values = Values::default();
    for row in change.new {
        let text = row.get().as_bytes();
        if number == 0 || !text.starts_with(b"{") || last.tables[number].rows.len() >= MAX_ROWS {
            return None;
        }
        split_row(text, 0..text.len(), &mut values, false)?;
        let row = last.numbered_row(number, text, &mut values)?;
        last.tables[number].add(row)?;
    }
    let table = &mut last.tables[number];
    for (name, (gaps, column)) in change.columns {
        if gaps.len() != column.len() {
            return None;
        }
        let (mut next, mut found) = (0_u32, None);
        for (gap, value) in gaps.into_iter().zip(column) {
            let at = next.checked_add(gap)?;
            next = at.checked_add(1)?;
            let row = table.rows.get_mut(at as usize)?;
            let value_number = match found {
                Some((shape, number)) if shape == row.shape => number,
                _ => table.shapes.shape(row.shape).names.iter().position(|known| *known == name)?,
            };
            found = Some((row.shape, value_number));
            row.set(value_number, value.get().as_bytes())?;
        }
    }
    if let Some(runs) = change.rows {
        if number == 0 || runs.len() % 2 != 0 {
            return None;
        }
        let mut order = Vec::new();
        for run in runs.chunks_exact(2) {
            let end = run[0].checked_add(run[1])?;
            if end as usize > table.rows.len() || order.len() + run[1] as usize > table.rows.len() {
                return None;
            }
            order.extend(run[0]..end);
        }
        table.set_order(order)?;
    }
    Some(())
}
