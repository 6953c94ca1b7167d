//! Screens of exceptions, errors and compiled files.

use tusktop::model::{ProblemMessage, ProblemRoute, ProblemRoutes, Route, Snapshot};

use crate::{snapshot::web01, stage::Stage};

#[test]
fn problems_120x30() {
    insta::assert_snapshot!(Stage::showing(web01(), 120, 30).keys("5").text());
}

#[test]
fn problems_80x24() {
    insta::assert_snapshot!(Stage::showing(web01(), 80, 24).keys("5").text());
}

#[test]
fn problems_60x16() {
    insta::assert_snapshot!(Stage::showing(web01(), 60, 16).keys("5").text());
}

#[test]
fn enter_on_an_exception_shows_all_that_is_known_of_it() {
    insta::assert_snapshot!(Stage::showing(web01(), 120, 30).keys("5<enter>").text());
}

#[test]
fn problems_are_filtered_and_a_compiled_file_is_entered() {
    let stage = Stage::showing(web01(), 120, 30).keys("5/compiled<enter>");
    assert!(stage.text().contains("filter: compiled") && !stage.text().contains("Undefined array key"));
    let stage = stage.keys("<enter>");
    assert!(stage.line_with("by PHP").contains("fpm"));
    assert!(stage.line_with("all files").contains("again and again"));
}

#[test]
fn problems_150x40() {
    insta::assert_snapshot!(Stage::showing(web01(), 150, 40).keys("5").text());
}

#[test]
fn counts_that_may_be_higher_are_marked_where_that_matters() {
    let mut snapshot = web01();
    let php = std::sync::Arc::make_mut(&mut snapshot.php);
    let exception = &mut php.exceptions.as_mut().unwrap()[0];
    (exception.message, exception.count, exception.count_error) = ("often".into(), 50, 7);
    let error = &mut php.errors.as_mut().unwrap()[0];
    (error.message, error.count, error.count_error) = ("exact enough".into(), 40_000, 7);
    let search = php.routes.iter_mut().find(|route| &*route.key.route == "/search").unwrap();
    search.count_error = search.requests;
    let stage = Stage::showing(snapshot, 150, 40);
    assert!(stage.line_with("/search ").contains('≥'));
    let stage = stage.keys("5");
    assert!(stage.line_with("often").contains("≥50") && !stage.line_with("exact enough").contains('≥'));
}

#[test]
fn the_row_of_routes_that_are_not_listed_is_no_command_line() {
    let mut snapshot = web01();
    let php = std::sync::Arc::make_mut(&mut snapshot.php);
    let search = php.routes.iter_mut().find(|route| &*route.key.route == "/search").unwrap();
    let mut key = (*search.key).clone();
    (key.route, key.script, key.method) = ("(other)".into(), "".into(), "".into());
    search.key = key.into();
    let line = Stage::showing(snapshot, 150, 40).line_with("(other)");
    assert!(!line.contains("cli"), "{line}");
}

/// A problem in two routes of one script, and a third one that another pool has, too; 60 of 61 warnings are known by route.
fn with_routes() -> Snapshot {
    let mut snapshot = web01();
    let php = std::sync::Arc::make_mut(&mut snapshot.php);
    let of = |list: &[(usize, u64, u64)]| ProblemRoutes {
        list: Some(
            list.iter().map(|&(route, count, uncaught)| ProblemRoute { route, count, uncaught, silenced: 0 }).collect(),
        ),
    };
    let mut key = (*php.routes[0].key).clone();
    key.group = "php-fpm: shop".into();
    php.routes.push(Route::seen(key.into()));
    let exceptions = php.exceptions.as_mut().unwrap();
    exceptions[0].routes = of(&[(0, 6, 0), (5, 2, 0), (12, 1, 0)]);
    exceptions[0].messages = [(7, "product 1882 not found"), (2, "product 7 not found")]
        .map(|(count, text)| ProblemMessage { text: text.into(), count })
        .into();
    exceptions[1].routes = of(&[(5, 2, 1)]);
    for error in php.errors.as_mut().unwrap() {
        error.routes = of(&[(0, error.count - 1, 0)]);
    }
    snapshot
}

#[test]
fn a_route_that_is_entered_has_its_own_problems_with_their_counts() {
    let row = |stage: &Stage, text: &str| stage.text().lines().find(|line| line.contains(text)).map(str::to_owned);
    let all = Stage::showing(with_routes(), 150, 40).keys("5");
    assert!(row(&all, "pository.php:88").unwrap().contains(" 9 "));
    let product = Stage::showing(with_routes(), 150, 40).keys("3//product<enter><enter>5");
    insta::assert_snapshot!(product.text());
    assert!(row(&product, "pository.php:88").unwrap().contains(" 6 ") && row(&product, "Factory.php:210").is_none());
    let search = Stage::showing(with_routes(), 150, 40).keys("3//search<enter><enter>5");
    let text = search.text();
    assert!(row(&search, "Factory.php:210").unwrap().contains("1 uncaught"), "{text}");
    assert!(row(&search, "Undefined array key").is_none() && row(&search, "wp-cron.php").is_none(), "{text}");
}

#[test]
fn the_page_of_a_problem_lists_its_routes_and_its_messages() {
    let stage = Stage::showing(with_routes(), 150, 110).keys("5/NotFound<enter><enter>");
    assert!(stage.line_with("message ").contains("product 1882 not found"));
    assert!(stage.line_with("1 of several").contains("the 2 most frequent"));
    assert!(stage.line_with("product 7 not found").contains(" 2 "));
    assert!(stage.line_with("/product/:n   php-fpm: www   6").contains("routes "));
    assert!(stage.line_with("GET /product/:n   php-fpm: shop").contains(" 1 "));
    assert!(stage.text().contains("GET /search   2"));
    let stage = Stage::showing(with_routes(), 150, 110).keys("5/ConnectEx<enter><enter>");
    assert!(stage.text().contains("GET /search   2, 1 uncaught") && !stage.text().contains("others may differ"));
    let stage = Stage::showing(with_routes(), 150, 110).keys("5/dynamic property<enter><enter>");
    assert!(stage.text().contains("GET /product/:n   php-fpm: www   ≥29"));
    assert!(stage.line_with("of which the request is not known").contains("1 more"));
}

#[test]
fn a_row_says_that_its_message_is_one_of_several() {
    let stage = Stage::showing(with_routes(), 200, 50).keys("5");
    assert!(stage.line_with("pository.php:88").contains("1 of several"));
    assert!(!stage.line_with("Factory.php:210").contains("1 of several"));
    let stage = Stage::showing(with_routes(), 120, 30).keys("5");
    assert!(stage.line_with("pository.php:88").contains(" + "), "{}", stage.text());
}
