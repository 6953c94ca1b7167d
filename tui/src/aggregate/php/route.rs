//! Which requests share a route: `/post/12?x=1` and `/post/7` are both `/post/:n`.
//! It folds paths and methods; what is counted by route is left to others.

use std::borrow::Cow;

use crate::model::METHODS;

/// Longest folded path; the rest is cut and marked.
const LONGEST: usize = 160;
/// A segment of hexadecimal digits of this length or more, with a decimal digit in it, is an id.
const SHORTEST_ID: usize = 8;

/// What a client makes up, because web servers pass on any word.
const OTHER_METHOD: &str = "other";

/// The method of a route; empty on the command line.
pub(crate) fn method(method: &str) -> &'static str {
    match METHODS.iter().find(|known| **known == method) {
        Some(known) => known,
        None if method.is_empty() => "",
        None => OTHER_METHOD,
    }
}

/// Folds a URI to its route: without host, query and fragment, with ids replaced by `:n`
/// (digits) and `:id` (hexadecimal).
pub(crate) fn fold(uri: &str) -> String {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    // A proxy may hand on the absolute form, "http://host/path".
    let path = match path.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => path,
    };
    let mut route = String::with_capacity(path.len());
    for (i, segment) in path.split('/').enumerate() {
        if i > 0 {
            route.push('/');
        }
        route.push_str(&folded(segment));
        if route.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|&end| route.is_char_boundary(end)).unwrap_or(0);
            route.truncate(end);
            route.push('…');
            break;
        }
    }
    route
}

fn folded(segment: &str) -> Cow<'_, str> {
    let digit = |byte: &u8| byte.is_ascii_digit();
    if !segment.bytes().any(|byte| digit(&byte)) {
        return segment.into();
    }
    if segment.bytes().all(|byte| digit(&byte)) {
        return ":n".into();
    }
    if segment.len() >= SHORTEST_ID && segment.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
        return ":id".into();
    }
    parts(segment).into()
}

/// Replaces the numbers of a segment that stand between separators: `page-39.html` is `page-:n.html`, `v2` stays.
fn parts(segment: &str) -> String {
    let mut folded = String::with_capacity(segment.len());
    for part in segment.split_inclusive(['-', '_', '.']) {
        let digits = part.trim_end_matches(['-', '_', '.']);
        // Behind a dot it is a file's ending, such as `.mp3`.
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && !folded.ends_with('.') {
            folded.push_str(":n");
            folded.push_str(&part[digits.len()..]);
        } else {
            folded.push_str(part);
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_fold_and_words_do_not() {
        for (uri, route) in [
            ("/post/12?x=1", "/post/:n"),
            ("/post/7/edit#top", "/post/:n/edit"),
            ("/order/3f2504e0-4f89-11d3-9a0c-0305e82c3301", "/order/:id"),
            ("/deadbeef", "/deadbeef"),
            ("/v2/users", "/v2/users"),
            ("/old/page-39.html", "/old/page-:n.html"),
            ("/2024-05-17-a-title_3", "/:n-:n-:n-a-title_:n"),
            ("/jquery-3.7.1.min.js", "/jquery-:n.7.1.min.js"),
            ("/", "/"),
            ("", ""),
            ("//a//", "//a//"),
            ("http://example.org/a/1", "/a/:n"),
            ("http://example.org", "/"),
            ("*", "*"),
        ] {
            assert_eq!(fold(uri), route);
        }
    }

    #[test]
    fn methods_that_clients_make_up_are_one() {
        assert_eq!(["GET", "PROPFIND", "", "get", "X_1"].map(method), ["GET", "PROPFIND", "", "other", "other"]);
        let made_up: std::collections::HashSet<_> = (0..24_000).map(|number| method(&format!("M{number}"))).collect();
        assert_eq!(made_up.len(), 1);
    }

    #[test]
    fn a_long_path_is_cut_and_marked() {
        let route = fold(&format!("/{}", "ä".repeat(500)));
        assert!(route.len() <= LONGEST + '…'.len_utf8() && route.ends_with('…'));
    }

    proptest::proptest! {
        #[test]
        fn folding_twice_changes_nothing(uri in "(/[a-z0-9:-]{0,12}){0,6}") {
            proptest::prop_assert_eq!(fold(&fold(&uri)), fold(&uri));
        }
    }
}
