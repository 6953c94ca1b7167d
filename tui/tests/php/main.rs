//! Real PHP on real servers, observed by the real kernel. One test at a time has the machine: see [`servers::alone`].
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod loaded;
mod servers;
mod watch;

mod before;
mod calls;
mod command;
mod command_calls;
mod cpus;
mod doctor;
mod failures;
mod generators;
mod groups;
mod hostile;
mod images;
mod impostor;
mod lifecycle;
mod lines;
mod matrix;
mod memory;
mod mounts;
mod moving_code;
mod pools;
mod pricing;
mod problems;
mod requests;
mod restarts;
mod samples;
mod secrets;
mod storms;
mod threads;
mod tracing;
mod trust;
mod truth;
mod unanswering;
mod waits;
