//! Processes of fake `/proc` trees, and a few of this machine: what is read of them, how they are grouped, and a close look at
//! one.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod fake_proc;

mod group_properties;
mod groups;
mod inspect;
mod machine_memory;
mod memory;
mod strange;
mod tree;
