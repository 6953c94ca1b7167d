//! Turns counts of exceptions, errors and compiled files into the snapshot's lists: one entry per place.

use std::{collections::HashMap, sync::Arc};

use super::routes::Routes;
use crate::{
    collect::php::{FailureCount, FailureKind, FailureText, PhpSample, RequestText},
    model::{CompiledFile, ExceptionCount, PhpError, ProblemMessage, ProblemRoute, ProblemRoutes, Tier},
    words::{errors, names},
};

/// Whether any image shows it.
fn on(sample: &PhpSample, tier: Tier) -> bool {
    sample.targets.iter().any(|target| target.tiers.is_on(tier))
}

/// Exceptions and errors of an interval, with the numbers of the routes that they happened in.
#[derive(Debug)]
pub(super) struct Failed<'a> {
    sample: &'a PhpSample,
    /// By place in the list of failures, and there by place in the list of requests.
    routes: Vec<Vec<usize>>,
}

impl<'a> Failed<'a> {
    /// Asks for the route of a process and its request, for each request that something happened in.
    pub(super) fn find(sample: &'a PhpSample, mut route: impl FnMut(u32, Option<&RequestText>) -> usize) -> Self {
        let mut of = |failure: &FailureCount| {
            failure.requests.iter().map(|failed| route(failed.pid, failed.request.as_deref())).collect()
        };
        Self { sample, routes: sample.failures.iter().map(&mut of).collect() }
    }

    /// Exceptions by class and place; `None` when no image shows them.
    pub(super) fn exceptions(&self, routes: &Routes) -> Option<Vec<ExceptionCount>> {
        if !on(self.sample, Tier::Exceptions) {
            return None;
        }
        let mut places: HashMap<(&str, &str, u32), ExceptionCount> = HashMap::new();
        for (failure, numbers) in self.of(FailureKind::Error) {
            let what = &failure.what;
            let place = places.entry((&what.class, &what.file, what.line)).or_insert_with(|| ExceptionCount {
                class: what.class.clone(),
                message: what.message.clone(),
                messages: Vec::new(),
                file: what.file.clone(),
                line: what.line,
                count: 0,
                count_error: 0,
                uncaught: Some(0),
                caught_at: "".into(),
                script: what.script.clone(),
                routes: ProblemRoutes::none(),
            });
            if place.message.is_empty() {
                place.message.clone_from(&what.message);
            }
            let thrown = what.kind == FailureKind::Thrown;
            if thrown {
                place.count += failure.count;
                add_messages(&mut place.messages, failure, |text| text.clone());
            } else {
                place.uncaught = Some(place.uncaught.unwrap_or(0) + failure.count);
            }
            for (failed, number) in failure.requests.iter().zip(numbers) {
                let (count, uncaught) = if thrown { (failed.count, 0) } else { (0, failed.count) };
                place.routes.add(ProblemRoute { route: routes.place(*number), count, uncaught, silenced: 0 });
            }
            if let Some(at) = &failure.caught_at {
                place.caught_at = names::place(&at.file, at.line).into();
            }
        }
        let mut list: Vec<_> = places.into_values().collect();
        list.iter_mut().for_each(|place| choose(&mut place.message, &mut place.messages, &mut place.routes));
        Some(most(list, |place| (place.count, &place.file, place.line)))
    }

    /// Errors by level and place; `None` when no image shows them.
    pub(super) fn errors(&self, routes: &Routes) -> Option<Vec<PhpError>> {
        if !on(self.sample, Tier::Errors) {
            return None;
        }
        let mut places: HashMap<(&str, &str, u32), PhpError> = HashMap::new();
        for (failure, numbers) in self.of(FailureKind::Thrown) {
            let what = &failure.what;
            let level = level(what);
            let place = places.entry((level, &what.file, what.line)).or_insert_with(|| PhpError {
                level: level.into(),
                message: message(what, &what.message),
                messages: Vec::new(),
                file: what.file.clone(),
                line: what.line,
                count: 0,
                count_error: 0,
                silenced: silenced(failure, self.sample).then_some(0),
                script: what.script.clone(),
                routes: ProblemRoutes::none(),
            });
            place.count += failure.count;
            place.silenced = place.silenced.map(|silenced| silenced + failure.silenced);
            add_messages(&mut place.messages, failure, |text| message(what, text));
            for (failed, number) in failure.requests.iter().zip(numbers) {
                let (count, silenced) = (failed.count, failed.silenced);
                place.routes.add(ProblemRoute { route: routes.place(*number), count, uncaught: 0, silenced });
            }
        }
        let mut list: Vec<_> = places.into_values().collect();
        list.iter_mut().for_each(|place| choose(&mut place.message, &mut place.messages, &mut place.routes));
        Some(most(list, |place| (place.count, &place.file, place.line)))
    }

