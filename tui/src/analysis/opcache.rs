//! Why PHP compiles files, judged only from how often each file was compiled and how many requests there were in the same
//! time.

use std::collections::HashMap;

use crate::{
    model::{CompiledFile, Php},
    words::units,
};

/// What compiled files say about opcache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    /// What is seen, and what it means.
    pub text: String,
    /// What to look at; empty where nothing is wrong.
    pub hint: &'static str,
}

/// Requests from which on a share of them is believed.
const ENOUGH: u64 = 5;
/// Share of the requests that compile, from which on it is all of them: some run over the ends of the time looked at.
const NEARLY_ALL: f64 = 0.9;
/// Compiles of one file that are not explained by workers that compile it at the same moment after a restart.
const AGAIN: u64 = 10;
/// New files that are many at once.
const MANY: usize = 10;

const OFF: &str = "opcache_get_status() says whether it runs: opcache.enable, zend_extension=opcache; or these files are \
                   younger than opcache.file_update_protection, or on its blacklist";
const CHURN: &str = "opcache_get_status() tells which: cache_full, oom_restarts, hash_restarts; \
                     opcache.validate_timestamps, opcache.file_update_protection and opcache.blacklist_filename";

/// Server API of PHP on the command line.
const CLI: &str = "cli";

/// What the compiled files of a time mean; `None` when there are none, or when they are not collected.
pub fn meaning(php: &Php) -> Option<Meaning> {
    let files = php.compiles.as_ref().filter(|files| !files.is_empty())?;
    if let Some(share) = share_of_requests(php, files).filter(|share| *share >= NEARLY_ALL) {
        let text = format!(
            "{} in 10 requests recompile their script: opcache is missing, disabled or not caching these files",
            (share * 10.0).round().min(10.0)
        );
        return Some(Meaning { text, hint: OFF });
    }
    let served: Vec<&CompiledFile> = files.iter().filter(|file| &*file.sapi != CLI).collect();
    if served.is_empty() {
        let text = "only PHP on the command line compiled files: opcache is off there unless opcache.enable_cli=1";
        return Some(Meaning { text: text.to_owned(), hint: "" });
    }
    let again = served.iter().filter(|file| file.count >= AGAIN).count();
    if let Some(most) = served.iter().max_by_key(|file| file.count).filter(|file| file.count >= AGAIN) {
        let text = format!(
            "{} compiled again and again ({}{} times): opcache is full, they keep changing, or opcache rejects them",
            plural(again, "file is", "files are"),
            if again == 1 { "" } else { "one of them " },
            units::count(most.count),
        );
        return Some(Meaning { text, hint: CHURN });
    }
    let text = if served.len() >= MANY {
        format!("{} files were compiled a few times each: after a deploy or a restart, or on first use", served.len())
    } else {
        format!(
            "{} compiled a few times each: new, changed or on first use",
            plural(served.len(), "file was", "files were")
        )
    };
    Some(Meaning { text, hint: "" })
}

/// Share of the requests whose own script was compiled; `None` when there were too few to say. A server names a script by
/// the path it was asked for and PHP a compiled file by the path behind all links, so the ends of the paths are compared.
fn share_of_requests(php: &Php, files: &[CompiledFile]) -> Option<f64> {
    let mut requests: HashMap<&str, u64> = HashMap::new();
    for route in php.routes.iter().filter(|route| !route.key.method.is_empty()) {
        let sum = requests.entry(end(&route.key.script)).or_default();
        *sum = sum.saturating_add(route.requests);
    }
    let mut compiles: HashMap<&str, u64> = HashMap::new();
    for file in files {
        let sum = compiles.entry(end(&file.file)).or_default();
        *sum = sum.saturating_add(file.count);
    }
    let all = requests.values().copied().fold(0, u64::saturating_add);
    let of_script = |(script, requests): (&&str, &u64)| (*requests).min(compiles.get(script).copied().unwrap_or(0));
    let compiled = requests.iter().map(of_script).fold(0, u64::saturating_add);
    (all >= ENOUGH).then(|| compiled as f64 / all as f64)
}

/// The last folder and the name of a file.
fn end(path: &str) -> &str {
    path.rmatch_indices('/').nth(1).map_or(path, |(at, _)| &path[at..])
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Route, RouteKey};

    fn php(requests: u64, files: &[(&str, &str, u64)]) -> Php {
        let key =
            RouteKey { route: "/".into(), script: "/srv/index.php".into(), method: "GET".into(), group: "www".into() };
        let route = Route { requests, ..Route::seen(key.into()) };
        let file = |&(file, sapi, count): &(&str, &str, u64)| CompiledFile {
            file: file.into(),
            sapi: sapi.into(),
            count,
            count_error: 0,
        };
        Php { routes: vec![route], compiles: Some(files.iter().map(file).collect()), ..Php::default() }
    }

    fn text(php: &Php) -> String {
        meaning(php).map(|meaning| meaning.text).unwrap_or_default()
    }

    #[test]
    fn a_script_that_each_request_compiles_means_no_opcache() {
        let text = text(&php(20, &[("/srv/index.php", "fpm", 20), ("/srv/lib.php", "fpm", 20)]));
        assert!(text.starts_with("10 in 10 requests") && text.contains("opcache is missing"), "{text}");
        assert!(super::meaning(&php(20, &[("/srv/index.php", "fpm", 20)])).unwrap().hint.contains("opcache.enable"));
    }

    #[test]
    fn a_script_is_known_through_a_link_to_its_release_and_php_s_is_a_server() {
        let linked = text(&php(20, &[("/releases/7/srv/index.php", "fpm", 20)]));
        assert!(linked.contains("opcache is missing"), "{linked}");
        let other = text(&php(20, &[("/srv/cache/index.php", "fpm", 20)]));
        assert!(other.contains("again and again"), "{other}");
        assert!(text(&php(50, &[("/srv/index.php", "cli", 50)])).contains("opcache is missing"));
    }

    #[test]
    fn too_few_requests_say_nothing_about_all_of_them() {
        assert!(text(&php(3, &[("/srv/index.php", "fpm", 3)])).contains("few times each"));
    }

    #[test]
    fn one_file_again_and_again_is_told_from_many_files_once() {
        let again = text(&php(500, &[("/srv/cache/a.php", "fpm", 40), ("/srv/b.php", "fpm", 1)]));
        assert!(again.starts_with("1 file is compiled again and again (40 times)"), "{again}");
        let many: Vec<_> = (0..30).map(|_| ("/srv/x.php", "fpm", 1)).collect();
        assert!(text(&php(500, &many)).contains("deploy"));
    }

    #[test]
    fn the_command_line_is_expected_to_compile() {
        assert!(text(&php(50, &[("/srv/cron.php", "cli", 50)])).contains("command line"));
        assert_eq!(meaning(&php(50, &[])), None);
        assert_eq!(meaning(&Php::default()), None);
    }
}
