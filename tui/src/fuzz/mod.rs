//! Fuzzing of everything that reads what comes from outside: it changes the inputs of a small corpus at random and hands them to a
//! parser, which may neither panic nor take more memory than its target allows. Targets are tests in files called `fuzz.rs`
//! beside what they test.
//!
//! `cargo test` tries some thousand inputs of each, always the same ones. `make fuzz` tries a million, in a build that counts which
//! branches are taken, so that inputs which reach something new are changed further. It needs no other toolchain.

mod coverage;
mod memory;
mod mutation;
mod plan;

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::FileExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use self::{coverage::Coverage, mutation::Mutation, plan::Plan};

/// One parser.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// The name of its folder in `tui/fuzz/`, which has its corpus.
    pub name: &'static str,
    /// Bytes of the longest input.
    pub longest: usize,
    /// Bytes of heap that one input may take.
    pub memory: usize,
    /// Words of the format, which chance would not find.
    pub words: &'static [&'static str],
}

/// What a run has seen.
#[derive(Debug, Default)]
struct Seen {
    inputs: u64,
    memory: usize,
    slowest: Duration,
}

impl Target {
    /// Hands many inputs to `check`.
    pub(crate) fn run(self, check: impl Fn(&[u8])) {
        let plan = Plan::read();
        let mut corpus = self.corpus();
        assert!(!corpus.is_empty(), "{}: a corpus has at least one input", self.name);
        let mut coverage = Coverage::default();
        let mut seen = Seen::default();
        let running = plan.folder.as_deref().map(|folder| running(folder, self.name));
        let began = Instant::now();
        let mut attempt = |input: &[u8], coverage: &mut Coverage| {
            if let Some(file) = &running {
                // What ends the whole process leaves its input behind.
                file.write_all_at(input, 0).and_then(|()| file.set_len(input.len() as u64)).unwrap();
            }
            self.attempt(input, &check, &mut seen);
            coverage.grew()
        };
        for input in &corpus {
            attempt(input, &mut coverage);
        }
        let committed = corpus.len();
        let mut mutation = Mutation::new(plan.seed, self.name, self.words, self.longest);
        for _ in 0..plan.inputs {
            let input = mutation.change(&corpus);
            if attempt(&input, &mut coverage) {
                corpus.push(input);
            }
        }
        if let Some(folder) = &plan.folder {
            let kept = coverage.smallest(corpus, |input| check(input));
            let Seen { inputs, memory, slowest } = seen;
            println!(
                "{}: {inputs} inputs in {} s, {} branches, {} inputs kept from {committed}, at most {} KiB, {} us",
                self.name,
                began.elapsed().as_secs(),
                coverage.branches(),
                kept.len(),
                memory.div_ceil(1024),
                slowest.as_micros()
            );
            write_all(&folder.join(self.name), &kept);
        }
    }

    /// One input; a panic or too much memory ends the test, and the input is kept.
    fn attempt(self, input: &[u8], check: &impl Fn(&[u8]), seen: &mut Seen) {
        coverage::clear();
        let began = Instant::now();
        let (panicked, memory) = memory::most(|| catch_unwind(AssertUnwindSafe(|| check(input))).is_err());
        seen.slowest = seen.slowest.max(began.elapsed());
        seen.memory = seen.memory.max(memory);
        seen.inputs += 1;
        let what = match panicked {
            true => "panicked".to_owned(),
            false if memory > self.memory => format!("took {memory} bytes of memory, {} are allowed", self.memory),
            false => return,
        };
        let mut file = tempfile::Builder::new().prefix(self.name).tempfile().unwrap();
        file.write_all(input).unwrap();
        let (_, path) = file.keep().unwrap();
        panic!("{}: input {} {what}; it is kept as {}", self.name, seen.inputs, path.display());
    }

    fn corpus(self) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(self.name);
        let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        // The order of a folder is by chance.
        paths.sort_unstable();
        paths.iter().map(|path| fs::read(path).unwrap()).collect()
    }
}

/// The file with the input that is tried at this moment.
fn running(folder: &Path, name: &str) -> File {
    fs::create_dir_all(folder).unwrap();
    File::create(folder.join(format!("{name}.running"))).unwrap()
}

/// Writes inputs under names that follow from what is in them.
fn write_all(folder: &Path, inputs: &[Vec<u8>]) {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).unwrap();
    for input in inputs {
        fs::write(folder.join(format!("{:08x}", crc32fast::hash(input))), input).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target = Target { name: "operands", longest: 64, memory: 4096, words: &[] };

    fn fails(check: impl Fn(&[u8])) -> String {
        let failed = catch_unwind(AssertUnwindSafe(|| TARGET.run(check))).unwrap_err();
        let message = failed.downcast_ref::<String>().unwrap().clone();
        fs::remove_file(message.rsplit(' ').next().unwrap()).unwrap();
        message
    }

    #[test]
    fn a_panic_and_too_much_memory_are_found_and_the_input_is_kept() {
        let message = fails(|bytes| assert!(!bytes.starts_with(b"\xff"), "the parser is wrong"));
        assert!(message.contains("panicked"), "{message}");
        let message = fails(|bytes| drop(vec![0_u8; if bytes.len() > 30 { 5000 } else { 4000 }]));
        assert!(message.contains("took 5000 bytes"), "{message}");
    }
}
