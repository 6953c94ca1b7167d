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
