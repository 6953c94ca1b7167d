//! PHP's stacks for other tools: flame graphs and profilers. Here is what the formats share, which names a frame has and what a
//! stack weighs; each format has a file.

mod firefox;
mod folded;
mod pprof;
mod speedscope;
mod svg;

use std::borrow::Cow;

pub use self::{
    firefox::write as write_firefox, folded::write as write_folded, pprof::write as write_pprof,
    speedscope::write as write_speedscope, svg::write as write_svg,
};
use crate::{
    analysis::profile::Basis,
    model::{Function, FunctionKind, HotTime, Php, Route, Stack},
    words::names,
};

/// A stack with its times.
struct Timed<'a> {
    stack: &'a Stack,
    route: Option<&'a Route>,
    /// CPU time, in nanoseconds: the samples, each for the time until the next.
    cpu_ns: u64,
    /// Time blocked, in nanoseconds.
    wait_ns: u64,
}

impl Timed<'_> {
    fn group(&self) -> &str {
        self.route.map_or("", |route| &route.key.group)
    }

    /// Method and path, or the script.
    fn route(&self) -> Cow<'_, str> {
        match self.route {
            None => Cow::Borrowed(""),
            Some(route) if route.key.method.is_empty() => names::route(route).into(),
            Some(route) => format!("{} {}", route.key.method, names::route(route)).into(),
        }
    }

    /// Its functions, the outermost first, by their index.
    fn frames(&self) -> impl Iterator<Item = usize> + '_ {
        self.stack.frames.iter().rev().copied()
    }
}

/// The stacks in which time passed.
fn stacks(php: &Php) -> impl Iterator<Item = Timed<'_>> {
    let sample_ns = sample_ns(php);
    let timed = php.stacks.iter().map(move |stack| Timed {
        stack,
        route: php.routes.get(stack.route),
        cpu_ns: stack.samples.saturating_mul(sample_ns),
        wait_ns: stack.wait_ns.unwrap_or(0),
    });
    timed.filter(|timed| timed.cpu_ns > 0 || timed.wait_ns > 0)
}

/// Time from one sample to the next.
fn sample_ns(php: &Php) -> u64 {
    Basis::of(php, HotTime::Both).sample_ns
}

/// What a function is called, with its file where it says little without it.
fn name(function: &Function) -> Cow<'_, str> {
    let name = names::function(&function.key);
    if name.starts_with('{') && !function.key.file.is_empty() {
        return format!("{name} {}", names::place_of(&function.key)).into();
    }
    name
}

/// The file of a function; empty for those that are in none.
fn file(function: &Function) -> &str {
    match function.key.kind {
        FunctionKind::Internal => "",
        _ => &function.key.file,
    }
}

#[cfg(test)]
mod tests;
