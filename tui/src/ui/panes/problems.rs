//! Problems: exceptions, errors and compiled files, the most severe and frequent first.

use std::cmp::Reverse;

use ratatui::{buffer::Buffer, layout::Rect};

use crate::{
    analysis::{opcache, profile::Scope},
    model::{CompiledFile, ExceptionCount, PhpError, ProblemKey, ProblemKind, ProblemRoutes, Tier},
    ui::{
        filter::Filter,
        frame::Screen,
        list, paint,
        panes::{empty, hot},
    },
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

/// Behind a message of a place that has several.
const SEVERAL: &str = "  1 of several";
/// The same where there is little room.
const SEVERAL_IN_SHORT: &str = " +";
const ROOM_FOR_WORDS: u16 = 28;

struct Problem<'a> {
    key: ProblemKey,
    grade: Grade,
    count: u64,
    count_error: u64,
    message: &'a str,
    /// Its place has other messages, too.
    several: bool,
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
    let of_what = match (script(screen), &screen.scope) {
        (Some(script), _) => format!("first seen in {script}"),
        (None, Scope::All) => String::new(),
        (None, Scope::Group(_)) if !knows_routes(screen) => String::new(),
        (None, scope) => hot::scope_name(scope),
    };
    let style = if focused { palette.focus } else { palette.title };
    let parts = [
        ("problems", style),
        (&*filter, palette.warn),
        (&screen.window_name(), palette.muted),
        (&*of_what, palette.text),
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
        let several = match problem.several {
            false => "",
            true if room >= ROOM_FOR_WORDS => SEVERAL,
            true => SEVERAL_IN_SHORT,
        };
        let mark = several.len() as u16;
        paint::put(buffer, (x, y), room.saturating_sub(mark), problem.message, palette.title);
        paint::put_right(buffer, (x + room.saturating_sub(mark), y), mark.min(room), several, palette.muted);
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
    let exceptions = exceptions(screen).map(|(exception, times)| of_exception(exception, times));
    // What was not caught is there as an exception; the error that PHP makes of it would be the same row again.
    let errors = errors(screen).filter(|(error, _)| !is_uncaught(error)).map(|(error, times)| of_error(error, times));
    let of_route = matches!(screen.scope, Scope::Route(_));
    let compiles = php.compiles.iter().flatten().filter(|_| !of_route).map(|file| of_compile(file, per_minute));
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

/// How often a problem happened in the group or the route that is entered, or anywhere.
#[derive(Debug, Clone, Copy)]
struct Times {
    count: u64,
    /// It may have happened so many times more.
    count_error: u64,
    uncaught: Option<u64>,
    silenced: Option<u64>,
}

fn exceptions<'a>(screen: &Screen<'a>) -> impl Iterator<Item = (&'a ExceptionCount, Times)> {
    let php = screen.php;
    php.exceptions.iter().flatten().filter_map(|exception| {
        let (count, count_error) = (exception.count, exception.count_error);
        let all = Times { count, count_error, uncaught: exception.uncaught, silenced: None };
        Some((exception, narrowed(screen, all, &exception.routes, &exception.script)?))
    })
}

fn errors<'a>(screen: &Screen<'a>) -> impl Iterator<Item = (&'a PhpError, Times)> {
    let php = screen.php;
    php.errors.iter().flatten().filter_map(|error| {
        let all =
            Times { count: error.count, count_error: error.count_error, uncaught: None, silenced: error.silenced };
        Some((error, narrowed(screen, all, &error.routes, &error.script)?))
    })
}

