//! Problems: exceptions, errors and compiled files, the most severe and frequent first.

use std::cmp::Reverse;

use ratatui::{buffer::Buffer, layout::Rect};

use crate::{
    analysis::{opcache, profile::Scope},
    model::{CompiledFile, ExceptionCount, PhpError, ProblemKey, ProblemKind, Tier},
    ui::{filter::Filter, frame::Screen, list, paint, panes::empty},
    view::{Pane, Row, Scene, Sort},
    words::{
        errors::{self, Severity},
        names, units,
    },
};

/// How grave a problem is; it decides its place and its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    /// A request was ended by it.
    Fatal,
    /// It may be handled.
    Failure,
    /// Good to know.
    Note,
    /// A compiled file.
    Compile,
}

struct Problem<'a> {
    key: ProblemKey,
    grade: Grade,
    count: u64,
    count_error: u64,
    message: &'a str,
    note: String,
}

/// Draws the pane.
pub(crate) fn draw(buffer: &mut Buffer, rect: Rect, screen: &Screen, scene: &mut Scene) {
    let palette = screen.palette;
    let focused = screen.view.focus.0 == Pane::Problems;
    let pane = screen.view.pane(Pane::Problems);
    let order = match (pane.sort, pane.inverted) {
        (_, true) => "inverted",
        (Some(Sort::Rate), _) => "by frequency",
        (Some(Sort::Name), _) => "by name",
        _ => "",
    };
    let (summary, filter) = (summary(screen), list::filter_title(Pane::Problems, screen));
    let of_script = script(screen).map_or_else(String::new, |script| format!("first seen in {script}"));
    let style = if focused { palette.focus } else { palette.title };
    let parts = [
        ("problems", style),
        (&*filter, palette.warn),
        (&screen.window_name(), palette.muted),
        (&*of_script, palette.text),
        (order, palette.muted),
        (&*summary, palette.text),
    ];
    let mut area = paint::pane(buffer, rect, &parts, focused, palette);
    if let Some(meaning) = opcache::meaning(screen.php).filter(|_| area.height >= 4) {
        area.height -= 1;
        let style = if meaning.hint.is_empty() { palette.muted } else { palette.warn };
        paint::put(buffer, (area.x + 2, area.bottom()), area.width.saturating_sub(2), &meaning.text, style);
    }
    let problems = problems(screen);
    if problems.is_empty() {
        list::empty(buffer, area, &why_empty(screen), screen);
        return;
    }
    let rows = problems.iter().map(|problem| Row::Problem(problem.key.clone())).collect();
    for (index, y, selected) in list::place(rows, Pane::Problems, area, screen, scene) {
        row(buffer, area, y, &problems[index], screen);
        if selected {
            list::mark(buffer, area, y, Pane::Problems, screen);
        }
    }
}

/// Times, class or level, message, place, and what else there is to say of it.
fn row(buffer: &mut Buffer, area: Rect, y: u16, problem: &Problem, screen: &Screen) {
    let palette = screen.palette;
    let style = match problem.grade {
        Grade::Fatal => palette.error,
        Grade::Failure => palette.warn,
        Grade::Note => palette.text,
        Grade::Compile => palette.muted,
    };
    let note = if area.width >= 70 { 13 } else { 0 };
    let name = (area.width / 5).clamp(8, 28);
    let rest = area.width.saturating_sub(7 + 1 + name + 1 + note);
    let compile = problem.key.kind == ProblemKind::Compile;
    let place = if compile {
        rest
    } else if rest >= 34 {
        rest * 9 / 20
    } else {
        0
    };
    let mut x = area.x;
    let count = units::at_least(units::count(problem.count), problem.count, problem.count_error);
    paint::put_right(buffer, (x, y), 7, &count, palette.text);
    x += 8;
    paint::put_tail(buffer, (x, y), name, name_of(problem, compile), style);
    x += name + 1;
    if !compile {
        let room = rest.saturating_sub(if place > 0 { place + 1 } else { 0 });
        paint::put(buffer, (x, y), room, problem.message, palette.title);
        x += room + u16::from(place > 0);
    }
    if place > 0 {
        paint::put_tail(buffer, (x, y), place, &names::place(&problem.key.file, problem.key.line), palette.muted);
    }
    if note > 0 {
        let style = if problem.grade == Grade::Fatal { palette.error } else { palette.muted };
        paint::put_right(buffer, (area.right() - note, y), note, &problem.note, style);
    }
}

/// Class without its namespace, or level: the detail has the whole.
fn name_of<'a>(problem: &'a Problem, compile: bool) -> &'a str {
    if compile { "compiled" } else { problem.key.name.rsplit('\\').next().unwrap_or_default() }
}

