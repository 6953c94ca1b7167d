//! Real processes that a test knows all about, on the real kernel: beside a real process-exporter, beside the kernel's task
//! iterator, in namespaces, and with names that must not be trusted.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod cast;
mod exporter;
mod wait;

mod fork_tree;
mod hostile_names;
mod kernel_tasks;
mod machine_memory;
mod namespaces;
mod parity;
mod parity_configurations;
mod secrets;
mod unanswering;