    /// All failures but those of one kind, with the numbers of their routes.
    fn of(&self, other: FailureKind) -> impl Iterator<Item = (&FailureCount, &Vec<usize>)> {
        self.sample.failures.iter().zip(&self.routes).filter(move |(failure, _)| failure.what.kind != other)
    }
}

/// Adds the messages of a failure to those of its place.
fn add_messages(messages: &mut Vec<ProblemMessage>, failure: &FailureCount, said: impl Fn(&Arc<str>) -> Arc<str>) {
    for (text, count) in &failure.messages {
        let text = said(text);
        match messages.iter_mut().find(|known| known.text == text) {
            Some(known) => known.count += count,
            None => messages.push(ProblemMessage { text, count: *count }),
        }
    }
}

fn choose(message: &mut Arc<str>, messages: &mut Vec<ProblemMessage>, routes: &mut ProblemRoutes) {
    ProblemMessage::choose(message, messages);
    routes.choose();
}

/// Compiled files by path and server API; `None` when no image shows them.
pub(crate) fn compiles(sample: &PhpSample) -> Option<Vec<CompiledFile>> {
    if !on(sample, Tier::Compiles) {
        return None;
    }
    let nothing: Arc<str> = "".into();
    let mut files: HashMap<(&str, &str), CompiledFile> = HashMap::new();
    for compile in &sample.compiles {
        let sapi = sample.target(compile.what.image as usize).map_or(&nothing, |target| &target.sapi);
        let file = files.entry((&compile.what.file, sapi)).or_insert_with(|| CompiledFile {
            file: compile.what.file.clone(),
            sapi: sapi.clone(),
            count: 0,
            count_error: 0,
        });
        file.count += compile.count;
    }
    Some(most(files.into_values().collect(), |file| (file.count, &file.file, 0)))
}

/// The most frequent first, then by place. The kernel's maps bound how many there are.
fn most<T>(mut entries: Vec<T>, key: impl Fn(&T) -> (u64, &str, u32)) -> Vec<T> {
    entries.sort_by(|a, b| {
        let ((a_count, a_file, a_line), (b_count, b_file, b_line)) = (key(a), key(b));
        b_count.cmp(&a_count).then_with(|| (a_file, a_line).cmp(&(b_file, b_line)))
    });
    entries
}

/// Whether it is known of the image which errors were silenced.
fn silenced(failure: &FailureCount, sample: &PhpSample) -> bool {
    let target = sample.target(failure.what.image as usize);
    failure.what.level != 0 && target.is_some_and(|target| !target.zts || target.tiers[Tier::Errors].reason.is_empty())
}

/// A message, in the way in which PHP itself writes that of an uncaught exception.
fn message(what: &FailureText, text: &Arc<str>) -> Arc<str> {
    match what.kind {
        FailureKind::Uncaught if !parse_error(what) => {
            let separator = if text.is_empty() { "" } else { ": " };
            format!("Uncaught {}{separator}{text}", what.class).into()
        }
        _ => text.clone(),
    }
}

fn parse_error(what: &FailureText) -> bool {
    matches!(&*what.class, "ParseError" | "CompileError")
}

/// The level in words.
fn level(what: &FailureText) -> &'static str {
    match &*what.class {
        "ParseError" if what.kind == FailureKind::Uncaught => errors::PARSE,
        "CompileError" if what.kind == FailureKind::Uncaught => errors::COMPILE_FATAL,
        _ => errors::level(what.level),
    }
}
