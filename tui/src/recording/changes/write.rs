//! Makes lines of changes.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState},
    io::Write as _,
    ops::Range,
};

use super::{
    IDENTITIES, MAX_ROWS, UNORDERED, VERSION, rank,
    split::{Before, Shapes, TableText, Values, split, split_row},
    table::{LastLine, Row},
};

/// Rows that are no longer there and are remembered, beside as many as there are; with more of them a whole line is written.
const ABSENT_ROWS: usize = 8192;

/// Writes lines: the first one whole, the others as changes where that is possible.
#[derive(Debug, Default)]
pub(in crate::recording) struct ChangeWriter {
    last: Option<LastLine>,
    /// The rows of each table by what tells them apart; empty where they go by their place.
    known: Vec<HashMap<u64, u32>>,
    /// The order of each table as it was written last.
    listed: Vec<Vec<u32>>,
    before: Before,
    hasher: RandomState,
}

/// What changed in a table.
#[derive(Debug, Default)]
struct TableChange {
    /// Whether places in the line belong to other rows than before.
    moved: bool,
    /// The order that is written, where it is another one.
    rows: Option<Vec<u32>>,
    /// The first of the new rows.
    new: usize,
    columns: Columns,
}

/// Values that changed.
#[derive(Debug, Default)]
struct Columns {
    columns: Vec<Column>,
    text: Vec<u8>,
}

/// Those of one name in rows of one shape.
#[derive(Debug)]
struct Column {
    shape: u32,
    /// Their number in the shape.
    value: usize,
    /// The numbers of their rows, and where the values are in the text.
    places: Vec<(u32, Range<usize>)>,
}

impl Columns {
    fn add(&mut self, (shape, value): (u32, usize), row: u32, text: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        let place = (row, start..self.text.len());
        match self.columns.iter_mut().find(|column| (column.shape, column.value) == (shape, value)) {
            Some(column) => column.places.push(place),
            None => self.columns.push(Column { shape, value, places: vec![place] }),
        }
    }

    /// By their names, in the order of rows.
    fn by_name<'a>(&'a self, shapes: &'a Shapes) -> BTreeMap<&'a str, Vec<(u32, &'a [u8])>> {
        let mut named: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for Column { shape, value, places } in &self.columns {
            let values = places.iter().map(|(row, place)| (*row, &self.text[place.clone()]));
            named.entry(&shapes.shape(*shape).names[*value]).or_default().extend(values);
        }
        named.values_mut().for_each(|values| values.sort_unstable_by_key(|(row, _)| *row));
        named
    }
}

impl TableChange {
    fn is_empty(&self, rows: usize) -> bool {
        self.rows.is_none() && self.new == rows && self.columns.columns.is_empty()
    }
}

impl ChangeWriter {
    /// The next line is written whole.
    pub(in crate::recording) fn begin(&mut self) {
        self.last = None;
    }

    /// Writes a line of JSON, both without a newline. The line is kept, as what the next one is compared with.
    pub(in crate::recording) fn write(&mut self, line: Vec<u8>, out: &mut Vec<u8>) {
        let start = out.len();
        let tables = self.changes(&line, out).or_else(|| {
            out.truncate(start);
            out.extend_from_slice(&line);
            self.remember(&line)
        });
        self.before = Before { tables: tables.unwrap_or_default(), line };
    }

    /// Begins with a line, and returns its tables. `None` where it cannot be compared with another one.
    fn remember(&mut self, line: &[u8]) -> Option<Vec<TableText>> {
        self.known.clear();
        self.listed.clear();
        self.last = None;
        let (last, tables) = LastLine::of(line)?;
        for table in &last.tables {
            let keys = table.rows.iter().zip(0..);
            let keys = keys.filter_map(|(row, number)| Some((key(&self.hasher, &table.shapes, row)?, number)));
            self.known.push(keys.collect());
            self.listed.push(table.order.clone());
        }
        self.last = Some(last);
        Some(tables)
    }

    /// Writes what changed, and returns the tables of the line; `None` where it has to be the whole line. What is remembered is of no
    /// use then.
    fn changes(&mut self, line: &[u8], out: &mut Vec<u8>) -> Option<Vec<TableText>> {
        let last = self.last.as_mut()?;
        let mut values = Values::default();
        let mut texts = split(line, &self.before, &mut values, false)?;
        let same = |(text, before): (&TableText, &TableText)| text.path == before.path && text.value == before.value;
        if texts.len() != self.before.tables.len() || !texts.iter().zip(&self.before.tables).all(same) {
            return None;
        }
        let mut changes: Vec<_> = last.tables.iter().map(|_| TableChange::default()).collect();
        let rest = last.row(0, line, &mut values, 0..line.len())?;
        if rest.shape != last.tables[0].rows.first()?.shape {
            return None;
        }
        changes[0].new = 1;
        compare(last, 0, 0, &rest, &mut changes[0])?;
        let mut order: Vec<_> = (0..texts.len()).collect();
        order.sort_by_key(|&number| rank(&texts[number].path));
        for number in order {
            let table = last.places[texts[number].value]?;
            let known = &mut self.known[table];
            let mut change = Self::table(last, table, &texts[number], &changes, line, known, &self.hasher)?;
            let mut listed = last.tables[table].order.clone();
            if UNORDERED.contains(&&*texts[number].path) {
                listed.sort_unstable();
            }
            if listed != self.listed[table] {
                self.listed[table].clone_from(&listed);
                change.rows = Some(listed);
            }
            changes[table] = change;
            let rows = last.tables[table].rows.len();
            if rows > 2 * texts[number].rows.len() + ABSENT_ROWS || rows > MAX_ROWS {
                return None;
            }
        }
        write_line(last, &changes, out)?;
        for text in &mut texts {
            text.same = Vec::new();
        }
        Some(texts)
    }

