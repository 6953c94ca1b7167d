//! The stacks of a scope as a tree of calls: from the outermost function inwards, or from one function outwards to its callers and
//! inwards to what it calls. Also two spans in one tree. Folding makes one frame of what a library does by itself.
//! Pure functions of a [`Php`]; how wide a frame is on the screen is `view/flame`'s matter.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use super::{
    difference::unreleased,
    profile::{Basis, Scope, Time, in_scope},
};
use crate::{
    model::{FunctionKey, FunctionKind, Php},
    words::names,
};

/// One frame of a stack, by what it is and never by its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Frame {
    /// A function.
    Function(Arc<FunctionKey>),
    /// Calls within one library, such as `vendor/twig/twig`.
    Folded(Arc<str>),
    /// The outer frames of a stack that was deeper than what is kept.
    Cut,
}

impl Frame {
    /// What it is called.
    pub fn name(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Function(key) => names::function(key),
            Self::Folded(label) => label.as_ref().into(),
            Self::Cut => "(outer frames not kept)".into(),
        }
    }

    /// Where it is; empty for what is in many places.
    pub fn place(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Function(key) => names::place_of(key),
            Self::Folded(_) | Self::Cut => "".into(),
        }
    }
}

/// Which files are those of libraries and frameworks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// Runs of folders; a star is any one folder.
    rules: Vec<Vec<String>>,
}

/// Folders of libraries and frameworks unless the configuration says otherwise.
pub const FOLDED: [&str; 6] = ["vendor/*/*", "vendor", "wp-includes", "wp-admin", "core/lib", "bitrix/modules"];

impl Default for Fold {
    fn default() -> Self {
        Self::new(FOLDED)
    }
}

impl Fold {
    /// From runs of folders, such as `vendor/*/*`. The first that a path has decides.
    pub fn new<'a>(rules: impl IntoIterator<Item = &'a str>) -> Self {
        let folders = |rule: &str| rule.split('/').filter(|folder| !folder.is_empty()).map(str::to_owned).collect();
        let rules: Vec<Vec<String>> = rules.into_iter().map(folders).collect();
        Self { rules: rules.into_iter().filter(|rule| !rule.is_empty()).collect() }
    }

    /// The folders of a file that a rule names; `None` for a file that is folded by none.
    fn label(&self, file: &str) -> Option<String> {
        let (folders, _) = file.rsplit_once('/')?;
        let folders: Vec<&str> = folders.split('/').collect();
        self.rules.iter().find_map(|rule| {
            let same = |run: &&[&str]| run.iter().zip(rule).all(|(folder, wanted)| wanted == "*" || wanted == folder);
            Some(folders.windows(rule.len()).find(same)?.join("/"))
        })
    }
}

/// A frame with everything that was called from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// Index into [`Flame::frames`]; that of the root means nothing.
    pub frame: usize,
    /// The node that called it; that of the root is itself.
    pub parent: usize,
    /// Distance from the root.
    pub depth: usize,
    /// What it called, by name.
    pub children: Vec<usize>,
    /// Time with it on top. Where two spans are compared, that of the later one.
    pub own: Time,
    /// Time with it on the stack, as `own`.
    pub total: Time,
    /// How wide it is: nanoseconds of `total` that count; where two spans are compared, the sum over all on top of it of what is
    /// more of both, so that what is gone has a place, too.
    pub weight: u64,
    /// What counts of `total`, in nanoseconds; where two spans are compared, per second.
    pub now: u64,
    /// The same of the other span, if two are compared.
    pub before: u64,
    /// Nanoseconds of `now` that are CPU time.
    pub cpu: u64,
}

/// A tree of calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flame {
    /// Nodes; the first is the root, and each comes behind its parent.
    pub nodes: Vec<Node>,
    /// Frames.
    pub frames: Vec<Frame>,
    /// Two spans are in it.
    pub compared: bool,
    /// Smallest time that can be seen, for the spans that are compared: what one sample stands for, per second.
    unit: [f64; 2],
}

