//! Samples by function and line, between two ticks. Only some samples have lines (`tui-ebpf/src/lines.rs`).

use std::{collections::HashMap, sync::Arc};

use tusktop_shared::{ContentKey, StackLines};

use super::{Frame, Names};
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

    /// Counts the functions of a stack, leaf first.
    fn count(&mut self, frames: &[Frame], lines: &[u32]) {
        let mut counted: Vec<&Arc<FunctionKey>> = Vec::with_capacity(frames.len());
        for (depth, Frame { function, place, last_line }) in frames.iter().enumerate() {
            let has_lines = matches!(function.kind, FunctionKind::User | FunctionKind::Eval);
            let line = lines.get(*place).copied().unwrap_or(0);
            // With JIT a frame may have the place of an instruction that is not its own, or none.
            let is_in = line >= function.line.max(1) && (*last_line == 0 || line <= *last_line);
            if !has_lines || !is_in || counted.contains(&function) {
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

    /// A frame of a function from line 10 to 50.
    fn frame(name: &str, kind: FunctionKind, place: usize) -> Frame {
        let (line, last_line) = if kind == FunctionKind::Internal { (0, 0) } else { (10, 50) };
        let function = FunctionKey { name: name.into(), class: "".into(), file: "/a.php".into(), line, kind };
        Frame { function: Arc::new(function), place, last_line }
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
        let user = |name, place| frame(name, FunctionKind::User, place);
        let mut lines = Lines::default();
        let stack = [user("f", 0), user("f", 1), user("main", 2)];
        lines.count(&stack, &[12, 15, 40]);
        lines.count(&stack, &[12, 15, 41]);
        lines.count(&[user("main", 0)], &[41]);
        assert_eq!(of(&mut lines, "f"), [(12, 2, 2)]);
        assert_eq!(of(&mut lines, "main"), [(41, 2, 1), (40, 1, 0)]);
    }

    #[test]
    fn built_in_functions_have_no_line_and_their_caller_is_where_it_calls_them() {
        let mut lines = Lines::default();
        let stack = [frame("sort", FunctionKind::Internal, 0), frame("f", FunctionKind::User, 2)];
        lines.count(&stack, &[77, 0, 12]);
        assert!(of(&mut lines, "sort").is_empty());
        assert_eq!(of(&mut lines, "f"), [(12, 1, 0)]);
    }

    #[test]
    fn lines_that_cannot_be_right_are_left_out() {
        let mut lines = Lines::default();
        let f = |place| frame("f", FunctionKind::User, place);
        for sent in [&[0][..], &[9], &[51], &[u32::MAX], &[]] {
            lines.count(&[f(0)], sent);
        }
        lines.count(&[f(usize::MAX)], &[11]);
        assert!(lines.functions.is_empty());
        lines.count(&[f(0)], &[10]);
        lines.count(&[f(0)], &[50]);
        lines.count(&[Frame { last_line: 0, ..f(0) }], &[51]);
        assert_eq!(of(&mut lines, "f"), [(10, 1, 1), (50, 1, 1), (51, 1, 1)]);
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
            lines.count(&[frame(&number.to_string(), FunctionKind::User, 0)], &[12]);
        }
        assert_eq!((lines.take().len(), lines.take_lost(), lines.take_lost()), (FUNCTIONS, 3, 0));
    }
}