/// What of a problem belongs to the group or the route that is entered; `None` when nothing does. Where its routes are not known, a
/// route has the problems that were first seen in its script.
fn narrowed(screen: &Screen, all: Times, routes: &ProblemRoutes, script: &str) -> Option<Times> {
    let known = match &screen.scope {
        Scope::All => return Some(all),
        _ if routes.list.is_some() => routes.iter(),
        Scope::Route(key) => return (key.script.is_empty() || *key.script == *script).then_some(all),
        Scope::Group(_) | Scope::Worker(_) | Scope::Request { .. } => return Some(all),
    };
    let (mut own, mut sum) = (Times { count: 0, uncaught: None, silenced: None, ..all }, 0);
    for route in known {
        sum += route.count;
        if screen.php.routes.get(route.route).is_some_and(|of| screen.scope.has(of)) {
            own.count += route.count;
            own.uncaught = all.uncaught.map(|_| own.uncaught.unwrap_or(0) + route.uncaught);
            own.silenced = all.silenced.map(|_| own.silenced.unwrap_or(0) + route.silenced);
        }
    }
    own.count_error += all.count.saturating_sub(sum);
    (own.count > 0 || own.uncaught.is_some_and(|uncaught| uncaught > 0)).then_some(own)
}

/// The script by which problems are told to belong to the route that is entered, because their routes are not known.
fn script<'a>(screen: &'a Screen) -> Option<&'a str> {
    let Scope::Route(key) = &screen.scope else { return None };
    (!key.script.is_empty() && !knows_routes(screen) && routes(screen).next().is_some()).then_some(&*key.script)
}

/// Whether the routes of any problem are known; they are not in recordings of older versions.
fn knows_routes(screen: &Screen) -> bool {
    routes(screen).any(|routes| routes.list.is_some())
}

fn routes<'a>(screen: &Screen<'a>) -> impl Iterator<Item = &'a ProblemRoutes> {
    let php = screen.php;
    let exceptions = php.exceptions.iter().flatten().map(|exception| &exception.routes);
    exceptions.chain(php.errors.iter().flatten().map(|error| &error.routes))
}

fn is_uncaught(error: &PhpError) -> bool {
    &*error.level == errors::FATAL && error.message.starts_with("Uncaught ")
}

fn of_exception(exception: &ExceptionCount, times: Times) -> Problem<'_> {
    let uncaught = times.uncaught.unwrap_or(0);
    Problem {
        key: exception.key(),
        grade: if uncaught > 0 { Grade::Fatal } else { Grade::Failure },
        // One that was thrown just before this time may end in it.
        count: times.count.max(uncaught),
        count_error: times.count_error,
        message: &exception.message,
        several: !exception.messages.is_empty(),
        note: match times.uncaught {
            None => String::new(),
            Some(0) => "caught".to_owned(),
            Some(uncaught) => format!("{} uncaught", units::count(uncaught)),
        },
    }
}

fn of_error(error: &PhpError, times: Times) -> Problem<'_> {
    let silenced = times.silenced.unwrap_or(0);
    Problem {
        key: error.key(),
        grade: match errors::severity(&error.level) {
            Severity::Fatal => Grade::Fatal,
            Severity::Failure if silenced < times.count => Grade::Failure,
            Severity::Failure | Severity::Note => Grade::Note,
        },
        count: times.count,
        count_error: times.count_error,
        message: &error.message,
        several: !error.messages.is_empty(),
        note: match silenced {
            0 => String::new(),
            silenced if silenced == times.count => "silenced".to_owned(),
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
        several: false,
        note: format!("{}/min", units::count((file.count as f64 * per_minute).round() as u64)),
    }
}

/// The sums of the three lists in words.
fn summary(screen: &Screen) -> String {
    let php = screen.php;
    let mut parts = Vec::new();
    if php.exceptions.is_some() {
        let (count, uncaught) = exceptions(screen).fold((0, 0), |(count, uncaught), (_, times)| {
            (count + times.count, uncaught + times.uncaught.unwrap_or(0))
        });
        let uncaught = if uncaught > 0 { format!(" ({} uncaught)", units::count(uncaught)) } else { String::new() };
        parts.push(plural(count, "exception") + &uncaught);
    }
    if php.errors.is_some() {
        parts.push(plural(errors(screen).map(|(_, times)| times.count).sum(), "error"));
    }
    if let Some(compiles) = php.compiles.as_ref().filter(|_| !matches!(screen.scope, Scope::Route(_))) {
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