/// What a flame is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// Stacks, and how many seconds they cover.
    pub now: (&'a Php, f64),
    /// Those of another span to compare with.
    pub before: Option<(&'a Php, f64)>,
    /// Which of them count.
    pub scope: &'a Scope,
    /// Which time counts.
    pub basis: Basis,
    /// What becomes one frame.
    pub fold: Option<&'a Fold>,
}

/// Which way a tree of calls goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way<'a> {
    /// From the outermost function inwards.
    All,
    /// From this one to what it calls.
    Callees(&'a Frame),
    /// From this one to what calls it.
    Callers(&'a Frame),
}

impl Source<'_> {
    /// All calls.
    pub(crate) fn flame(&self) -> Flame {
        self.grow(Way::All)
    }

    /// What a frame calls; the root is that frame. In a recursion the outermost call counts.
    pub(crate) fn callees(&self, of: &Frame) -> Flame {
        self.grow(Way::Callees(of))
    }

    /// What calls a frame, nearest first; the root is that frame.
    pub(crate) fn callers(&self, of: &Frame) -> Flame {
        self.grow(Way::Callers(of))
    }

    fn grow(&self, way: Way) -> Flame {
        let mut growing = Growing::default();
        growing.flame.nodes.push(Node::default());
        growing.flame.compared = self.before.is_some();
        growing.add(self, self.now.0, way, 0);
        if let Some((before, seconds)) = self.before {
            growing.add(self, before, way, 1);
            let unit = |seconds: f64| self.basis.sample_ns as f64 / seconds.max(1e-3);
            growing.flame.unit = [unit(self.now.1), unit(seconds)];
        }
        growing.finish(self)
    }
}

#[derive(Debug, Default)]
struct Growing {
    flame: Flame,
    numbers: HashMap<Name, usize>,
    children: HashMap<(usize, usize), usize>,
    /// Time on top of each node, of the span and of the one that it is compared with.
    own: Vec<[Time; 2]>,
}

/// What makes a frame the same in both spans. In one span every function counts for itself.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Name {
    Function(Arc<FunctionKey>),
    Compared(Arc<str>, Arc<str>, String, FunctionKind),
    Folded(String),
    Cut,
}

impl Growing {
    fn add(&mut self, source: &Source, php: &Php, way: Way, side: usize) {
        let mut known = vec![None; php.functions.len()];
        let cut = self.number(Name::Cut, || Frame::Cut);
        let around = match way {
            Way::All => None,
            Way::Callees(frame) | Way::Callers(frame) => Some(frame),
        };
        let mut path = Vec::new();
        for (stack, time) in in_scope(php, source.scope) {
            path.clear();
            path.extend(stack.truncated.then_some(cut));
            for &function in stack.frames.iter().rev() {
                let Some(key) = php.functions.get(function).map(|function| &function.key) else { continue };
                let number = *known[function].get_or_insert_with(|| self.function(source, key));
                let folded = matches!(self.flame.frames[number], Frame::Folded(_));
                if !folded || path.last() != Some(&number) {
                    path.push(number);
                }
            }
            if let Some(frame) = around {
                let Some(at) = path.iter().position(|&number| same(&self.flame.frames[number], frame)) else {
                    continue;
                };
                match way {
                    Way::Callers(_) => {
                        path.truncate(at);
                        path.reverse();
                    }
                    _ => drop(path.drain(..=at)),
                }
            }
            let mut node = 0;
            for &frame in &path {
                node = self.child(node, frame);
            }
            if self.own.len() <= node {
                self.own.resize(self.flame.nodes.len(), <[Time; 2]>::default());
            }
            self.own[node][side] += time;
        }
    }

    fn function(&mut self, source: &Source, key: &Arc<FunctionKey>) -> usize {
        if let Some(label) = source.fold.and_then(|fold| fold.label(&key.file)) {
            let frame: Arc<str> = label.as_str().into();
            return self.number(Name::Folded(label), || Frame::Folded(frame));
        }
        let name = match source.before {
            None => Name::Function(key.clone()),
            Some(_) => {
                Name::Compared(key.name.clone(), key.class.clone(), unreleased(&key.file).into_owned(), key.kind)
            }
        };
        self.number(name, || Frame::Function(key.clone()))
    }

    fn number(&mut self, name: Name, frame: impl FnOnce() -> Frame) -> usize {
        let frames = &mut self.flame.frames;
        *self.numbers.entry(name).or_insert_with(|| {
            frames.push(frame());
            frames.len() - 1
        })
    }

