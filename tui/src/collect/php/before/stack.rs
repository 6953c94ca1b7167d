//! The PHP stack of a process that is blocked, from its memory, as the programs walk it (`tui-ebpf/src/stack.rs`).

use std::io;

use tusktop_shared::{CLASS_BYTES, FILE_BYTES, FUNCTION_BYTES, FUNCTION_INTERNAL, FunctionName, MAX_FRAMES};

use super::pieces::Pieces;
use crate::{
    collect::php::{image::versions::Offsets, tier::sampling},
    model::FunctionKey,
};

/// `zend_execute_data.func`.
const FRAME_FUNCTION: u64 = 24;
/// `zend_function.common.function_name` and `.scope`.
const NAME: u64 = 8;
const SCOPE: u64 = 16;
/// `zend_class_entry.name`.
const CLASS_NAME: u64 = 8;
/// `zend_string.len` and `.val`.
const LENGTH: u64 = 16;
const TEXT: u64 = 24;
/// Longest text that is believed.
const LONGEST: u64 = 1 << 20;

/// Functions from the leaf to the root, and whether there are more.
pub(super) fn read<F: FnMut(u64, &mut [u8]) -> io::Result<()>>(
    memory: &mut Pieces<F>,
    leaf: u64,
    offsets: &Offsets,
) -> (Vec<FunctionKey>, bool) {
    let mut frames = Vec::new();
    let mut frame = leaf;
    let mut delegating = Vec::new();
    for _ in 0..MAX_FRAMES {
        if let Some(generator) = delegating.pop() {
            // Its frame, with the one behind it still to come.
            let Some(name) = function_of_generator(memory, generator, offsets) else { break };
            frames.push(name);
            continue;
        }
        if frame == 0 {
            return (frames, false);
        }
        let (Some(function), Some(previous)) = (
            memory.word(frame + FRAME_FUNCTION),
            memory.word(frame.wrapping_add(offsets.previous_execute_data.into())),
        ) else {
            break;
        };
        // The engine puts frames without a function between calls.
        if function != 0 {
            match name(memory, function, offsets) {
                Some(name) => frames.push(sampling::function_of(&name)),
                None => break,
            }
            frames.pop_if(|frame| !sampling::is_php(frame));
        } else {
            delegating = delegating_generators(memory, frame);
        }
        frame = previous;
    }
    (frames, true)
}

/// `Z_OBJ` of `zend_execute_data.This`.
const FRAME_OBJECT: u64 = 32;
/// `zend_generator.execute_data`, `.node.parent` and `.execute_fake`, as in `tui-ebpf/src/stack.rs`: PHP 8.1 to 8.5, and 7.4.
const GENERATORS: [(u64, u64, u64); 2] = [(0x38, 0x98, 0xb8), (0x40, 0xa0, 0xc8)];

/// The frames of the generators that delegate (`yield from`) to the one whose frame was before this one, outermost first; none where the frame
/// is no placeholder for them.
fn delegating_generators<F: FnMut(u64, &mut [u8]) -> io::Result<()>>(memory: &mut Pieces<F>, frame: u64) -> Vec<u64> {
    let mut found = Vec::new();
    let Some(mut generator) = memory.word(frame.wrapping_add(FRAME_OBJECT)) else { return found };
    let Some((data, parent, _)) = GENERATORS.into_iter().find(|of| frame.wrapping_sub(generator) == of.2) else {
        return found;
    };
    while found.len() < MAX_FRAMES
        && let Some(inner) = memory.word(generator.wrapping_add(parent)).filter(|&inner| inner != 0)
        && let Some(frame) = memory.word(generator.wrapping_add(data))
    {
        found.push(frame);
        generator = inner;
    }
    found
}

fn function_of_generator<F: FnMut(u64, &mut [u8]) -> io::Result<()>>(
    memory: &mut Pieces<F>,
    frame: u64,
    offsets: &Offsets,
) -> Option<FunctionKey> {
    let function = memory.word(frame.wrapping_add(FRAME_FUNCTION))?;
    name(memory, function, offsets).map(|name| sampling::function_of(&name))
}

fn name<F: FnMut(u64, &mut [u8]) -> io::Result<()>>(
    memory: &mut Pieces<F>,
    function: u64,
    offsets: &Offsets,
) -> Option<FunctionName> {
    let mut name = FunctionName {
        kind: memory.number(function)? & 0xff,
        line: 0,
        function_len: 0,
        class_len: 0,
        file_len: 0,
        last_line: 0,
        function: [0; FUNCTION_BYTES],
        class: [0; CLASS_BYTES],
        file: [0; FILE_BYTES],
    };
    let (text, scope) = (memory.word(function.wrapping_add(NAME))?, memory.word(function.wrapping_add(SCOPE))?);
    if text != 0 {
        name.function_len = head(memory, text, &mut name.function)?;
    }
    if scope != 0 {
        let text = memory.word(scope.wrapping_add(CLASS_NAME))?;
        name.class_len = head(memory, text, &mut name.class)?;
    }
    if name.kind != FUNCTION_INTERNAL {
        let place = function.wrapping_add(offsets.filename.into());
        let file = memory.word(place)?;
        name.line = memory.number(place.wrapping_add(8))?;
        name.file_len = tail(memory, file, &mut name.file)?;
    }
    Some(name)
}

fn length<F: FnMut(u64, &mut [u8]) -> io::Result<()>>(memory: &mut Pieces<F>, string: u64) -> Option<u64> {
    memory.word(string.wrapping_add(LENGTH)).filter(|&length| length <= LONGEST)
}

