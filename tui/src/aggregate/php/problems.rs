//! Turns counts of exceptions, errors and compiled files into the snapshot's lists: one entry per place.

use std::{collections::HashMap, sync::Arc};

use crate::{
    collect::php::{FailureCount, FailureKind, FailureText, PhpSample},
    model::{CompiledFile, ExceptionCount, PhpError, Tier},
    words::{errors, names},
};

/// Whether any image shows it.
fn on(sample: &PhpSample, tier: Tier) -> bool {
    sample.targets.iter().any(|target| target.tiers.is_on(tier))
}

/// Exceptions by class and place; `None` when no image shows them.
pub(crate) fn exceptions(sample: &PhpSample) -> Option<Vec<ExceptionCount>> {
    if !on(sample, Tier::Exceptions) {
        return None;
    }
    let mut places: HashMap<(&str, &str, u32), ExceptionCount> = HashMap::new();
    for failure in sample.failures.iter().filter(|failure| failure.what.kind != FailureKind::Error) {
        let what = &failure.what;
        let place = places.entry((&what.class, &what.file, what.line)).or_insert_with(|| ExceptionCount {
            class: what.class.clone(),
            message: what.message.clone(),
            file: what.file.clone(),
            line: what.line,
            count: 0,
            count_error: 0,
            uncaught: Some(0),
            caught_at: "".into(),
            script: what.script.clone(),
        });
        if place.message.is_empty() {
            place.message.clone_from(&what.message);
        }
        match what.kind {
            FailureKind::Thrown => place.count += failure.count,
            FailureKind::Uncaught => place.uncaught = Some(place.uncaught.unwrap_or(0) + failure.count),
            FailureKind::Error => {}
        }
        if let Some(at) = &failure.caught_at {
            place.caught_at = names::place(&at.file, at.line).into();
        }
    }
    Some(most(places.into_values().collect(), |place| (place.count, &place.file, place.line)))
}

/// Errors by level and place; `None` when no image shows them.
pub(crate) fn errors(sample: &PhpSample) -> Option<Vec<PhpError>> {
    if !on(sample, Tier::Errors) {
        return None;
    }
    let mut places: HashMap<(&str, &str, u32), PhpError> = HashMap::new();
    for failure in sample.failures.iter().filter(|failure| failure.what.kind != FailureKind::Thrown) {
        let what = &failure.what;
        let level = level(what);
        let place = places.entry((level, &what.file, what.line)).or_insert_with(|| PhpError {
            level: level.into(),
            message: message(what),
            file: what.file.clone(),
            line: what.line,
            count: 0,
            count_error: 0,
            silenced: silenced(failure, sample).then_some(0),
            script: what.script.clone(),
        });
        place.count += failure.count;
        place.silenced = place.silenced.map(|silenced| silenced + failure.silenced);
    }
    Some(most(places.into_values().collect(), |place| (place.count, &place.file, place.line)))
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

/// What PHP itself writes of an uncaught exception.
fn message(what: &FailureText) -> Arc<str> {
    match what.kind {
        FailureKind::Uncaught if !parse_error(what) => {
            let separator = if what.message.is_empty() { "" } else { ": " };
            format!("Uncaught {}{separator}{}", what.class, what.message).into()
        }
        _ => what.message.clone(),
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
