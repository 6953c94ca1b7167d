//! What both sides remember of the lines before: the rows of each table, with a number for each, and their order in the last line.

use std::ops::Range;

use super::{
    REFERENCES, REST, replace_indexes,
    split::{Before, Shapes, TableText, Values, split, split_row},
};

/// A row that is not in the last line.
const ABSENT: u32 = u32::MAX;

/// A row.
#[derive(Debug, Default, Clone)]
pub(super) struct Row {
    pub shape: u32,
    /// Its values, one behind the other.
    text: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<u32>,
}

impl Row {
    pub(super) fn value(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start as usize..self.ends[number] as usize]
    }

    pub(super) fn set(&mut self, number: usize, value: &[u8]) -> Option<()> {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        let end = self.ends[number];
        self.text.splice(start as usize..end as usize, value.iter().copied());
        let length = u32::try_from(value.len()).ok()?;
        u32::try_from(self.text.len()).ok()?;
        for place in &mut self.ends[number..] {
            *place = *place - (end - start) + length;
        }
        Some(())
    }
}

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    pub path: String,
    pub shapes: Shapes,
    /// All that were in a line, by their number.
    pub rows: Vec<Row>,
    /// The numbers of those that are in the last line.
    pub order: Vec<u32>,
    /// Where each row is in the last line, or [`ABSENT`].
    places: Vec<u32>,
}

impl Table {
    pub(super) fn new(path: &str) -> Self {
        let (rows, order, places) = (Vec::new(), Vec::new(), Vec::new());
        Self { path: path.to_owned(), shapes: Shapes::of(path), rows, order, places }
    }

    pub(super) fn add(&mut self, row: Row) -> Option<u32> {
        let number = u32::try_from(self.rows.len()).ok()?;
        self.rows.push(row);
        self.places.push(ABSENT);
        Some(number)
    }

    /// Takes another order. `None` where a row is not there, or twice.
    pub(super) fn set_order(&mut self, order: Vec<u32>) -> Option<()> {
        for &row in &self.order {
            self.places[row as usize] = ABSENT;
        }
        self.order = order;
        for (place, &row) in self.order.iter().enumerate() {
            let known = self.places.get_mut(row as usize)?;
            if *known != ABSENT {
                return None;
            }
            *known = u32::try_from(place).ok()?;
        }
        Some(())
    }
}

/// What is remembered.
#[derive(Debug)]
pub(super) struct LastLine {
    /// The first one has the rest of the line, in a single row.
    pub tables: Vec<Table>,
    /// For each value of the rest whether it is a table, and which one.
    pub places: Vec<Option<usize>>,
    /// For each of [`REFERENCES`] the table that it leads to.
    pub targets: Vec<Option<usize>>,
}

impl LastLine {
    /// That of a whole line, and how it was split.
    pub(super) fn of(line: &[u8]) -> Option<(Self, Vec<TableText>)> {
        let mut values = Values::default();
        let texts = split(line, &Before::default(), &mut values, true)?;
        let mut places = vec![None; values.places.len()];
        let mut tables = vec![Table::new(REST)];
        for text in &texts {
            places[text.value] = Some(tables.len());
            tables.push(Table::new(&text.path));
        }
        let target = |&(_, _, to): &(&str, &str, &str)| tables.iter().position(|table| table.path == to);
        let targets = REFERENCES.iter().map(target).collect();
        let mut last = Self { tables, places, targets };
        let rest = last.row(0, line, &mut values, 0..line.len())?;
        last.tables[0].add(rest)?;
        // In a whole line rows have the numbers of their places, so indexes are numbers of rows.
        for text in &texts {
            let length = u32::try_from(text.rows.len()).ok()?;
            let table = last.places[text.value]?;
            last.tables[table].places = (0..length).collect();
            last.tables[table].order = (0..length).collect();
        }
        for text in &texts {
            let table = last.places[text.value]?;
            for row in &text.rows {
                split_row(line, row.clone(), &mut values, false)?;
                let row = last.row(table, line, &mut values, row.clone())?;
                last.tables[table].rows.push(row);
            }
        }
        Some((last, texts))
    }

