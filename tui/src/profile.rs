//! Views of a PHP profile: hot functions and files within a scope, callers and callees of a function, routes.
//! Pure functions of a [`Php`]; samples are counted, percentages are the drawing's matter.

use std::{collections::HashMap, sync::Arc};

use crate::{
    model::{Php, Request, Route},
    view::{FunctionKey, RouteKey},
};

/// Which part of a profile counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    #[default]
    All,
    /// What the processes of a group did.
    Group(Arc<str>),
    /// What one route did.
    Route(RouteKey),
}

impl Scope {
    /// Whether a route counts.
    pub fn has(&self, route: &Route) -> bool {
        match self {
            Self::All => true,
            Self::Group(group) => route.group == *group,
            Self::Route(key) => RouteKey::of(route) == *key,
        }
    }
}

/// Samples of one function (by index) or one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hot<T> {
    /// What it is.
    pub of: T,
    /// Samples with it on top.
    pub self_samples: u64,
    /// Samples with it anywhere on the stack.
    pub total_samples: u64,
}

/// Samples of all stacks in the scope.
pub fn samples(php: &Php, scope: &Scope) -> u64 {
    in_scope(php, scope).map(|stack| stack.samples).sum()
}

/// Functions (indexes into [`Php::functions`]) with samples in the scope, most self time first.
pub fn functions(php: &Php, scope: &Scope) -> Vec<Hot<usize>> {
    let mut counts = vec![(0_u64, 0_u64); php.functions.len()];
    if *scope == Scope::All {
        for (count, function) in counts.iter_mut().zip(&php.functions) {
            *count = (function.self_samples, function.total_samples);
        }
    } else {
        // The number of the stack that a function was last counted for, so that recursion counts once.
        let mut counted = vec![usize::MAX; php.functions.len()];
        for (number, stack) in in_scope(php, scope).enumerate() {
            for (depth, &function) in stack.frames.iter().enumerate() {
                let Some(count) = counts.get_mut(function) else { continue };
                if depth == 0 {
                    count.0 += stack.samples;
                }
                if counted[function] != number {
                    counted[function] = number;
                    count.1 += stack.samples;
                }
            }
        }
    }
    let hot = counts.into_iter().enumerate().filter(|(_, (own, total))| own + total > 0);
    sorted(hot.map(|(of, (self_samples, total_samples))| Hot { of, self_samples, total_samples }).collect())
}

/// Files with samples in the scope, most self time first. Builtin functions count for the file that called them.
pub fn files(php: &Php, scope: &Scope) -> Vec<Hot<Arc<str>>> {
    let mut counts: HashMap<&Arc<str>, (u64, u64, usize)> = HashMap::new();
    for (number, stack) in in_scope(php, scope).enumerate() {
        let mut files =
            stack.frames.iter().filter_map(|&f| php.functions.get(f)).map(|f| &f.file).filter(|f| !f.is_empty());
        if let Some(file) = files.next() {
            counts.entry(file).or_insert((0, 0, usize::MAX)).0 += stack.samples;
            for file in std::iter::once(file).chain(files) {
                let count = counts.entry(file).or_insert((0, 0, usize::MAX));
                if count.2 != number {
                    count.2 = number;
                    count.1 += stack.samples;
                }
            }
        }
    }
    let hot = counts.into_iter();
    sorted(hot.map(|(f, (own, total, _))| Hot { of: f.clone(), self_samples: own, total_samples: total }).collect())
}

fn sorted<T: Ord>(mut hot: Vec<Hot<T>>) -> Vec<Hot<T>> {
    hot.sort_by(|a, b| {
        (b.self_samples, b.total_samples).cmp(&(a.self_samples, a.total_samples)).then_with(|| a.of.cmp(&b.of))
    });
    hot
}

fn in_scope<'a>(php: &'a Php, scope: &'a Scope) -> impl Iterator<Item = &'a crate::model::Stack> {
    php.stacks
        .iter()
        .filter(move |stack| *scope == Scope::All || php.routes.get(stack.route).is_some_and(|r| scope.has(r)))
}

/// What is around a function: samples by function index (callers and callees) and by route index, most first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around {
    /// Samples with the function on top.
    pub self_samples: u64,
    /// Samples with the function on the stack.
    pub total_samples: u64,
    /// Who called it.
    pub callers: Vec<(usize, u64)>,
    /// What it called.
    pub callees: Vec<(usize, u64)>,
    /// In which routes.
    pub routes: Vec<(usize, u64)>,
}

