//! The identity of a function, a route, a problem or a process across snapshots. There is one type for each, from the collector
//! to the screen: a name is read once and shared, and nothing is identified by its position in a list.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::FunctionKind;

/// What makes a function the same in another snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FunctionKey {
    /// Name without the class; `{main}` for the top-level code of a file, `?` when it could not be read.
    pub name: Arc<str>,
    /// Declaring class; empty for plain functions.
    pub class: Arc<str>,
    /// File; empty for internal functions.
    pub file: Arc<str>,
    /// Line where the function starts; 0 where there is none.
    pub line: u32,
    /// Where its code is.
    pub kind: FunctionKind,
}

/// What makes a route the same in another snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RouteKey {
    /// Folded path, such as `/post/:n`; empty for a command line script.
    pub route: Arc<str>,
    /// Script that PHP was started with; empty when unknown.
    pub script: Arc<str>,
    /// HTTP method; empty for a command line script.
    pub method: Arc<str>,
    /// Name of the process group that served it; empty when unknown.
    pub group: Arc<str>,
}

/// A worker: a process, or one of its threads where PHP runs in several of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerKey {
    /// Process.
    pub pid: u32,
    /// Thread; `None` where PHP runs in one thread of the process, and for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tid: Option<u32>,
}

impl WorkerKey {
    /// A whole process.
    pub fn of_process(pid: u32) -> Self {
        Self { pid, tid: None }
    }

    /// Whether another one is it, or one of its threads.
    pub fn has(self, other: Self) -> bool {
        self.pid == other.pid && (self.tid.is_none() || self.tid == other.tid)
    }
}

/// The route that stands for those of a group that are not listed.
const OTHER: &str = "(other)";
/// The route of what is not there.
const NOT_FOUND: &str = "(404)";

impl RouteKey {
    /// What stands for all routes of a group that are not listed.
    pub(crate) fn other(group: &Arc<str>) -> Self {
        let none: Arc<str> = "".into();
        Self { route: OTHER.into(), script: Arc::clone(&none), method: none, group: Arc::clone(group) }
    }

    /// What was asked for and is not there, for all paths and methods of a group.
    pub(crate) fn not_found(group: &Arc<str>) -> Self {
        let none: Arc<str> = "".into();
        Self { route: NOT_FOUND.into(), script: Arc::clone(&none), method: none, group: Arc::clone(group) }
    }

    /// Whether it is what is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        &*self.route == NOT_FOUND && self.script.is_empty() && self.method.is_empty()
    }

    /// Whether it stands for routes that are not listed.
    pub(crate) fn is_other(&self) -> bool {
        &*self.route == OTHER && self.script.is_empty() && self.method.is_empty()
    }
}

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// An exception.
    Exception,
    /// An error.
    Error,
    /// A compiled file.
    Compile,
}

/// What makes a problem the same in another snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProblemKey {
    /// Which of the three lists it is in.
    pub kind: ProblemKind,
    /// Class, level or server API.
    pub name: Arc<str>,
    /// Where it happened.
    pub file: Arc<str>,
    /// Line; 0 when there is none.
    pub line: u32,
}

/// One process for as long as it lives: a pid alone is given out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessKey {
    /// Process id (thread group id).
    pub pid: u32,
    /// Start time in clock ticks after boot; `None` where it is not known.
    pub start_ticks: Option<u64>,
}

/// A map by numbers, addresses or hashes of ours. Others do not choose them, so they are hashed faster than texts of strangers, which
/// may be made to have one hash.
pub(crate) type NumberMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Numbers of shared values, in the order in which they came. A value that is shared is found by its address; equal values at
/// other addresses get the same number. So text is hashed once for each allocation, and not once for each use.
#[derive(Debug, Clone)]
pub(crate) struct Numbers<K> {
    by_content: HashMap<Arc<K>, u32>,
    /// The value is kept with its address, so that no other can get that address.
    by_address: NumberMap<usize, (Arc<K>, u32)>,
}

/// Addresses remembered beside those of the numbered values; then all are forgotten, and found by content again.
const MAX_ADDRESSES: usize = 16_384;

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self { by_content: HashMap::new(), by_address: NumberMap::default() }
    }
}

impl<K: Eq + std::hash::Hash> Numbers<K> {
    /// The number of a value, if it has one.
    pub(crate) fn find(&mut self, value: &Arc<K>) -> Option<u32> {
        let address = Arc::as_ptr(value).addr();
        if let Some((_, number)) = self.by_address.get(&address) {
            return Some(*number);
        }
        let number = *self.by_content.get(value)?;
        self.remember(value, number);
        Some(number)
    }

    /// The number of a value, if it has one, without remembering where it is.
    pub(crate) fn known(&self, value: &Arc<K>) -> Option<u32> {
        let address = Arc::as_ptr(value).addr();
        self.by_address.get(&address).map(|(_, number)| *number).or_else(|| self.by_content.get(value).copied())
    }

    /// Gives a value a number; further ones may get the same.
    pub(crate) fn insert(&mut self, value: &Arc<K>, number: u32) {
        self.by_content.insert(Arc::clone(value), number);
        self.remember(value, number);
    }

    fn remember(&mut self, value: &Arc<K>, number: u32) {
        if self.by_address.len() >= self.by_content.len() + MAX_ADDRESSES {
            self.by_address.clear();
        }
        self.by_address.insert(Arc::as_ptr(value).addr(), (Arc::clone(value), number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_number_wherever_they_are() {
        let mut numbers = Numbers::default();
        let one: Arc<String> = Arc::new("one".to_owned());
        assert_eq!(numbers.find(&one), None);
        numbers.insert(&one, 0);
        numbers.insert(&Arc::new("two".to_owned()), 1);
        assert_eq!((numbers.find(&one), numbers.find(&Arc::new("one".to_owned()))), (Some(0), Some(0)));
        assert_eq!(numbers.known(&Arc::new("two".to_owned())), Some(1));
    }

    #[test]
    fn addresses_are_bounded_and_never_taken_for_those_of_other_values() {
        let mut numbers = Numbers::default();
        for number in 0..10 {
            numbers.insert(&Arc::new(number), number);
        }
        for round in 0..2 * MAX_ADDRESSES as u32 {
            assert_eq!(numbers.find(&Arc::new(round % 10)), Some(round % 10));
            assert!(numbers.by_address.len() <= 10 + MAX_ADDRESSES);
        }
    }
}
