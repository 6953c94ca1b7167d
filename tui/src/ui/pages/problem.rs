//! Everything about one exception, error or compiled file, as labels and values for the detail.

use crate::{
    analysis::opcache,
    model::{CompiledFile, ExceptionCount, PhpError, ProblemKey, ProblemKind, ProblemMessage, ProblemRoutes, Route},
    ui::frame::Screen,
    words::{names, units},
};

/// Everything about one problem, as labels and values.
pub(crate) fn facts(screen: &Screen, key: &ProblemKey) -> Vec<(&'static str, String)> {
    let php = screen.php;
    let gone = vec![("", "nothing of it in this window; w: a longer one, esc: back".to_owned())];
    let per_minute = |count: u64| {
        let rate = count as f64 * 60.0 / screen.covered.as_secs_f64().max(0.001);
        format!("{}   {}/min", units::count(count), units::count(rate.round() as u64))
    };
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    match key.kind {
        ProblemKind::Exception => {
            let of = |e: &&ExceptionCount| e.key() == *key;
            let Some(exception) = php.exceptions.iter().flatten().find(of) else { return gone };
            let uncaught = exception.uncaught;
            let caught = uncaught.map(|uncaught| exception.count.saturating_sub(uncaught));
            let count = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), units::count);
            let head = [("class", exception.class.to_string()), ("message", or_dash(&exception.message))];
            let others = others(&exception.messages, &exception.routes, exception.count);
            let facts = [
                ("created at", names::place(&key.file, key.line).into_owned()),
                ("thrown", per_minute(exception.count)),
                ("caught", count(caught)),
                ("uncaught", count(uncaught)),
                ("last catch", or_dash(&exception.caught_at)),
                ("script", or_dash(&exception.script)),
            ];
            let routes = routes(screen, &exception.routes, exception.count, &exception.script);
            head.into_iter().chain(others).chain(facts).chain(routes).collect()
        }
        ProblemKind::Error => {
            let of = |e: &&PhpError| e.key() == *key;
            let Some(error) = php.errors.iter().flatten().find(of) else { return gone };
            let head = [("level", error.level.to_string()), ("message", or_dash(&error.message))];
            let others = others(&error.messages, &error.routes, error.count);
            let facts = [
                ("raised at", names::place(&key.file, key.line).into_owned()),
                ("raised", per_minute(error.count)),
                ("silenced", error.silenced.map_or_else(|| "-".to_owned(), units::count)),
                ("", "by @ or by error_reporting".to_owned()),
                ("script", or_dash(&error.script)),
            ];
            let routes = routes(screen, &error.routes, error.count, &error.script);
            head.into_iter().chain(others).chain(facts).chain(routes).collect()
        }
        ProblemKind::Compile => {
            let of = |file: &&CompiledFile| file.key() == *key;
            let Some(file) = php.compiles.iter().flatten().find(of) else { return gone };
            let meaning = opcache::meaning(php);
            vec![
                ("file", file.file.to_string()),
                ("compiled", per_minute(file.count)),
                ("by PHP", or_dash(&file.sapi)),
                ("all files", meaning.as_ref().map_or_else(|| "-".to_owned(), |meaning| meaning.text.clone())),
                ("see", meaning.map_or_else(|| "-".to_owned(), |meaning| or_dash(meaning.hint))),
            ]
        }
    }
}

/// What is known of other messages of the place.
fn others(messages: &[ProblemMessage], routes: &ProblemRoutes, count: u64) -> Vec<(&'static str, String)> {
    if messages.is_empty() {
        // Versions that did not look at messages again did not know routes either.
        let old = routes.list.is_none().then(|| ("", "of the first; others may differ".to_owned()));
        return old.into_iter().collect();
    }
    let counted = messages.iter().map(|message| message.count).sum::<u64>();
    let (of, error) = (messages.len(), count.saturating_sub(counted));
    let line = |message: &ProblemMessage| {
        let times = units::at_least(units::count(message.count), message.count, error);
        ("", format!("{times}   {}", message.text))
    };
    let heading = ("", format!("1 of several; the {of} most frequent:"));
    [heading].into_iter().chain(messages.iter().map(line)).collect()
}

/// The routes that a problem happened in, with how often. Where that is not known, those of its script, those with the most failed
/// requests first.
fn routes(screen: &Screen, known: &ProblemRoutes, count: u64, script: &str) -> Vec<(&'static str, String)> {
    let Some(list) = &known.list else { return routes_of_script(screen, script) };
    let all = &screen.php.routes;
    let rest = count.saturating_sub(list.iter().map(|route| route.count).sum());
    let mut lines: Vec<String> = Vec::with_capacity(list.len());
    for of in list {
        let Some(route) = all.get(of.route) else { continue };
        let mut line =
            format!("{}   {}", name(route, all), units::at_least(units::count(of.times()), of.times(), rest));
        let part = |count: u64, word: &str| match count {
            0 => String::new(),
            count => format!(", {} {word}", units::count(count)),
        };
        line += &part(of.uncaught, "uncaught");
        line += &part(of.silenced, "silenced");
        lines.push(line);
    }
    if rest > 0 {
        lines.push(format!("{} more, of which the request is not known", units::count(rest)));
    }
    let label = |at: usize| if at == 0 { "routes" } else { "" };
    lines.into_iter().enumerate().map(|(at, line)| (label(at), line)).collect()
}

/// A route with its method, and with its group where another one has the same.
fn name(route: &Route, all: &[Route]) -> String {
    let same = |other: &Route| {
        (&other.key.method, names::route(other)) == (&route.key.method, names::route(route))
            && other.key.group != route.key.group
    };
    let method = if route.key.method.is_empty() { "" } else { &format!("{} ", route.key.method) };
    let group = if all.iter().any(same) { &format!("   {}", route.key.group) } else { "" };
    format!("{method}{}{group}", names::route(route))
}

/// Routes of the script that a problem was first seen in, those with the most failed requests first.
fn routes_of_script(screen: &Screen, script: &str) -> Vec<(&'static str, String)> {
    let of_script = |route: &&Route| !script.is_empty() && *route.key.script == *script && route.requests > 0;
    let mut routes: Vec<&Route> = screen.php.routes.iter().filter(of_script).collect();
    routes.sort_by_key(|route| std::cmp::Reverse((route.errors, route.requests)));
    let line = |(index, route): (usize, &&Route)| {
        let failed =
            if route.errors > 0 { format!(", {} with 5xx", units::count(route.errors)) } else { String::new() };
        let name = format!("{} {}", route.key.method, names::route(route));
        let label = if index == 0 { "its routes" } else { "" };
        (label, format!("{name}   {} requests{failed}", units::count(route.requests)))
    };
    routes.iter().enumerate().take(10).map(line).collect()
}
