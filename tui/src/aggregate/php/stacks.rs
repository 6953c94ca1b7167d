//! Sampled stacks become the lists of functions and stacks of a snapshot, with self and total samples.

use std::sync::Arc;

use crate::{
    collect::php::NamedStack,
    model::{Function, FunctionKey, HotLines, NumberMap, Numbers, Stack},
};

/// Collects the stacks of one interval.
#[derive(Debug, Default)]
pub(crate) struct Stacks {
    /// Functions seen so far.
    pub functions: Vec<Function>,
    /// Stacks seen so far, one for each route and list of frames.
    pub stacks: Vec<Stack>,
    numbers: Numbers<FunctionKey>,
    stack_index: NumberMap<(usize, Vec<usize>, bool), usize>,
    /// Number of the stack that a function was last counted in, so that recursion counts once.
    counted_in: Vec<usize>,
    calls: usize,
}

/// What was counted of a stack.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    /// Samples on the CPU.
    pub samples: u64,
    /// Time blocked.
    pub wait_ns: u64,
    /// Bytes by which the process grew; `None` where that is not collected.
    pub growth_bytes: Option<u64>,
}

impl Stacks {
    /// Adds what was counted of one stack, and says which one of the list it is.
    pub(crate) fn add(&mut self, route: usize, stack: &NamedStack, counted: Counted) -> usize {
        let Counted { samples, wait_ns, growth_bytes } = counted;
        let plus = |sum: Option<u64>| Some(sum.unwrap_or(0) + growth_bytes?);
        self.calls += 1;
        let mut frames = Vec::with_capacity(stack.frames.len());
        for (depth, key) in stack.frames.iter().enumerate() {
            let index = self.function(key);
            frames.push(index);
            let function = &mut self.functions[index];
            if depth == 0 {
                function.self_samples += samples;
                function.self_wait_ns = Some(function.self_wait_ns.unwrap_or(0) + wait_ns);
                function.self_growth_bytes = plus(function.self_growth_bytes);
            }
            if self.counted_in[index] != self.calls {
                self.counted_in[index] = self.calls;
                function.total_samples += samples;
                function.total_wait_ns = Some(function.total_wait_ns.unwrap_or(0) + wait_ns);
                function.total_growth_bytes = plus(function.total_growth_bytes);
            }
        }
        let key = (route, frames, stack.truncated);
        if let Some(&index) = self.stack_index.get(&key) {
            let known = &mut self.stacks[index];
            known.samples += samples;
            known.wait_ns = Some(known.wait_ns.unwrap_or(0) + wait_ns);
            known.growth_bytes = plus(known.growth_bytes);
            return index;
        }
        let (frames, wait_ns) = (key.1.clone(), Some(wait_ns));
        self.stacks.push(Stack { route, frames, samples, wait_ns, growth_bytes, truncated: stack.truncated });
        self.stack_index.insert(key, self.stacks.len() - 1);
        self.stacks.len() - 1
    }

    /// Adds at which lines a function was.
    pub(crate) fn add_lines(&mut self, key: &Arc<FunctionKey>, lines: &HotLines) {
        let index = self.function(key);
        // Two keys may have one name: keys differ by user.
        let known = &mut self.functions[index].hot_lines;
        known.merge(lines);
        known.list();
    }

    /// The index of a function.
    pub(crate) fn function(&mut self, key: &Arc<FunctionKey>) -> usize {
        if let Some(index) = self.numbers.find(key) {
            return index as usize;
        }
        let index = self.functions.len();
        self.functions.push(Function::seen(Arc::clone(key)));
        self.counted_in.push(0);
        self.numbers.insert(key, index as u32);
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FunctionKind;

    fn function(name: &str) -> Arc<FunctionKey> {
        Arc::new(FunctionKey {
            name: name.into(),
            class: "".into(),
            file: "/a.php".into(),
            line: 1,
            kind: FunctionKind::User,
        })
    }

    fn stack(names: &[&str]) -> NamedStack {
        NamedStack { frames: names.iter().map(|name| function(name)).collect(), truncated: false }
    }

    #[test]
    fn recursion_counts_once_in_total_and_only_the_leaf_counts_in_self() {
        let mut stacks = Stacks::default();
        let counted = |samples, wait_ns| Counted { samples, wait_ns, growth_bytes: Some(samples) };
        stacks.add(0, &stack(&["f", "f", "main"]), counted(3, 50));
        stacks.add(0, &stack(&["main"]), counted(2, 7));
        let by_name = |name: &str| stacks.functions.iter().find(|f| &*f.key.name == name).unwrap();
        assert_eq!((by_name("f").self_samples, by_name("f").total_samples), (3, 3));
        assert_eq!((by_name("f").self_wait_ns, by_name("f").total_wait_ns), (Some(50), Some(50)));
        assert_eq!((by_name("f").self_growth_bytes, by_name("main").total_growth_bytes), (Some(3), Some(5)));
        assert_eq!((by_name("main").self_wait_ns, by_name("main").total_wait_ns), (Some(7), Some(57)));
        assert_eq!((by_name("main").self_samples, by_name("main").total_samples), (2, 5));
        let selfs: u64 = stacks.functions.iter().map(|f| f.self_samples).sum();
        assert_eq!(selfs, stacks.stacks.iter().map(|s| s.samples).sum::<u64>());
    }

    #[test]
    fn equal_stacks_of_one_route_merge_and_those_of_two_do_not() {
        let mut stacks = Stacks::default();
        for (route, samples) in [(0, 1), (0, 4), (1, 2)] {
            stacks.add(route, &stack(&["f", "main"]), Counted { samples, ..Counted::default() });
        }
        let samples: Vec<_> = stacks.stacks.iter().map(|s| (s.route, s.samples)).collect();
        assert_eq!(samples, [(0, 5), (1, 2)]);
        assert_eq!(stacks.functions.len(), 2);
        assert!(stacks.functions.iter().all(|function| function.total_growth_bytes.is_none()), "it was not collected");
    }
}