    fn child(&mut self, parent: usize, frame: usize) -> usize {
        let nodes = &mut self.flame.nodes;
        *self.children.entry((parent, frame)).or_insert_with(|| {
            let depth = nodes[parent].depth + 1;
            nodes.push(Node { frame, parent, depth, ..Node::default() });
            nodes.len() - 1
        })
    }

    fn finish(mut self, source: &Source) -> Flame {
        let nodes = &mut self.flame.nodes;
        self.own.resize(nodes.len(), <[Time; 2]>::default());
        let basis = source.basis;
        let per_second = |ns: u64, seconds: f64| (ns as f64 / seconds.max(1e-3)).round() as u64;
        let counted = |time: Time, seconds: f64| match source.before {
            None => basis.amount(time),
            Some(_) => per_second(basis.amount(time), seconds),
        };
        let before_seconds = source.before.map_or(1.0, |(_, seconds)| seconds);
        for number in (0..nodes.len()).rev() {
            let [own, own_before] = self.own[number];
            let node = &mut nodes[number];
            node.own = own;
            node.total += own;
            let (now, before) = (counted(own, source.now.1), counted(own_before, before_seconds));
            let cpu = counted(Time { wait_ns: 0, ..own }, source.now.1).min(now);
            node.now += now;
            node.before += before;
            node.cpu += cpu;
            node.weight += now.max(before);
            let sums = (node.total, node.now, node.before, node.cpu, node.weight);
            if number > 0 {
                let parent = nodes[number].parent;
                let parent = &mut nodes[parent];
                parent.total += sums.0;
                parent.now += sums.1;
                parent.before += sums.2;
                parent.cpu += sums.3;
                parent.weight += sums.4;
                parent.children.push(number);
            }
        }
        let names: Vec<_> = self.flame.frames.iter().map(|frame| (frame.name(), frame.place())).collect();
        for number in 0..nodes.len() {
            let mut children = std::mem::take(&mut nodes[number].children);
            children.retain(|&child| nodes[child].weight > 0);
            children.sort_by(|&a, &b| names[nodes[a].frame].cmp(&names[nodes[b].frame]).then(a.cmp(&b)));
            nodes[number].children = children;
        }
        self.flame
    }
}

/// Whether a frame is the one that is looked for, which may come from another span or from before a release.
fn same(frame: &Frame, wanted: &Frame) -> bool {
    match (frame, wanted) {
        (Frame::Function(a), Frame::Function(b)) => {
            a == b
                || (a.name == b.name
                    && a.class == b.class
                    && a.kind == b.kind
                    && unreleased(&a.file) == unreleased(&b.file)
                    && a.line == b.line)
        }
        (a, b) => a == b,
    }
}

impl Flame {
    /// The frame of a node; that of the root is none of a stack.
    pub(crate) fn frame(&self, node: usize) -> &Frame {
        static NONE: LazyLock<Frame> = LazyLock::new(|| Frame::Cut);
        self.nodes.get(node).and_then(|node| self.frames.get(node.frame)).unwrap_or(&NONE)
    }

    /// The node at the end of a path from the root, which itself is the empty path.
    pub(crate) fn find(&self, path: &[Frame]) -> Option<usize> {
        let mut at = 0;
        for frame in path {
            at = *self.nodes[at].children.iter().find(|&&child| same(self.frame(child), frame))?;
        }
        Some(at)
    }

    /// Time that counts and is known by nothing at all, so that there is nothing to draw.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.first().is_none_or(|root| root.weight == 0)
    }

    /// What counts of the stacks with a frame that matches, in the unit of [`Node::now`]; a stack with several counts once.
    pub(crate) fn matching(&self, root: usize, matches: impl Fn(&Frame) -> bool) -> u64 {
        let matching: Vec<bool> = self.frames.iter().map(matches).collect();
        let mut sum = 0;
        let mut open = vec![root];
        while let Some(number) = open.pop() {
            let node = &self.nodes[number];
            if number != 0 && matching[node.frame] {
                sum += node.now;
            } else {
                open.extend(&node.children);
            }
        }
        sum
    }

    /// Whether the difference of a node between both spans may be chance: it is less than three standard deviations of as many
    /// samples.
    pub(crate) fn is_noise(&self, node: &Node) -> bool {
        let difference = node.now as f64 - node.before as f64;
        let variance = node.now as f64 * self.unit[0] + node.before as f64 * self.unit[1];
        difference * difference <= 9.0 * variance
    }
}

#[cfg(test)]
mod tests;
