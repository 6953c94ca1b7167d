//! PHP images that run on this machine, and the processes that started them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Tiers;

/// One PHP image (a binary or a libphp) and what can be observed of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Its number, by which processes and counts name it; `None` when it is not observed.
    #[serde(default)]
    pub image: Option<usize>,
    /// Why nothing of it is observed, such as `belongs to alice; --php-owner alice (or php_owners) allows it`.
    #[serde(default)]
    pub not_observed: Option<Arc<str>>,
    /// Path of the image as its process sees it.
    pub exe: Arc<str>,
    /// PHP version, such as `8.2.36`; `None` when it was not found in the image.
    pub version: Option<Arc<str>>,
    /// Server API: `cli`, `fpm`, `cgi`, `apache`, `phpdbg`, `embed`; `unknown` when it is not observed.
    pub sapi: Arc<str>,
    /// Built for threads (ZTS).
    pub zts: bool,
    /// Names of its USDT probes, such as `request__startup`; empty for a build without them.
    #[serde(default)]
    pub probes: Vec<Arc<str>>,
    /// Exported functions that can be attached to instead.
    #[serde(default)]
    pub functions: Vec<Arc<str>>,
    /// Processes that run it.
    pub pids: Vec<u32>,
    /// Those of them that were not forked from another one, in order of pid; bounded, see `masters_left_out`.
    #[serde(default)]
    pub masters: Vec<Master>,
    /// How many masters are not in the list.
    #[serde(default)]
    pub masters_left_out: u32,
    /// What works, and why the rest does not.
    pub tiers: Tiers,
}

/// Exported names of PHP that matter: variables, and functions that are attached to where there are no probes.
pub const SYMBOLS: [&str; 18] = [
    "compile_file",
    "executor_globals",
    "executor_globals_offset",
    "php_request_shutdown",
    "php_request_startup",
    "sapi_globals",
    "sapi_globals_offset",
    "shutdown_memory_manager",
    "tsrm_get_ls_cache_tcb_offset",
    "zend_deactivate",
    "zend_dtrace_enabled",
    "zend_error",
    "zend_error_zstr_at",
    "zend_exception_error",
    "zend_execute_ex",
    "zend_interned_strings_deactivate",
    "zend_memory_peak_usage",
    "zend_throw_exception_internal",
];

/// A process that started PHP itself, such as the master of php-fpm, Apache's parent process or a script on the command
/// line. What it was started with holds for all that it forks, and two masters of one image may differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Master {
    /// Process.
    pub pid: u32,
    /// Its probes for functions, files and compiles are live (`zend_dtrace_enabled`); `None` when that is not known.
    pub dtrace: Option<bool>,
    /// `USE_ZEND_DTRACE` is in its environment; `None` when that is not known, because it was overwritten by a title.
    pub variable: Option<bool>,
    /// opcache shares compiled code in memory; `None` when not known.
    pub opcache: Option<bool>,
    /// The JIT has room for machine code and is switched on (`opcache.jit`); `None` when not known.
    pub jit: Option<bool>,
    /// systemd unit, where there is one.
    pub unit: Option<Arc<str>>,
    /// Container, where there is one.
    pub container: Option<Arc<str>>,
    /// Why it cannot be traced exactly; empty when it can.
    pub reason: String,
    /// What to type so that it can, line by line, with the side effects.
    pub hint: Vec<String>,
}
