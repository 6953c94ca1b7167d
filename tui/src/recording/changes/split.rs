//! Splits a line of JSON into tables, rows and values by its text, and knows the shapes of rows: their text without the values.

use std::{collections::HashMap, ops::Range};

use super::{IDENTITIES, REFERENCES};

/// How deep a line may go.
const DEEPEST: usize = 64;

/// The byte in the place of a value in a shape. JSON has no such byte.
const VALUE: u8 = 0;

/// A table of a line.
#[derive(Debug)]
pub(super) struct TableText {
    /// Names of the objects around it and its own, such as `php.routes`.
    pub path: String,
    /// Which value of the rest it is.
    pub value: usize,
    /// Its rows in the line.
    pub rows: Vec<Range<usize>>,
    /// Rows with the text of the row in the same place of the line before.
    pub same: Vec<bool>,
}

/// The line before: its text, and the tables in it.
#[derive(Debug, Default)]
pub(super) struct Before {
    pub line: Vec<u8>,
    pub tables: Vec<TableText>,
}

/// The shape and the values of a row, or of the rest of a line.
#[derive(Debug, Default, Clone)]
pub(super) struct Values {
    /// The text with [`VALUE`] for each value.
    shape: Vec<u8>,
    /// Where the values are in the line.
    pub places: Vec<Range<usize>>,
    /// Their names; only where they were asked for.
    names: Option<Vec<String>>,
}

impl Values {
    fn clear(&mut self, with_names: bool) {
        self.shape.clear();
        self.places.clear();
        self.names = with_names.then(Vec::new);
    }
}

/// The shapes of a table's rows: there are few of them.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    table: String,
    numbers: HashMap<Box<[u8]>, u32>,
    shapes: Vec<Shape>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Shape {
    text: Box<[u8]>,
    /// The names of the values, in their order.
    pub names: Vec<String>,
    /// Of each value, which one of [`REFERENCES`] it is.
    pub references: Vec<Option<usize>>,
    /// The values that tell its rows apart; `None` where they go by their place, or it lacks one.
    pub identity: Option<Vec<usize>>,
}

impl Shapes {
    pub(super) fn of(table: &str) -> Self {
        Self { table: table.to_owned(), ..Self::default() }
    }

    pub(super) fn shape(&self, number: u32) -> &Shape {
        &self.shapes[number as usize]
    }

    /// The number of the shape of a row that was split from `line` at `row`. `None` where two of its values have one name.
    pub(super) fn number(&mut self, values: &mut Values, line: &[u8], row: Range<usize>) -> Option<u32> {
        if let Some(&number) = self.numbers.get(&values.shape[..]) {
            return Some(number);
        }
        if values.names.is_none() {
            split_row(line, row, values, true)?;
        }
        let number = u32::try_from(self.shapes.len()).ok()?;
        let names = values.names.take()?;
        let mut sorted: Vec<_> = names.iter().collect();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return None;
        }
        let reference = |name: &String| REFERENCES.iter().position(|&(from, of, _)| from == self.table && of == name);
        let references = names.iter().map(reference).collect();
        let identity = IDENTITIES.iter().find(|&&(table, _)| table == self.table).and_then(|(_, of)| {
            of.iter().map(|name| names.iter().position(|known| known == name)).collect::<Option<Vec<_>>>()
        });
        let text: Box<[u8]> = values.shape.as_slice().into();
        self.numbers.insert(text.clone(), number);
        self.shapes.push(Shape { text, names, references, identity });
        Some(number)
    }
}

impl Shape {
    /// Writes a row: `value` writes each value by its number.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        mut value: impl FnMut(usize, &mut Vec<u8>) -> Option<()>,
    ) -> Option<()> {
        for (number, part) in self.text.split(|&byte| byte == VALUE).enumerate() {
            if number > 0 {
                value(number - 1, out)?;
            }
            out.extend_from_slice(part);
        }
        Some(())
    }
}

/// Finds the tables of a line, and the values of its rest, where a table is one value. `None` where the line is not as they are
/// written: it has blanks, or more than one value.
pub(super) fn split(line: &[u8], before: &Before, rest: &mut Values, with_names: bool) -> Option<Vec<TableText>> {
    rest.clear(with_names);
    let mut splitter = Splitter {
        line,
        before,
        at: 0,
        depth: 0,
        copied: 0,
        path: String::new(),
        values: rest,
        tables: Some(Vec::new()),
    };
    splitter.value()?;
    splitter.end(line.len())?;
    splitter.tables
}

