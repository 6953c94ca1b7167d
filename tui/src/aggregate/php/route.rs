//! Which requests share a route: `/post/12?x=1` and `/post/7` are both `/post/:n`.
//! It folds paths; what is counted by route is left to others.

/// Longest folded path; the rest is cut and marked.
const LONGEST: usize = 160;
/// A segment of hexadecimal digits of this length or more, with a decimal digit in it, is an id.
const SHORTEST_ID: usize = 8;

/// Folds a URI to its route: without host, query and fragment, with ids replaced by `:n` (digits) and `:id` (hexadecimal).
pub fn fold(uri: &str) -> String {
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
        route.push_str(folded(segment));
        if route.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|&end| route.is_char_boundary(end)).unwrap_or(0);
            route.truncate(end);
            route.push('…');
            break;
        }
    }
    route
}

fn folded(segment: &str) -> &str {
    if segment.is_empty() {
        segment
    } else if segment.bytes().all(|byte| byte.is_ascii_digit()) {
        ":n"
    } else if segment.len() >= SHORTEST_ID
        && segment.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
        && segment.bytes().any(|byte| byte.is_ascii_digit())
    {
        ":id"
    } else {
        segment
    }
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
