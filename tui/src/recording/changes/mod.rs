//! A snapshot as what changed since the one before it: most of a server stays as it is from second to second. [`write`](mod@write)
//! makes such a line of two lines of JSON, and [`read`](mod@read) gives back the second one, byte by byte but for the order
//! of rows where that says nothing. Both remember the same
//! ([`table`](mod@table)) and go by the text ([`split`](mod@split)), not by the model: what they need to know of it are the two lists
//! here.
//!
//! ```text
//! {"changes":1,"tables":{"":{"columns":{"at":[[0],["…"]]}},
//!  "processes":{"rows":[0,17,18,325],"new":[{"pid":4711,…}],"columns":{"cpu_ratio":[[1,11],[0.0006,0.0019]]}}}}
//! ```
//!
//! A table is an array of objects; all else of the line is the single row of the table without a name. Rows keep their number from
//! the first line on, where it is their place. `new` has rows that get the next numbers, `rows` the order in which they are in this
//! line, as pairs of a first number and a count; absent, it is that of the line before. A column has the rows in which a value
//! changed, each as the number of rows that are left out before it, and the new values. An index into another table is written as
//! the number of the row that it leads to.

mod read;
mod split;
mod table;
mod write;

#[cfg(test)]
mod tests;

pub(super) use self::{
    read::{Changes, ChangesError},
    write::ChangeWriter,
};

/// The number that a line of changes begins with; it goes up when its layout changes.
const VERSION: u32 = 1;

/// What a line of changes begins with.
pub(super) const START: &[u8] = b"{\"changes\":";

/// Rows that a table may have remembered, those that are no longer there among them.
const MAX_ROWS: usize = 1 << 20;

/// The table of all that is in no other one.
const REST: &str = "";

/// What tells rows of a table apart. Rows of other tables are compared with those in the same place. It decides only how short
/// a line of changes is; those who read it do not need it.
const IDENTITIES: &[(&str, &[&str])] = &[
    ("processes", &["pid"]),
    ("groups", &["name"]),
    ("cgroups", &["path"]),
    ("php.functions", &["name", "class", "file", "line"]),
    ("php.routes", &["method", "route", "group", "script"]),
    ("php.stacks", &["route", "frames"]),
    ("php.workers", &["pid", "tid"]),
    ("php.request_stacks", &["pid", "tid", "started_at", "stack"]),
    ("memory.parts", &["kind", "mount"]),
];

/// Tables in which the order of rows says nothing: they come back in the order of their numbers, which takes no room.
const UNORDERED: &[&str] = &["cgroups", "php.functions", "php.routes", "php.stacks", "php.request_stacks"];

/// Values that are indexes into a table, or arrays of them. The tables come before those that refer to them.
const REFERENCES: &[(&str, &str, &str)] = &[
    ("groups", "cgroup", "cgroups"),
    ("processes", "group", "groups"),
    ("processes", "cgroup", "cgroups"),
    ("php.stacks", "frames", "php.functions"),
    ("php.stacks", "route", "php.routes"),
    ("php.workers", "stack", "php.functions"),
    ("php.request_stacks", "stack", "php.stacks"),
    ("php.requests", "route", "php.routes"),
    ("php.exhausted", "route", "php.routes"),
    ("php.exceptions", "routes", "php.routes"),
    ("php.errors", "routes", "php.routes"),
];

/// When a table is taken: after those that it refers to.
fn rank(table: &str) -> usize {
    let referred = REFERENCES.iter().any(|&(_, _, to)| to == table);
    let refers = REFERENCES.iter().any(|&(from, ..)| from == table);
    usize::from(refers) * (2 - usize::from(referred))
}

/// Replaces each index in a value, a number or an array of them, by what `other` says. `None` where it says nothing, or the value has
/// other numbers. What is no number stays.
fn replace_indexes(value: &[u8], out: &mut Vec<u8>, mut other: impl FnMut(usize) -> Option<usize>) -> Option<()> {
    use std::io::Write as _;

    let mut rest = value;
    while let Some(&byte) = rest.first() {
        if byte.is_ascii_digit() {
            let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (digits, after) = rest.split_at(count);
            // One that begins with 0 would not be the same again.
            if count > 1 && byte == b'0' || matches!(after.first(), Some(b'.' | b'e' | b'E')) {
                return None;
            }
            let index = std::str::from_utf8(digits).ok()?.parse().ok()?;
            write!(out, "{}", other(index)?).ok()?;
            rest = after;
        } else if matches!(byte, b'[' | b']' | b',') {
            out.push(byte);
            rest = &rest[1..];
        } else {
            // null, and what is not understood.
            out.extend_from_slice(rest);
            return (!rest.iter().any(u8::is_ascii_digit)).then_some(());
        }
    }
    Some(())
}
