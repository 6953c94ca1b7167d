//! Which requests share a route: `/post/12?x=1` and `/post/7` are both `/post/:n`. Rules of the user come first; behind a front
//! controller (`index.php`) it is the path or a parameter of the query that says what it does.
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

/// Parameters of the query that say what a script does, unless the configuration says otherwise: of OpenCart, Yii, WordPress, WooCommerce,
/// Joomla, MediaWiki and others.
pub const PARAMETERS: [&str; 14] = [
    "route",
    "r",
    "rest_route",
    "page_id",
    "p",
    "cat",
    "wc-ajax",
    "action",
    "page",
    "option",
    "controller",
    "do",
    "mod",
    "title",
];

/// Longest value of a parameter that is part of a route.
const LONGEST_VALUE: usize = 40;

/// Folders of which WordPress makes a route of any name. In other applications they have pages of their own.
const OF_WORDPRESS: [&str; 5] = ["category", "tag", "author", "product", "product-category"];

/// What makes requests one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRules {
    /// Paths with `{name}` for any one part, and `{name*}` for all that follow.
    templates: Vec<(String, Vec<Part>)>,
    /// Names of parameters, in lower case.
    parameters: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Any,
    Rest,
}

impl Default for RouteRules {
    fn default() -> Self {
        Self::new(std::iter::empty(), PARAMETERS)
    }
}

impl RouteRules {
    /// From paths such as `/user/{name}`, and names of parameters.
    pub fn new<'a>(
        templates: impl IntoIterator<Item = &'a str>,
        parameters: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let part = |part: &str| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) if name.ends_with('*') => Part::Rest,
            Some(_) => Part::Any,
            None => Part::Text(part.to_owned()),
        };
        let template = |template: &str| (template.to_owned(), parts_of(template).map(part).collect());
        Self {
            templates: templates.into_iter().map(template).collect(),
            parameters: parameters.into_iter().map(str::to_ascii_lowercase).collect(),
        }
    }

    /// The route of a URI. `wordpress` is whether WordPress serves it.
    pub(crate) fn route(&self, uri: &str, wordpress: bool) -> String {
        let path = path(uri);
        let path = behind_controller(path);
        if let Some((template, _)) = self.templates.iter().find(|(_, parts)| fits(parts, path)) {
            return template.clone();
        }
        let mut route = match of_wordpress(path).filter(|_| wordpress) {
            Some(route) => route,
            None => fold(path),
        };
        let query = uri.split_once('?').map_or("", |(_, query)| query.split('#').next().unwrap_or_default());
        let is_script = path == "/" || path.ends_with(".php");
        if is_script && let Some((name, value)) = self.parameter(query) {
            route.push('?');
            route.push_str(name);
            route.push('=');
            route.push_str(&value);
        }
        route
    }

    /// The first of the parameters that the query has.
    fn parameter(&self, query: &str) -> Option<(&str, String)> {
        let pairs = || query.split('&').filter_map(|pair| pair.split_once('='));
        let name = self.parameters.iter().find(|name| pairs().any(|(key, _)| key.eq_ignore_ascii_case(name)))?;
        let (_, value) = pairs().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        let value = value.replace("%2F", "/").replace("%2f", "/");
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-.:".contains(&byte);
        match value.len() <= LONGEST_VALUE && value.bytes().all(is_word) {
            true => Some((name, fold(&value))),
            false => Some((name, "…".to_owned())),
        }
    }
}

/// The path of a URI: without host, query and fragment.
fn path(uri: &str) -> &str {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    // A proxy may hand on the absolute form, "http://host/path".
    match path.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => path,
    }
}

