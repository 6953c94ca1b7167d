//! Everything about one exception, error or compiled file, as labels and values for the detail.

use crate::{
    analysis::opcache,
    model::{CompiledFile, ExceptionCount, PhpError, ProblemKey, ProblemKind},
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