/// The shape and the values of a row.
pub(super) fn split_row(line: &[u8], row: Range<usize>, values: &mut Values, with_names: bool) -> Option<()> {
    values.clear(with_names);
    let before = Before::default();
    let (at, end) = (row.start, row.end);
    let path = String::new();
    let mut splitter = Splitter { line, before: &before, at, depth: 0, copied: at, path, values, tables: None };
    splitter.value()?;
    splitter.end(end)
}

struct Splitter<'a> {
    line: &'a [u8],
    before: &'a Before,
    at: usize,
    depth: usize,
    /// Up to where the text is in the shape, or in a value.
    copied: usize,
    path: String,
    values: &'a mut Values,
    /// Those that were found; `None` within a row, where arrays are values.
    tables: Option<Vec<TableText>>,
}

impl Splitter<'_> {
    fn byte(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn end(&mut self, end: usize) -> Option<()> {
        let part = self.line.get(self.copied..end)?;
        self.values.shape.extend_from_slice(part);
        (self.at == end).then_some(())
    }

    fn value(&mut self) -> Option<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let start = self.at;
        match self.byte()? {
            b'{' => self.object()?,
            b'[' if self.tables.is_some() && matches!(self.line.get(start + 1), Some(b'{' | b']')) => {
                self.table()?;
                self.take(start);
            }
            _ => {
                self.skip()?;
                self.take(start);
            }
        }
        self.depth -= 1;
        Some(())
    }

    /// What is from `start` to here is a value.
    fn take(&mut self, start: usize) {
        self.values.shape.extend_from_slice(&self.line[self.copied..start]);
        self.values.shape.push(VALUE);
        self.values.places.push(start..self.at);
        if let Some(names) = &mut self.values.names {
            names.push(self.path.clone());
        }
        self.copied = self.at;
    }

    fn object(&mut self) -> Option<()> {
        self.at += 1;
        if self.byte()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let outer = self.path.len();
            let start = self.at;
            self.text()?;
            if self.values.names.is_some() || self.tables.is_some() {
                let name = std::str::from_utf8(&self.line[start + 1..self.at - 1]).ok()?;
                if outer > 0 {
                    self.path.push('.');
                }
                self.path.push_str(name);
            }
            self.expect(b':')?;
            self.value()?;
            self.path.truncate(outer);
            if !self.goes_on(b'}')? {
                return Some(());
            }
        }
    }

    fn table(&mut self) -> Option<()> {
        let tables = self.tables.as_ref()?;
        let number = tables.len();
        let before = self.before.tables.get(number).filter(|before| before.path == self.path);
        let value = self.values.places.len();
        let mut table = TableText { path: self.path.clone(), value, rows: Vec::new(), same: Vec::new() };
        self.at += 1;
        if self.byte()? == b']' {
            self.at += 1;
        } else {
            loop {
                let start = self.at;
                let same = before.and_then(|before| self.before.line.get(before.rows.get(table.rows.len())?.clone()));
                // A row is an object, whose text cannot go on behind its last brace.
                let same = same.filter(|text| self.line[start..].starts_with(text));
                match same {
                    Some(text) => self.at += text.len(),
                    None if self.byte()? == b'{' => self.skip()?,
                    None => return None,
                }
                table.rows.push(start..self.at);
                table.same.push(same.is_some());
                if !self.goes_on(b']')? {
                    break;
                }
            }
        }
        self.tables.as_mut()?.push(table);
        Some(())
    }

    /// Takes a comma, or the end of an object or array. False at the end.
    fn goes_on(&mut self, end: u8) -> Option<bool> {
        let byte = self.byte()?;
        self.at += 1;
        match byte {
            b',' => Some(true),
            byte if byte == end => Some(false),
            _ => None,
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.byte()? == byte).then(|| self.at += 1)
    }

    fn text(&mut self) -> Option<()> {
        self.expect(b'"')?;
        loop {
            self.at += memchr::memchr2(b'"', b'\\', self.line.get(self.at..)?)?;
            if self.byte()? == b'"' {
                self.at += 1;
                return Some(());
            }
            self.at += 2;
        }
    }

    /// Goes behind a value. What it is made of is checked by those who read JSON.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.byte()? {
                b'"' => self.text()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                b'0'..=b'9' | b'a'..=b'z' | b'-' | b'+' | b'.' | b'E' => {
                    let rest = &self.line[self.at..];
                    let plain = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'-' | b'+' | b'.' | b'E');
                    self.at += rest.iter().take_while(|byte| plain(byte)).count();
                }
                _ => return None,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}
