//! Screens of exceptions, errors and compiled files.

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
