//! Turns keys of stacks into names. Names are cached; the kernel is asked for new keys only.

use std::{collections::HashSet, sync::Arc};

use tusktop_shared::{
    ContentKey, FUNCTION_BYTES, FUNCTION_COMPILE, FUNCTION_EVAL, FUNCTION_INTERNAL, FunctionName, MAX_FRAMES,
    NO_FUNCTION, NOT_WALKED, OUTSIDE, STACK_TRUNCATED, Stack, sizes,
};

use crate::{
    collect::php::kernel::{
        Kernel,
        kept::{class, head, tail},
    },
    model::{FunctionKey, FunctionKind, NumberMap},
};

/// A stack with names.
#[derive(Debug, PartialEq, Eq)]
pub struct NamedStack {
    /// Functions, leaf first. Equal functions are the same allocation, until the caches are emptied.
    pub frames: Vec<Arc<FunctionKey>>,
    /// It was deeper than what is kept.
    pub truncated: bool,
}

/// A function on a stack.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub function: Arc<FunctionKey>,
    /// Where its frame is in the kernel's map.
    pub place: usize,
    /// Its last line, 0 where that is not known.
    pub last_line: u32,
}

/// The caches start again at these sizes, before one user's share of the kernel's maps is full (`tusktop_shared::share`).
const STACKS: usize = sizes::STACKS as usize / 2;
const NAMES: usize = sizes::NAMES as usize / 2;
/// Stacks that were read from outside: one of each PHP process that is blocked at a time.
const HELD: usize = sizes::PROCESSES as usize;

/// What stands for the functions of waits that have none.
const NOT_WALKED_NAME: &str = "(too many waits to tell apart)";
const OUTSIDE_NAME: &str = "(before or after PHP code)";

/// Names that were read so far.
#[derive(Debug)]
pub(crate) struct Names {
    /// Each with its last line, 0 where that is not known.
    functions: NumberMap<ContentKey, (Arc<FunctionKey>, u32)>,
    texts: HashSet<Arc<FunctionKey>>,
    stacks: NumberMap<ContentKey, Arc<NamedStack>>,
    /// Stacks that were read from outside, with the looks since when nothing has waited in them.
    held: NumberMap<ContentKey, (Arc<NamedStack>, u8)>,
    /// How many there were so far.
    read: u64,
    unknown: Arc<FunctionKey>,
    not_walked: Arc<NamedStack>,
    outside: Arc<NamedStack>,
}

impl Default for Names {
    fn default() -> Self {
        let unknown = |name: &str| {
            let none: Arc<str> = "".into();
            let (name, class, file) = (name.into(), none.clone(), none);
            Arc::new(FunctionKey { name, class, file, line: 0, kind: FunctionKind::Unknown })
        };
        Self {
            functions: NumberMap::default(),
            texts: HashSet::new(),
            stacks: NumberMap::default(),
            held: NumberMap::default(),
            read: 0,
            unknown: unknown("?"),
            not_walked: Arc::new(NamedStack { frames: vec![unknown(NOT_WALKED_NAME)], truncated: false }),
            outside: Arc::new(NamedStack { frames: vec![unknown(OUTSIDE_NAME)], truncated: false }),
        }
    }
}

impl Names {
    /// The stack of a key; `None` when the kernel had no room for it.
    pub(crate) fn stack(&mut self, kernel: &Kernel, key: ContentKey) -> Option<Arc<NamedStack>> {
        if key.hash == NOT_WALKED {
            return Some(self.not_walked.clone());
        }
        if key.hash == OUTSIDE {
            return Some(self.outside.clone());
        }
        if let Some(stack) = self.stacks.get(&key) {
            return Some(stack.clone());
        }
        if let Some((stack, _)) = self.held.get(&key) {
            return Some(stack.clone());
        }
        let raw = kernel.stack(key)?;
        let frames: Vec<_> = self.named(kernel, &raw, key.user).map(|frame| frame.function).collect();
        let complete = frames.iter().all(|frame| !Arc::ptr_eq(frame, &self.unknown));
        let stack = Arc::new(NamedStack { frames, truncated: raw.flags & STACK_TRUNCATED != 0 });
        if complete {
            self.stacks.insert(key, stack.clone());
        }
        Some(stack)
    }

    /// The frames of a stack, leaf first; `None` when the kernel had no room for it.
    pub(crate) fn frames(&mut self, kernel: &Kernel, key: ContentKey) -> Option<Vec<Frame>> {
        let raw = kernel.stack(key)?;
        Some(self.named(kernel, &raw, key.user).collect())
    }