    fn table(
        last: &mut LastLine,
        table: usize,
        text: &TableText,
        changes: &[TableChange],
        line: &[u8],
        known: &mut HashMap<u64, u32>,
        hasher: &RandomState,
    ) -> Option<TableChange> {
        let mut change = TableChange { new: last.tables[table].rows.len(), ..TableChange::default() };
        // The same text is the same row only if the indexes in it lead to the same rows.
        let moved = super::REFERENCES
            .iter()
            .zip(&last.targets)
            .any(|(&(from, ..), target)| from == text.path && target.is_some_and(|target| changes[target].moved));
        let mut taken = vec![false; change.new];
        let mut order = Vec::with_capacity(text.rows.len());
        let has_identity = IDENTITIES.iter().any(|(path, _)| *path == text.path);
        let (mut values, mut row) = (Values::default(), Row::default());
        for (place, (range, &same)) in text.rows.iter().zip(&text.same).enumerate() {
            let before = last.tables[table].order.get(place).copied();
            if same
                && !moved
                && let Some(number) = before
                && !taken[number as usize]
            {
                taken[number as usize] = true;
                order.push(number);
                continue;
            }
            split_row(line, range.clone(), &mut values, false)?;
            last.fill_row(table, line, &mut values, range.clone(), true, &mut row)?;
            let rows = &last.tables[table];
            let key = key(hasher, &rows.shapes, &row);
            let number = if has_identity { key.and_then(|key| known.get(&key).copied()) } else { before };
            let number = number.filter(|&number| {
                let free = taken.get(number as usize) == Some(&false);
                free && rows.rows[number as usize].shape == row.shape
            });
            let number = match number {
                Some(number) => {
                    taken[number as usize] = true;
                    compare(last, table, number, &row, &mut change)?;
                    number
                }
                None => {
                    let number = last.tables[table].add(row.clone())?;
                    if let Some(key) = key {
                        known.insert(key, number);
                    }
                    number
                }
            };
            order.push(number);
        }
        if order != last.tables[table].order {
            change.moved = true;
            last.tables[table].set_order(order)?;
        }
        Some(change)
    }
}

/// What tells a row apart; `None` where it lacks a part of that.
fn key(hasher: &RandomState, shapes: &Shapes, row: &Row) -> Option<u64> {
    let identity = shapes.shape(row.shape).identity.as_ref()?;
    let mut state = hasher.build_hasher();
    identity.iter().for_each(|&value| row.value(value).hash(&mut state));
    Some(state.finish())
}

/// Notes what is another value in a row, and remembers it.
fn compare(last: &mut LastLine, table: usize, number: u32, row: &Row, change: &mut TableChange) -> Option<()> {
    let table = &mut last.tables[table];
    let known = &mut table.rows[number as usize];
    for value in 0..table.shapes.shape(row.shape).names.len() {
        let new = row.value(value);
        if known.value(value) != new {
            known.set(value, new)?;
            change.columns.add((row.shape, value), number, new);
        }
    }
    Some(())
}

fn write_line(last: &LastLine, changes: &[TableChange], out: &mut Vec<u8>) -> Option<()> {
    write!(out, "{{\"changes\":{VERSION},\"tables\":{{").ok()?;
    let mut first = true;
    for (number, (table, change)) in last.tables.iter().zip(changes).enumerate() {
        if change.is_empty(table.rows.len()) {
            continue;
        }
        write!(out, "{}\"{}\":{{", if first { "" } else { "," }, table.path).ok()?;
        first = false;
        let mut separator = "";
        if let Some(rows) = &change.rows {
            out.extend_from_slice(b"\"rows\":");
            write_numbers(runs(rows), out)?;
            separator = ",";
        }
        if change.new < table.rows.len() {
            write!(out, "{separator}\"new\":[").ok()?;
            for (at, row) in table.rows[change.new..].iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                last.write_numbered(number, row, out);
            }
            out.push(b']');
            separator = ",";
        }
        if !change.columns.columns.is_empty() {
            write!(out, "{separator}\"columns\":{{").ok()?;
            for (at, (name, values)) in change.columns.by_name(&table.shapes).iter().enumerate() {
                write_column(name, values, at > 0, out)?;
            }
            out.push(b'}');
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"}}");
    Some(())
}

/// Writes a column, whose values are in the order of rows.
fn write_column(name: &str, values: &[(u32, &[u8])], comma: bool, out: &mut Vec<u8>) -> Option<()> {
    write!(out, "{}\"{name}\":[", if comma { "," } else { "" }).ok()?;
    let mut next = 0;
    let gaps = values.iter().map(|&(row, _)| {
        let gap = row - next;
        next = row + 1;
        gap
    });
    write_numbers(gaps, out)?;
    out.extend_from_slice(b",[");
    for (at, (_, value)) in values.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(value);
    }
    out.extend_from_slice(b"]]");
    Some(())
}

fn write_numbers(numbers: impl Iterator<Item = u32>, out: &mut Vec<u8>) -> Option<()> {
    out.push(b'[');
    for (at, number) in numbers.enumerate() {
        write!(out, "{}{number}", if at > 0 { "," } else { "" }).ok()?;
    }
    out.push(b']');
    Some(())
}

/// Numbers as pairs: the first one of those that follow each other, and how many these are.
fn runs(numbers: &[u32]) -> impl Iterator<Item = u32> {
    let runs = numbers.chunk_by(|a, b| a.checked_add(1) == Some(*b));
    runs.flat_map(|run| [run[0], u32::try_from(run.len()).unwrap_or(u32::MAX)])
}