/// Copies the head of a string and returns its length.
fn head<F: FnMut(u64, &mut [u8]) -> io::Result<()>>(
    memory: &mut Pieces<F>,
    string: u64,
    into: &mut [u8],
) -> Option<u32> {
    let length = length(memory, string)?;
    let kept = into.len().min(length as usize);
    memory.fill(string.wrapping_add(TEXT), &mut into[..kept]).then_some(length as u32)
}

/// The same of its tail.
fn tail<F: FnMut(u64, &mut [u8]) -> io::Result<()>>(
    memory: &mut Pieces<F>,
    string: u64,
    into: &mut [u8],
) -> Option<u32> {
    let length = length(memory, string)?;
    let kept = into.len().min(length as usize);
    let from = string.wrapping_add(TEXT).wrapping_add(length - kept as u64);
    memory.fill(from, &mut into[..kept]).then_some(length as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{collect::php::image::versions, model::FunctionKind};

    /// Memory at 0x10000 in which things are put one behind the other.
    #[derive(Default)]
    struct Memory(Vec<u8>);

    const START: u64 = 0x10000;

    impl Memory {
        fn put(&mut self, bytes: &[u8]) -> u64 {
            let at = START + self.0.len() as u64;
            self.0.extend_from_slice(bytes);
            self.0.resize(self.0.len().next_multiple_of(8), 0);
            at
        }

        fn words(&mut self, words: &[u64]) -> u64 {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            self.put(&bytes)
        }

        fn string(&mut self, text: &str) -> u64 {
            let at = self.words(&[1, 0, text.len() as u64]);
            self.put(text.as_bytes());
            at
        }

        fn function(&mut self, name: &str, class: &str, file: &str, line: u64, kind: u64) -> u64 {
            let mut words = [0; 24];
            words[0] = kind;
            if !name.is_empty() {
                words[1] = self.string(name);
            }
            if !class.is_empty() {
                let text = self.string(class);
                words[2] = self.words(&[0, text]);
            }
            if !file.is_empty() {
                // PHP 8.2.
                (words[19], words[20]) = (self.string(file), line);
            }
            self.words(&words)
        }

        fn frame(&mut self, function: u64, previous: u64) -> u64 {
            self.words(&[0, 0, 0, function, 0, 0, previous, 0])
        }

        fn walk(mut self, leaf: u64) -> (Vec<FunctionKey>, bool) {
            self.0.resize(self.0.len().next_multiple_of(1 << 16), 0);
            let offsets = versions::of(versions::Version { major: 8, minor: 2 }).unwrap();
            let mut pieces = Pieces::new(|address: u64, bytes: &mut [u8]| {
                let from = address.checked_sub(START).ok_or(io::ErrorKind::NotFound)? as usize;
                let part = self.0.get(from..from + bytes.len()).ok_or(io::ErrorKind::NotFound)?;
                bytes.copy_from_slice(part);
                Ok(())
            });
            read(&mut pieces, leaf, &offsets)
        }
    }

    #[test]
    fn a_stack_has_its_functions_from_the_leaf_to_the_file_and_no_frames_of_the_engine() {
        let mut memory = Memory::default();
        let main = memory.function("", "", "/srv/a.php", 1, 2);
        let method = memory.function("find", "App\\Users", "/srv/users.php", 12, 2);
        let usleep = memory.function("usleep", "", "", 0, 1);
        let root = memory.frame(main, 0);
        let between = memory.frame(0, root);
        let caller = memory.frame(method, between);
        let leaf = memory.frame(usleep, caller);
        let (frames, truncated) = memory.walk(leaf);
        let names: Vec<_> =
            frames.iter().map(|frame| (&*frame.class, &*frame.name, &*frame.file, frame.line)).collect();
        let expected =
            [("", "usleep", "", 0), ("App\\Users", "find", "/srv/users.php", 12), ("", "{main}", "/srv/a.php", 1)];
        assert_eq!((names, truncated), (expected.to_vec(), false));
        assert_eq!(frames[0].kind, FunctionKind::Internal);
    }

    #[test]
    fn generators_that_delegate_are_between_the_one_that_runs_and_its_caller() {
        for (data, parent, fake) in GENERATORS {
            let mut memory = Memory::default();
            let functions =
                ["caller", "outer", "middle", "inner"].map(|name| memory.function(name, "", "/a.php", 1, 2));
            let caller = memory.frame(functions[0], 0);
            let mut inner = 0;
            let mut generators = Vec::new();
            for function in functions.into_iter().skip(1).rev() {
                let frame = memory.frame(function, 0);
                let mut words = [0; 48];
                words[data as usize / 8] = frame;
                words[parent as usize / 8] = inner;
                let at = START + memory.0.len() as u64;
                words[fake as usize / 8 + 4] = at;
                words[fake as usize / 8 + 6] = caller;
                inner = memory.words(&words);
                generators.push(inner);
            }
            let leaf = memory.frame(functions[3], generators[2] + fake);
            let (frames, truncated) = memory.walk(leaf);
            let names: Vec<_> = frames.iter().map(|frame| &*frame.name).collect();
            assert_eq!((names, truncated), (vec!["inner", "middle", "outer", "caller"], false));
        }
    }

    #[test]
    fn a_circle_of_frames_and_a_text_without_end_do_no_harm() {
        let mut memory = Memory::default();
        let main = memory.function("", "", "/srv/a.php", 1, 2);
        let here = START + memory.0.len() as u64;
        memory.frame(main, here);
        let (frames, truncated) = memory.walk(here);
        assert_eq!((frames.len(), truncated), (MAX_FRAMES, true));

        let mut memory = Memory::default();
        let endless = memory.words(&[1, 0, u64::MAX]);
        let function = memory.words(&[1, endless, 0]);
        let leaf = memory.frame(function, 0);
        assert_eq!(memory.walk(leaf), (vec![], true));
    }
}