    fn named(&mut self, kernel: &Kernel, raw: &Stack, user: u32) -> impl Iterator<Item = Frame> {
        let named = in_order(raw).into_iter().map(move |place| {
            let (function, last_line) = self.function_with_end(kernel, ContentKey::new(raw.frames[place], user));
            Frame { function, place, last_line }
        });
        named.filter(|frame| is_php(&frame.function))
    }

    /// Keeps a stack of a user's process that was read from outside, and makes a key for it; `None` when there are too many.
    pub(crate) fn hold(&mut self, frames: &[FunctionKey], truncated: bool, user: u32) -> Option<ContentKey> {
        if frames.is_empty() {
            return Some(ContentKey::new(OUTSIDE, user));
        }
        if self.held.len() >= HELD {
            return None;
        }
        let frames = frames.iter().map(|frame| match self.texts.get(frame) {
            Some(known) => known.clone(),
            None => Arc::new(frame.clone()),
        });
        let stack = Arc::new(NamedStack { frames: frames.collect(), truncated });
        self.read += 1;
        // The keys of the programs' own stacks are odd, and those that stand for no stack are below 8.
        let key = ContentKey::new(8 + 2 * self.read, user);
        self.held.insert(key, (stack, 0));
        Some(key)
    }

    /// Forgets the stacks that were read from outside in which nothing has waited for a while.
    pub(crate) fn let_go(&mut self, waits_in: impl Fn(ContentKey) -> bool) {
        self.held.retain(|&key, (_, looks)| {
            // What has just ended may not have been counted yet.
            *looks = if waits_in(key) { 0 } else { *looks + 1 };
            *looks < 3
        });
    }

    /// Starts over when the kernel's maps are about to be full.
    pub(crate) fn make_room(&mut self, kernel: &mut Kernel) {
        if self.stacks.len() > STACKS || self.functions.len() > NAMES {
            kernel.forget_names();
            self.functions.clear();
            self.texts.clear();
            self.stacks.clear();
        }
    }

    /// The function of a key.
    pub(crate) fn function(&mut self, kernel: &Kernel, key: ContentKey) -> Arc<FunctionKey> {
        self.function_with_end(kernel, key).0
    }

    fn function_with_end(&mut self, kernel: &Kernel, key: ContentKey) -> (Arc<FunctionKey>, u32) {
        if let Some(function) = self.functions.get(&key) {
            return function.clone();
        }
        let Some(raw) = kernel.name(key) else { return (self.unknown.clone(), 0) };
        // Keys differ by user; equal texts are kept once.
        let text = function_of(&raw);
        let function = self.texts.get(&text).cloned().unwrap_or_else(|| Arc::new(text));
        self.texts.insert(function.clone());
        self.functions.insert(key, (function.clone(), raw.last_line));
        (function, raw.last_line)
    }
}

/// The places of functions, leaf first. What the engine puts between calls is none.
fn in_order(stack: &Stack) -> Vec<usize> {
    let depth = MAX_FRAMES.min(stack.depth as usize);
    let mut places: Vec<usize> = (0..depth).collect();
    for place in [stack.delegations & 0xffff, stack.delegations >> 16] {
        let (from, count) = ((place >> 8) as usize + 1, (place & 0xff) as usize);
        if let Some(turned) = places.get_mut(from..depth.min(from + count)) {
            turned.reverse();
        }
    }
    places.retain(|&place| stack.frames[place] != NO_FUNCTION);
    places
}

/// Whether PHP itself would say that a function was called: what a fiber begins with is built in and has no name.
pub(crate) fn is_php(function: &FunctionKey) -> bool {
    !function.name.is_empty()
}

/// The function whose texts are kept so.
pub(crate) fn function_of(raw: &FunctionName) -> FunctionKey {
    let kind = match raw.kind {
        FUNCTION_INTERNAL => FunctionKind::Internal,
        FUNCTION_EVAL => FunctionKind::Eval,
        _ => FunctionKind::User,
    };
    let name = match (raw.function_len, kind) {
        (0, _) if raw.kind == FUNCTION_COMPILE => "{compile}".into(),
        (0, FunctionKind::Eval) => "{eval}".into(),
        (0, FunctionKind::Internal) => "".into(),
        (0, _) => "{main}".into(),
        (len, _) => head(&raw.function, len, FUNCTION_BYTES).into(),
    };
    let class = class(&raw.class, raw.class_len).into();
    FunctionKey { name, class, file: tail(&raw.file, raw.file_len).into(), line: raw.line, kind }
}

