//! Everything about one exception, error or compiled file, as labels and values for the detail.

use crate::{
    analysis::opcache,
    model::{CompiledFile, ExceptionCount, PhpError, ProblemKey, ProblemKind, Route},
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
            vec![
                ("class", exception.class.to_string()),
                ("message", or_dash(&exception.message)),
                ("", "of the first; others may differ".to_owned()),
                ("created at", names::place(&key.file, key.line).into_owned()),
                ("thrown", per_minute(exception.count)),
                ("caught", count(caught)),
                ("uncaught", count(uncaught)),
                ("last catch", or_dash(&exception.caught_at)),
                ("script", or_dash(&exception.script)),
            ]
            .into_iter()
            .chain(routes(screen, &exception.script))
            .collect()
        }
        ProblemKind::Error => {
            let of = |e: &&PhpError| e.key() == *key;
            let Some(error) = php.errors.iter().flatten().find(of) else { return gone };
            vec![
                ("level", error.level.to_string()),
                ("message", or_dash(&error.message)),
                ("", "of the first; others may differ".to_owned()),
                ("raised at", names::place(&key.file, key.line).into_owned()),
                ("raised", per_minute(error.count)),
                ("silenced", error.silenced.map_or_else(|| "-".to_owned(), units::count)),
                ("", "by @ or by error_reporting".to_owned()),
                ("script", or_dash(&error.script)),
            ]
            .into_iter()
            .chain(routes(screen, &error.script))
            .collect()
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

/// Routes of the script that a problem was first seen in, those with the most failed requests first.
fn routes(screen: &Screen, script: &str) -> Vec<(&'static str, String)> {
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