    /// A row that was split from a line, with numbers of rows for indexes. `None` where an index leads nowhere.
    pub(super) fn row(&mut self, table: usize, line: &[u8], values: &mut Values, range: Range<usize>) -> Option<Row> {
        let mut row = Row::default();
        self.fill_row(table, line, values, range, true, &mut row)?;
        Some(row)
    }

    /// The same of a row that has numbers of rows already.
    pub(super) fn numbered_row(&mut self, table: usize, text: &[u8], values: &mut Values) -> Option<Row> {
        let mut row = Row::default();
        self.fill_row(table, text, values, 0..text.len(), false, &mut row)?;
        Some(row)
    }

    /// Makes a row in the place of another one, so that the room of that is used again.
    pub(super) fn fill_row(
        &mut self,
        table: usize,
        line: &[u8],
        values: &mut Values,
        range: Range<usize>,
        indexes: bool,
        row: &mut Row,
    ) -> Option<()> {
        let shape = self.tables[table].shapes.number(values, line, range)?;
        let Row { text, ends, .. } = row;
        text.clear();
        ends.clear();
        for (number, place) in values.places.iter().enumerate() {
            let value = &line[place.clone()];
            let is_table = table == 0 && self.places.get(number).is_some_and(Option::is_some);
            let reference = self.tables[table].shapes.shape(shape).references[number];
            match reference.and_then(|reference| self.targets[reference]) {
                _ if is_table => {}
                Some(target) if indexes => {
                    let order = &self.tables[target].order;
                    replace_indexes(value, text, |index| Some(*order.get(index)? as usize))?;
                }
                _ => text.extend_from_slice(value),
            }
            ends.push(u32::try_from(text.len()).ok()?);
        }
        row.shape = shape;
        Some(())
    }

    /// Writes a row with the numbers of rows, as it is remembered.
    pub(super) fn write_numbered(&self, table: usize, row: &Row, out: &mut Vec<u8>) {
        let shape = self.tables[table].shapes.shape(row.shape);
        let _ = shape.write(out, |number, out| {
            out.extend_from_slice(row.value(number));
            Some(())
        });
    }

    /// A value of the rest by its name.
    pub(super) fn value(&self, name: &str) -> Option<&[u8]> {
        let row = self.tables[0].rows.first()?;
        let number = self.tables[0].shapes.shape(row.shape).names.iter().position(|known| known == name)?;
        Some(row.value(number))
    }

    /// Writes the line. `None` where something refers to a row that is not in it, or it gets longer than `limit`.
    pub(super) fn write(&self, wanted: impl Fn(&str) -> bool, out: &mut Vec<u8>, limit: usize) -> Option<()> {
        let rest = &self.tables[0];
        let row = rest.rows.first()?;
        rest.shapes.shape(row.shape).write(out, |number, out| match self.places[number] {
            Some(table) if wanted(&self.tables[table].path) => self.write_table(table, out, limit),
            Some(_) => {
                out.extend_from_slice(b"[]");
                Some(())
            }
            None => {
                out.extend_from_slice(row.value(number));
                Some(())
            }
        })
    }

    fn write_table(&self, number: usize, out: &mut Vec<u8>, limit: usize) -> Option<()> {
        let table = &self.tables[number];
        out.push(b'[');
        for (place, &row) in table.order.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            let row = &table.rows[row as usize];
            let shape = table.shapes.shape(row.shape);
            shape.write(out, |number, out| {
                let value = row.value(number);
                match shape.references[number].and_then(|reference| self.targets[reference]) {
                    Some(target) => {
                        let places = &self.tables[target].places;
                        let place = |row: usize| places.get(row).filter(|&&place| place != ABSENT);
                        replace_indexes(value, out, |row| Some(*place(row)? as usize))
                    }
                    None => {
                        out.extend_from_slice(value);
                        Some(())
                    }
                }
            })?;
            if out.len() > limit {
                return None;
            }
        }
        out.push(b']');
        Some(())
    }
}