#[cfg(test)]
mod tests {
    use tusktop_shared::{CLASS_BYTES, FILE_BYTES, SKIPPED};

    use super::*;

    fn raw(function: &[u8], class: &[u8], file: &[u8], kind: u32) -> FunctionName {
        let mut raw = FunctionName {
            kind,
            line: 7,
            function_len: function.len() as u32,
            class_len: class.len() as u32,
            file_len: file.len() as u32,
            last_line: 9,
            function: [0; FUNCTION_BYTES],
            class: [0; CLASS_BYTES],
            file: [0; FILE_BYTES],
        };
        let kept = function.len().min(FUNCTION_BYTES);
        raw.function[..kept].copy_from_slice(&function[..kept]);
        raw.class[..class.len()].copy_from_slice(class);
        let kept = file.len().min(FILE_BYTES);
        raw.file[..kept].copy_from_slice(&file[file.len() - kept..]);
        raw
    }

    #[test]
    fn frames_of_generators_that_delegate_are_turned_round_where_they_are() {
        let ordered = |frames: &[u64], delegations| {
            let mut stack =
                Stack { depth: frames.len() as u32, flags: 0, missing: 0, delegations, frames: [0; MAX_FRAMES] };
            stack.frames[..frames.len()].copy_from_slice(frames);
            in_order(&stack).into_iter().map(|place| stack.frames[place]).collect::<Vec<_>>()
        };
        assert_eq!(ordered(&[1, 0, 3, 0, 7, 5], 0x0302), [1, 3, 5, 7]);
        assert_eq!(ordered(&[1, 0, 5, 3, 7, 0, 13, 11, 9], 0x0102_0503), [1, 3, 5, 7, 9, 11, 13]);
        assert_eq!(ordered(&[1, 3], 0x7f7f_01ff), [1, 3], "lengths that lie do no harm");
        assert_eq!(ordered(&[1, 0, 5, 3], 0xffff_01ff), [1, 3, 5]);
    }

    #[test]
    fn what_a_fiber_begins_with_is_no_frame() {
        assert!(!is_php(&function_of(&raw(b"", b"", b"", FUNCTION_INTERNAL))));
        assert!(is_php(&function_of(&raw(b"", b"", b"/a.php", 2))));
    }

    #[test]
    fn top_level_code_and_anonymous_classes_have_names() {
        assert_eq!(&*function_of(&raw(b"", b"", b"/a.php", 2)).name, "{main}");
        assert_eq!(&*function_of(&raw(b"", b"", b"/a.php", FUNCTION_EVAL)).name, "{eval}");
        assert_eq!(&*function_of(&raw(b"f", b"class@anonymous\0/a.php:3$0", b"/a.php", 2)).class, "class@anonymous");
    }

    #[test]
    fn long_names_keep_their_head_and_long_paths_their_tail() {
        let long = function_of(&raw(&[b'f'; 10_000], b"", &[b"/x/".repeat(200), b"end.php".to_vec()].concat(), 2));
        assert!(long.name.starts_with("fff") && long.name.ends_with('…'));
        assert!(long.file.starts_with('…') && long.file.ends_with("end.php"));
    }

    #[test]
    fn lengths_that_lie_do_not_panic() {
        let mut name = raw(b"f", b"c", b"/a.php", 2);
        (name.function_len, name.class_len, name.file_len) = (u32::MAX, u32::MAX, u32::MAX);
        let _ = function_of(&name);
    }

    #[test]
    fn a_stack_that_was_read_from_outside_is_there_until_nothing_has_waited_in_it_for_a_while() {
        let mut names = Names::default();
        let frames = [function_of(&raw(b"usleep", b"", b"", FUNCTION_INTERNAL))];
        let first = names.hold(&frames, false, 33).unwrap();
        let second = names.hold(&frames, true, 33).unwrap();
        assert!(first != second && first.hash % 2 == 0 && first.hash > SKIPPED);
        assert_eq!(names.hold(&[], false, 33), Some(ContentKey::new(OUTSIDE, 33)));
        for _ in 0..9 {
            names.let_go(|key| key == second);
        }
        assert_eq!(names.held.keys().collect::<Vec<_>>(), [&second]);
        for _ in 0..2 * HELD {
            let _ = names.hold(&frames, false, 33);
        }
        assert_eq!((names.held.len(), names.hold(&frames, false, 33)), (HELD, None));
    }
}
