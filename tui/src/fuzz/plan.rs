//! How much is tried: a little in `cargo test`, as much as the environment says in `make fuzz`.

use std::{env, path::PathBuf};

/// Inputs of a target in a usual run of the tests.
const INPUTS: u64 = 4_000;

/// What a run does.
#[derive(Debug)]
pub(super) struct Plan {
    /// Inputs beside those of the corpus (`TUSKTOP_FUZZ_INPUTS`).
    pub inputs: u64,
    /// Where chance begins (`TUSKTOP_FUZZ_SEED`): the same number gives the same inputs.
    pub seed: u64,
    /// Where the inputs go that reach something new (`TUSKTOP_FUZZ_FOLDER`).
    pub folder: Option<PathBuf>,
}

impl Plan {
    /// Reads it from the environment.
    pub(super) fn read() -> Self {
        let number = |name, default| match env::var(name) {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a number")),
            Err(_) => default,
        };
        Self {
            inputs: number("TUSKTOP_FUZZ_INPUTS", INPUTS),
            seed: number("TUSKTOP_FUZZ_SEED", 1),
            folder: env::var_os("TUSKTOP_FUZZ_FOLDER").map(PathBuf::from),
        }
    }
}
