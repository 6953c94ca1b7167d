//! Why a tier does not show an image, in words that fit behind "not observed:", and what to do about it.

use crate::{
    collect::php::{
        image::{sites::UnusableProbe, versions},
        kernel::KernelError,
    },
    model::TierStatus,
};

/// Why a tier does not show an image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missing {
    /// No program runs; a notice says why.
    #[error("the BPF programs are not loaded")]
    Programs,
    /// The kernel refuses a program or a probe.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// BTF has no `task_struct.__state`.
    #[error("this kernel's type information does not tell whether a thread waits")]
    ThreadState,
    /// The registers of arguments are not known.
    #[error("this CPU architecture is not supported")]
    Architecture,
    /// BTF has no `mm_struct.rss_stat`.
    #[error("this kernel's type information does not tell how many pages a process has")]
    Pages,
    /// The heap of a thread is found in another way.
    #[error("it is a thread-safe build (ZTS), and where its threads have their heaps was not found")]
    ThreadHeaps,
    /// The code of a function is not what is known.
    #[error("the code of its function zend_memory_peak_usage is not understood, or it is not exported")]
    Heap,
    /// An exported function that nothing can replace.
    #[error("it does not export {0}")]
    Function(&'static str),
    /// Calls are paired by process.
    #[error("it is a thread-safe build (ZTS), and calls are traced of one thread in a process")]
    TracedThreads,
    /// Each thread has its own globals, and they were not found.
    #[error(
        "it is a thread-safe build (ZTS), and where its threads have their state was not found: \
         tsrm_get_ls_cache_tcb_offset (PHP 8.0 or newer, glibc) is not exported, or its code is not understood"
    )]
    Threads,
    /// Where stacks begin is not known.
    #[error("it does not export executor_globals")]
    Globals,
    /// A version that is newer than this program, or very old.
    #[error("the layout of PHP {0} is not known")]
    Layout(String),
    /// Neither a note nor a text in the file tells the version.
    #[error("its PHP version was not found in the file")]
    Version,
    /// A probe is there but cannot be attached to.
    #[error(transparent)]
    Unusable(#[from] UnusableProbe),
    /// A probe that nothing can replace.
    #[error("it has no probe {0}")]
    Probe(&'static str),
    /// Nothing shows where requests start and end.
    #[error("it has neither USDT probes nor the functions php_request_startup and php_request_shutdown")]
    Requests,
    /// Neither of two ways to see something.
    #[error("it has neither the function {function} nor the USDT probe {probe}")]
    Sites {
        /// Exported function, with the versions that it helps in.
        function: &'static str,
        probe: &'static str,
    },
    /// A function would only help where the layout of structures is known.
    #[error("the layout of its PHP version is not known, and it has no USDT probe {0}")]
    LayoutAndProbe(&'static str),
    /// Nothing seen would not mean that nothing happened.
    #[error(
        "its probe `error` does not fire reliably in PHP 8, \
         and it has no function zend_error_zstr_at (PHP 8.1 or newer)"
    )]
    Unreliable,
    /// A trap would end its processes.
    #[error("opcache.huge_code_pages is on: PHP moves its code, and a probe in it would kill the process")]
    MovingCode,
    /// Attaching would wait for a process, and all forks of the machine with it.
    #[error("process {0}, which runs it, is not answering, and attaching would wait for it")]
    HeldUp(u32),
    /// Attaching waited for a process, and all forks of the machine with it.
    #[error(
        "attaching waited {0} ms for the memory of its processes, and all forks of the machine with it; nothing more is attached"
    )]
    Slow(u128),
}

/// What to type where PHP moves its code.
const STAY: &str = "set opcache.huge_code_pages=0 and restart PHP";

impl Missing {
    /// The status of a tier that is missing for this reason.
    pub(crate) fn status(&self) -> TierStatus {
        TierStatus::unavailable(self).with_hint(self.hint().into_iter().collect())
    }

    /// It contains no path: pasting a hint must never run the name of a hostile file.
    fn hint(&self) -> Option<String> {
        match self {
            Self::Programs | Self::Kernel(_) | Self::ThreadState | Self::Pages => {
                Some("tusktop doctor says what this kernel lacks".to_owned())
            }
            Self::Threads | Self::Globals | Self::Layout(_) | Self::Version => Some(format!(
                "tusktop reads stacks of PHP {}, of thread-safe builds (ZTS) from 8.0 on",
                versions::range()
            )),
            Self::MovingCode => Some(STAY.to_owned()),
            Self::Requests => {
                Some("`readelf -n` on that file shows whether it has probes of the provider php".to_owned())
            }
            Self::Architecture
            | Self::Unusable(_)
            | Self::Probe(_)
            | Self::Function(_)
            | Self::Heap
            | Self::ThreadHeaps
            | Self::TracedThreads
            | Self::Sites { .. }
            | Self::LayoutAndProbe(_)
            | Self::HeldUp(_)
            | Self::Slow(_)
            | Self::Unreliable => None,
        }
    }
}
