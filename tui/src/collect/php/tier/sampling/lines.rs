//! Samples by function and line, between two ticks. Only some samples have lines (`tui-ebpf/src/lines.rs`).

use std::{collections::HashMap, sync::Arc};

use tusktop_shared::{ContentKey, StackLines};

use super::Names;
use crate::{
    collect::{bpf::wire, php::kernel::Kernel},
    model::{FunctionKey, FunctionKind, HotLine, HotLines},
};

/// Functions kept between two ticks; lines of more are lost.
const FUNCTIONS: usize = 20_000;

/// What was counted since it was last taken.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    functions: HashMap<Arc<FunctionKey>, HotLines>,
    /// Samples whose stack was not in the kernel's map, or for which there was no room.
    lost: u64,
}

/// One sample: its stack, and the line of each frame as in the kernel's map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SampledLines {
    pub stack: ContentKey,
    pub pid: u32,
    pub lines: Vec<u32>,
}

impl SampledLines {
    /// Reads what the program sent; `None` when it is too short.
    pub(crate) fn decode(record: &[u8]) -> Option<Self> {
        let head: StackLines = wire::read(record)?;
        let lines = record.get(size_of::<StackLines>()..)?.chunks_exact(size_of::<u32>());
        let lines: Vec<u32> = lines
            .filter_map(|bytes| Some(u32::from_ne_bytes(bytes.try_into().ok()?)))
            .take(head.depth as usize)
            .collect();
        Some(Self { stack: ContentKey::new(head.stack, head.user), pid: head.pid, lines })
    }
}

impl Lines {
    /// Adds one sample.
    pub(crate) fn add(&mut self, sample: &SampledLines, names: &mut Names, kernel: &Kernel) {
        match names.frames(kernel, sample.stack) {
            Some(frames) => self.count(&frames, &sample.lines),
            None => self.lost += 1,
        }
    }

    /// Counts the functions of a stack, leaf first, each with its place in `lines`.
    fn count(&mut self, frames: &[(Arc<FunctionKey>, usize)], lines: &[u32]) {
        let mut counted: Vec<&Arc<FunctionKey>> = Vec::with_capacity(frames.len());
        for (depth, (function, place)) in frames.iter().enumerate() {
            let has_lines = matches!(function.kind, FunctionKind::User | FunctionKind::Eval);
            let line = lines.get(*place).copied().unwrap_or(0);
            // What is in front of the function was not read of it.
            if !has_lines || line == 0 || line < function.line || counted.contains(&function) {
                continue;
            }
            counted.push(function);
            if !self.functions.contains_key(function) && self.functions.len() >= FUNCTIONS {
                self.lost += 1;
                continue;
            }
            let known = self.functions.entry(Arc::clone(function)).or_default();
            known.add(HotLine { line, samples: 1, self_samples: u64::from(depth == 0) });
        }
    }

    /// What was counted since the last call.
    pub(crate) fn take(&mut self) -> Vec<(Arc<FunctionKey>, HotLines)> {
        self.functions.drain().collect()
    }

    /// Samples that were lost since the last call.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, kind: FunctionKind) -> Arc<FunctionKey> {
        let line = if kind == FunctionKind::Internal { 0 } else { 10 };
        Arc::new(FunctionKey { name: name.into(), class: "".into(), file: "/a.php".into(), line, kind })
    }

    fn of(lines: &mut Lines, name: &str) -> Vec<(u32, u64, u64)> {
        let found = lines.functions.iter_mut().find(|(key, _)| &*key.name == name);
        found.map_or_else(Vec::new, |(_, lines)| {
            lines.list();
            lines.lines.iter().map(|line| (line.line, line.samples, line.self_samples)).collect()
        })
    }

    #[test]
    fn the_leaf_counts_for_itself_and_a_recursion_once_at_its_innermost_line() {
        let (f, main) = (function("f", FunctionKind::User), function("main", FunctionKind::User));
        let mut lines = Lines::default();
        let stack = [(f.clone(), 0), (f.clone(), 1), (main.clone(), 2)];
        lines.count(&stack, &[12, 15, 40]);
        lines.count(&stack, &[12, 15, 41]);
        lines.count(&[(main, 0)], &[41]);
        assert_eq!(of(&mut lines, "f"), [(12, 2, 2)]);
        assert_eq!(of(&mut lines, "main"), [(41, 2, 1), (40, 1, 0)]);
    }

    #[test]
    fn built_in_functions_have_no_line_and_their_caller_is_where_it_calls_them() {
        let mut lines = Lines::default();
        let stack = [(function("sort", FunctionKind::Internal), 0), (function("f", FunctionKind::User), 2)];
        lines.count(&stack, &[77, 0, 12]);
        assert!(of(&mut lines, "sort").is_empty());
        assert_eq!(of(&mut lines, "f"), [(12, 1, 0)]);
    }

    #[test]
    fn lines_that_cannot_be_right_are_left_out() {
        let mut lines = Lines::default();
        let f = function("f", FunctionKind::User);
        for sent in [&[0][..], &[9], &[]] {
            lines.count(&[(f.clone(), 0)], sent);
        }
        lines.count(&[(f.clone(), usize::MAX)], &[11]);
        assert!(lines.functions.is_empty());
        lines.count(&[(f, 0)], &[10]);
        assert_eq!(of(&mut lines, "f"), [(10, 1, 1)]);
    }

    #[test]
    fn records_that_are_short_or_lie_about_their_length_do_no_harm() {
        let record = |depth: u32, lines: &[u32]| {
            let mut bytes: Vec<u8> = 7_u64.to_ne_bytes().into();
            [33, 1234, depth, 0].iter().chain(lines).for_each(|word: &u32| bytes.extend(word.to_ne_bytes()));
            bytes
        };
        let sample = SampledLines::decode(&record(2, &[5, 6])).unwrap();
        assert_eq!(sample, SampledLines { stack: ContentKey::new(7, 33), pid: 1234, lines: vec![5, 6] });
        assert_eq!(SampledLines::decode(&record(u32::MAX, &[5])).unwrap().lines, [5]);
        assert_eq!(SampledLines::decode(&record(1, &[5, 6])).unwrap().lines, [5]);
        assert_eq!(SampledLines::decode(&record(9, &[])[..24]).unwrap().lines, [0; 0]);
        assert_eq!(SampledLines::decode(&record(0, &[])[..23]), None);
    }

    #[test]
    fn functions_are_bounded_and_what_does_not_fit_is_counted() {
        let mut lines = Lines::default();
        for number in 0..FUNCTIONS + 3 {
            lines.count(&[(function(&number.to_string(), FunctionKind::User), 0)], &[12]);
        }
        assert_eq!((lines.take().len(), lines.take_lost(), lines.take_lost()), (FUNCTIONS, 3, 0));
    }
}