/// The path that `index.php` at the root gets: `/index.php/blog/5` is `/blog/5`.
fn behind_controller(path: &str) -> &str {
    match path.strip_prefix("/index.php") {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

/// The parts of a path; a slash at its end means nothing.
fn parts_of(path: &str) -> impl Iterator<Item = &str> {
    path.trim_matches('/').split('/')
}

fn fits(template: &[Part], path: &str) -> bool {
    let mut parts = parts_of(path);
    for part in template {
        match (part, parts.next()) {
            (Part::Rest, Some(_)) => return true,
            (Part::Any, Some(part)) if !part.is_empty() => {}
            (Part::Text(text), Some(part)) if text == part => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}

/// Permalinks of WordPress: by date, and by the name of a category, a tag, an author or a product.
fn of_wordpress(path: &str) -> Option<String> {
    let parts: Vec<&str> = parts_of(path).collect();
    let digits = |part: &str, length: usize| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
    match parts[..] {
        [year, month, day, name] if digits(year, 4) && digits(month, 2) && digits(day, 2) && !name.is_empty() => {
            Some("/{year}/{month}/{day}/{name}".to_owned())
        }
        [year, month, name] if digits(year, 4) && digits(month, 2) && !name.bytes().all(|b| b.is_ascii_digit()) => {
            Some("/{year}/{month}/{name}".to_owned())
        }
        [folder, name] if OF_WORDPRESS.contains(&folder) && !name.is_empty() => Some(format!("/{folder}/{{name}}")),
        _ => None,
    }
}

/// Folds a URI to its route: without host, query and fragment, with ids replaced by `:n`
/// (digits) and `:id` (hexadecimal).
pub(crate) fn fold(uri: &str) -> String {
    let path = path(uri);
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
    fn rules_of_the_user_come_first() {
        let rules = RouteRules::new(["/user/{name}", "/files/{path*}", "/{lang}/about"], PARAMETERS);
        for (uri, route) in [
            ("/user/anna?x=1", "/user/{name}"),
            ("/user/anna/", "/user/{name}"),
            ("/user/anna/edit", "/user/anna/edit"),
            ("/user/", "/user/"),
            ("/index.php/user/bob", "/user/{name}"),
            ("/files/a/b/c.txt", "/files/{path*}"),
            ("/de/about", "/{lang}/about"),
            ("/post/12", "/post/:n"),
        ] {
            assert_eq!(rules.route(uri, false), route, "{uri}");
        }
    }

    #[test]
    fn a_front_controller_is_told_apart_by_its_path_or_its_parameter() {
        let rules = RouteRules::default();
        for (uri, route) in [
            ("/index.php", "/"),
            ("/index.php/blog/5", "/blog/:n"),
            ("/index.php?route=product/product&product_id=4", "/?route=product/product"),
            ("/?page_id=42", "/?page_id=:n"),
            ("/?utm=x", "/"),
            ("/?route=a%2Fb", "/?route=a/b"),
            ("/wp-admin/admin-ajax.php?action=heartbeat", "/wp-admin/admin-ajax.php?action=heartbeat"),
            ("/?p=1&action=x", "/?p=:n"),
            ("/?route=%3Cscript%3E", "/?route=…"),
            ("/blog/5?page=2", "/blog/:n"),
            ("/index.phpx", "/index.phpx"),
        ] {
            assert_eq!(rules.route(uri, false), route, "{uri}");
        }
        assert_eq!(RouteRules::new([], []).route("/?route=a", false), "/");
    }

    #[test]
    fn permalinks_of_wordpress_are_routes_only_there() {
        let rules = RouteRules::default();
        for (uri, route) in [
            ("/2024/05/17/hello-world/", "/{year}/{month}/{day}/{name}"),
            ("/2024/05/hello/", "/{year}/{month}/{name}"),
            ("/2024/05/17/", "/:n/:n/:n/"),
            ("/category/shoes", "/category/{name}"),
            ("/shop/shoes", "/shop/shoes"),
        ] {
            assert_eq!(rules.route(uri, true), route, "{uri}");
            assert_eq!(rules.route(uri, false), fold(uri), "{uri}");
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