/// Callers, callees and routes of a function within a scope. In a recursion the innermost callee and the outermost caller count.
pub fn around(php: &Php, key: &FunctionKey, scope: &Scope) -> Around {
    let Some(wanted) = php.functions.iter().position(|function| FunctionKey::of(function) == *key) else {
        return Around::default();
    };
    let mut around = Around::default();
    let (mut callers, mut callees, mut routes) = (HashMap::new(), HashMap::new(), HashMap::new());
    for stack in in_scope(php, scope) {
        let Some(first) = stack.frames.iter().position(|&frame| frame == wanted) else { continue };
        let last = stack.frames.iter().rposition(|&frame| frame == wanted).unwrap_or(first);
        around.total_samples += stack.samples;
        match first.checked_sub(1) {
            None => around.self_samples += stack.samples,
            Some(callee) => *callees.entry(stack.frames[callee]).or_default() += stack.samples,
        }
        if let Some(&caller) = stack.frames.get(last + 1) {
            *callers.entry(caller).or_default() += stack.samples;
        }
        *routes.entry(stack.route).or_default() += stack.samples;
    }
    around.callers = most(callers);
    around.callees = most(callees);
    around.routes = most(routes);
    around
}

fn most(counts: HashMap<usize, u64>) -> Vec<(usize, u64)> {
    let mut list: Vec<(usize, u64)> = counts.into_iter().collect();
    list.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    list
}

/// Requests in the scope: those that run first, longest first, then the finished, slowest first.
pub fn requests<'a>(php: &'a Php, scope: &Scope) -> Vec<&'a Request> {
    let counts = |request: &&Request| match scope {
        Scope::All => true,
        scope => php.routes.get(request.route).is_some_and(|route| scope.has(route)),
    };
    let mut requests: Vec<&Request> = php.requests.iter().filter(counts).collect();
    requests.sort_by(|a, b| a.finished.cmp(&b.finished).then(b.duration_ms.total_cmp(&a.duration_ms)));
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Function, FunctionKind, Stack};

    fn function(name: &str, file: &str) -> Function {
        Function {
            name: name.into(),
            class: "".into(),
            file: file.into(),
            line: 1,
            kind: if file.is_empty() { FunctionKind::Internal } else { FunctionKind::User },
            self_samples: 0,
            total_samples: 0,
            self_wait_ns: None,
            total_wait_ns: None,
            calls: None,
            self_ns: None,
            total_ns: None,
            durations_log2: None,
        }
    }

    fn route(path: &str, group: &str) -> Route {
        Route {
            route: path.into(),
            script: "".into(),
            method: "GET".into(),
            group: group.into(),
            requests: 1,
            errors: 0,
            duration_ms: Default::default(),
            histogram: Default::default(),
            cpu_ns: None,
            wait_ns: None,
            rss_growth_bytes: None,
        }
    }

    /// main calls f, f calls itself and sort (builtin); the second route is of another pool.
    fn php() -> Php {
        let stack = |route, frames: &[usize], samples| Stack {
            route,
            frames: frames.to_vec(),
            samples,
            wait_ns: None,
            truncated: false,
        };
        Php {
            functions: vec![function("main", "/m.php"), function("f", "/f.php"), function("sort", "")],
            routes: vec![route("/a", "www"), route("/b", "admin")],
            stacks: vec![stack(0, &[2, 1, 1, 0], 6), stack(0, &[1, 0], 3), stack(1, &[0], 1)],
            ..Php::default()
        }
    }

    #[test]
    fn recursion_counts_once() {
        let hot = functions(&php(), &Scope::Group("www".into()));
        let f = hot.iter().find(|hot| hot.of == 1).unwrap();
        assert_eq!((f.self_samples, f.total_samples), (3, 9));
        assert_eq!(hot.first().map(|hot| hot.of), Some(2), "most self time first");
        assert_eq!(samples(&php(), &Scope::Group("www".into())), 9);
    }

    #[test]
    fn a_builtin_counts_for_the_file_that_called_it() {
        let hot = files(&php(), &Scope::All);
        assert_eq!(hot[0], Hot { of: "/f.php".into(), self_samples: 9, total_samples: 9 });
        assert_eq!(hot[1], Hot { of: "/m.php".into(), self_samples: 1, total_samples: 10 });
    }

    #[test]
    fn around_a_function_are_its_callers_callees_and_routes() {
        let php = php();
        let around = around(&php, &FunctionKey::of(&php.functions[1]), &Scope::All);
        assert_eq!((around.self_samples, around.total_samples), (3, 9));
        assert_eq!((around.callers, around.callees, around.routes), (vec![(0, 9)], vec![(2, 6)], vec![(0, 9)]));
    }

    #[test]
    fn a_route_narrows_to_itself() {
        let scope = Scope::Route(RouteKey::of(&php().routes[1]));
        let hot = functions(&php(), &scope);
        assert_eq!(hot, [Hot { of: 0, self_samples: 1, total_samples: 1 }]);
    }
}
