//! Gives lines back that were written as changes. What it reads may be anything: it checks all of it, and is bounded.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    MAX_ROWS, START, VERSION,
    split::{Values, split_row},
    table::Memory,
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
    memory: Option<Memory>,
}

#[derive(Deserialize)]
struct Version {
    changes: u32,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    tables: BTreeMap<String, TableChange<'a>>,
}

#[derive(Deserialize)]
struct TableChange<'a> {
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
        self.memory = None;
        self.whole.clear();
        self.whole.extend_from_slice(line);
    }

    /// Takes a line of changes.
    pub(in crate::recording) fn take(&mut self, line: &[u8]) -> Result<(), ChangesError> {
        // Put back only where all of the line could be applied.
        self.memory = Some(self.changed(line)?);
        Ok(())
    }

    /// A value of the line taken last that is in no table, as JSON.
    pub(in crate::recording) fn value(&self, name: &str) -> Option<&[u8]> {
        self.memory.as_ref()?.value(name)
    }

    /// Writes the line taken last as a whole one. Tables that are not wanted are empty in it.
    pub(in crate::recording) fn write(
        &self,
        wanted: impl Fn(&str) -> bool,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), ChangesError> {
        out.clear();
        let written = self.memory.as_ref().and_then(|memory| memory.write(wanted, out, limit));
        written.ok_or(if out.len() > limit { ChangesError::TooLong } else { ChangesError::Other })
    }

    fn changed(&mut self, line: &[u8]) -> Result<Memory, ChangesError> {
        let version = serde_json::from_slice::<Version>(line)?.changes;
        if version != VERSION {
            return Err(ChangesError::Newer(version));
        }
        let Line { tables } = serde_json::from_slice(line)?;
        let memory = match self.memory.take() {
            Some(memory) => Some(memory),
            None => {
                // What is no JSON is found out here, so that splitting can go by single bytes.
                serde_json::from_slice::<serde::de::IgnoredAny>(&self.whole).map_err(|_| ChangesError::Other)?;
                Memory::of(&std::mem::take(&mut self.whole)).map(|(memory, _)| memory)
            }
        };
        let mut memory = memory.ok_or(ChangesError::Other)?;
        for (path, change) in tables {
            apply(&mut memory, &path, change).ok_or(ChangesError::Other)?;
        }
        Ok(memory)
    }
}

fn apply(memory: &mut Memory, path: &str, change: TableChange<'_>) -> Option<()> {
    let number = memory.tables.iter().position(|table| table.path == path)?;
    let mut values = Values::default();
    for row in change.new {
        let text = row.get().as_bytes();
        if number == 0 || !text.starts_with(b"{") || memory.tables[number].rows.len() >= MAX_ROWS {
            return None;
        }
        split_row(text, 0..text.len(), &mut values, false)?;
        let row = memory.numbered_row(number, text, &mut values)?;
        memory.tables[number].add(row)?;
    }
    let table = &mut memory.tables[number];
    for (name, (gaps, column)) in change.columns {
        if gaps.len() != column.len() {
            return None;
        }
        let (mut next, mut last) = (0_u32, None);
        for (gap, value) in gaps.into_iter().zip(column) {
            let at = next.checked_add(gap)?;
            next = at.checked_add(1)?;
            let row = table.rows.get_mut(at as usize)?;
            let value_number = match last {
                Some((shape, number)) if shape == row.shape => number,
                _ => table.shapes.shape(row.shape).names.iter().position(|known| *known == name)?,
            };
            last = Some((row.shape, value_number));
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
