//! Turns traced calls into exact numbers of the snapshot's functions, or into the list of lines.

use super::stacks::Stacks;
use crate::{
    collect::php::{CallSums, PhpSample},
    model::{ExactKind, FunctionKind, LineCalls},
};

/// Lines in one snapshot: those with the most time. One more stands for all others.
const LINES: usize = 1_000;

/// Adds the calls of functions to `stacks`; calls by line are returned, when those are traced.
pub(crate) fn add(sample: &PhpSample, stacks: &mut Stacks) -> Option<Vec<LineCalls>> {
    let exact = sample.exact.as_ref()?;
    if exact.kind == ExactKind::Functions {
        for (key, sums) in &sample.calls {
            let index = stacks.function(key);
            let function = &mut stacks.functions[index];
            // Two keys may have one name: keys differ by user.
            function.calls = Some(function.calls.unwrap_or(0) + sums.calls);
            function.self_ns = Some(function.self_ns.unwrap_or(0) + sums.self_ns);
            function.total_ns = Some(function.total_ns.unwrap_or(0) + sums.total_ns);
            add_durations(function.durations_log2.get_or_insert_default(), sums);
        }
        return None;
    }
    let mut lines: Vec<LineCalls> = sample
        .calls
        .iter()
        .map(|(key, sums)| LineCalls {
            name: key.name.clone(),
            class: key.class.clone(),
            file: key.file.clone(),
            line: key.line,
            included: key.kind != FunctionKind::Internal,
            calls: sums.calls,
            self_ns: sums.self_ns,
            total_ns: sums.total_ns,
        })
        .collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.self_ns));
    if lines.len() > LINES {
        let mut rest = lines[LINES].as_rest();
        lines[LINES + 1..].iter().for_each(|line| rest.merge(line));
        lines.truncate(LINES);
        lines.push(rest);
    }
    Some(lines)
}

fn add_durations(durations: &mut Vec<u64>, sums: &CallSums) {
    let used = sums.durations.iter().rposition(|&calls| calls > 0).map_or(0, |last| last + 1);
    if durations.len() < used {
        durations.resize(used, 0);
    }
    for (sum, calls) in durations.iter_mut().zip(sums.durations) {
        *sum += calls;
    }
}