fn problems<'a>(screen: &Screen<'a>) -> Vec<Problem<'a>> {
    let php = screen.php;
    let pane = screen.view.pane(Pane::Problems);
    let filter = Filter::new(&pane.filter);
    let per_minute = 60.0 / screen.covered.as_secs_f64().max(0.001);
    // A problem knows the script of the first request that it happened in, and so does a route.
    let script = script(screen);
    let of_route = |of: &str| script.is_none_or(|script| of == script);
    let exceptions = php.exceptions.iter().flatten().filter(|problem| of_route(&problem.script)).map(of_exception);
    // What was not caught is there as an exception; the error that PHP makes of it would be the same row again.
    let errors =
        php.errors.iter().flatten().filter(|error| !is_uncaught(error) && of_route(&error.script)).map(of_error);
    let compiles = php.compiles.iter().flatten().filter(|_| script.is_none()).map(|file| of_compile(file, per_minute));
    let mut problems: Vec<Problem> = exceptions
        .chain(errors)
        .chain(compiles)
        .filter(|p| {
            filter.has(&[
                &p.key.name,
                p.message,
                &names::place(&p.key.file, p.key.line),
                &p.note,
                name_of(p, p.grade == Grade::Compile),
            ])
        })
        .collect();
    match pane.sort {
        Some(Sort::Rate) => problems.sort_by_key(|problem| Reverse(problem.count)),
        Some(Sort::Name) => {
            problems
                .sort_by(|a, b| (&a.key.name, &a.key.file, a.key.line).cmp(&(&b.key.name, &b.key.file, b.key.line)));
        }
        _ => problems.sort_by_key(|problem| (problem.grade, Reverse(problem.count))),
    }
    if pane.inverted {
        problems.reverse();
    }
    problems
}

/// The script of the route that is entered, which its problems share.
fn script<'a>(screen: &'a Screen) -> Option<&'a str> {
    match &screen.scope {
        Scope::Route(key) if !key.script.is_empty() => Some(&key.script),
        _ => None,
    }
}

fn is_uncaught(error: &PhpError) -> bool {
    &*error.level == errors::FATAL && error.message.starts_with("Uncaught ")
}

fn of_exception(exception: &ExceptionCount) -> Problem<'_> {
    let uncaught = exception.uncaught.unwrap_or(0);
    Problem {
        key: exception.key(),
        grade: if uncaught > 0 { Grade::Fatal } else { Grade::Failure },
        // One that was thrown just before this time may end in it.
        count: exception.count.max(uncaught),
        count_error: exception.count_error,
        message: &exception.message,
        note: match exception.uncaught {
            None => String::new(),
            Some(0) => "caught".to_owned(),
            Some(uncaught) => format!("{} uncaught", units::count(uncaught)),
        },
    }
}

fn of_error(error: &PhpError) -> Problem<'_> {
    let silenced = error.silenced.unwrap_or(0);
    Problem {
        key: error.key(),
        grade: match errors::severity(&error.level) {
            Severity::Fatal => Grade::Fatal,
            Severity::Failure if silenced < error.count => Grade::Failure,
            Severity::Failure | Severity::Note => Grade::Note,
        },
        count: error.count,
        count_error: error.count_error,
        message: &error.message,
        note: match silenced {
            0 => String::new(),
            silenced if silenced == error.count => "silenced".to_owned(),
            silenced => format!("{} silenced", units::count(silenced)),
        },
    }
}

fn of_compile(file: &CompiledFile, per_minute: f64) -> Problem<'_> {
    Problem {
        key: file.key(),
        grade: Grade::Compile,
        count: file.count,
        count_error: file.count_error,
        message: "",
        note: format!("{}/min", units::count((file.count as f64 * per_minute).round() as u64)),
    }
}

/// The sums of the three lists in words.
fn summary(screen: &Screen) -> String {
    let php = screen.php;
    let mut parts = Vec::new();
    if let Some(exceptions) = &php.exceptions {
        let uncaught: u64 = exceptions.iter().filter_map(|exception| exception.uncaught).sum();
        let uncaught = if uncaught > 0 { format!(" ({} uncaught)", units::count(uncaught)) } else { String::new() };
        parts.push(plural(exceptions.iter().map(|e| e.count).sum(), "exception") + &uncaught);
    }
    if let Some(errors) = &php.errors {
        parts.push(plural(errors.iter().map(|error| error.count).sum(), "error"));
    }
    if let Some(compiles) = &php.compiles {
        parts.push(plural(compiles.iter().map(|file| file.count).sum(), "compile"));
    }
    parts.join(", ")
}

fn plural(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", units::count(count), if count == 1 { "" } else { "s" })
}

/// Why there is nothing to show, and what to type.
fn why_empty<'a>(screen: &'a Screen) -> Vec<&'a str> {
    let tiers = [Tier::Exceptions, Tier::Errors, Tier::Compiles];
    empty::why(screen, Pane::Problems, &tiers, "waiting for PHP …", || {
        vec!["no exceptions, errors or compiled files in this window", "press w for a longer one"]
    })
}
