//! What tracing costs: the price of one hit, measured on a function of tusktop, and what follows from it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tusktop_shared::call;

use crate::collect::{
    php::{
        find::maps,
        image::sites::ProbeSite,
        kernel::{Kernel, KernelError, Target},
    },
    procfs::Procfs,
};

/// Hits that are timed, in rounds of which the fastest counts: what is slower was interrupted.
const HITS: u32 = 200;
const ROUNDS: u32 = 5;

/// A USDT site is a `nop`, which the kernel does not need to step over.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
extern "C" fn site() {
    core::arch::naked_asm!("nop", "ret")
}

#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
extern "C" fn site() {
    core::arch::naked_asm!("nop", "ret")
}

/// The time that a hit of a probe takes without what its program does: the way into the kernel and back.
///
/// # Errors
/// The probe cannot be attached to this program.
pub(crate) fn hit(kernel: &mut Kernel) -> Result<Duration, KernelError> {
    let address = site as *const () as u64;
    let offset = offset_of(address).ok_or(KernelError::Missing("mapping of this program"))?;
    let probe = ProbeSite { address, offset, semaphore: 0, arguments: Default::default() };
    let target = Target { image: 0, path: Path::new("/proc/self/exe"), pid: None };
    let attached = kernel.attach_calls(target, &[(u64::from(call::NOTHING), &probe)])?;
    let fastest = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..HITS {
                std::hint::black_box(site as extern "C" fn())();
            }
            began.elapsed()
        })
        .min()
        .unwrap_or_default();
    drop(attached);
    Ok(fastest / HITS)
}

/// Offset in this program's file of an address in it.
fn offset_of(address: u64) -> Option<u64> {
    let mappings = maps::of(&Procfs::default(), std::process::id()).ok()?;
    let mapping = mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&address))?;
    Some(mapping.offset + (address - mapping.start))
}

/// What tracing one worker costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Price {
    /// Calls in a second of CPU time of PHP.
    pub calls_per_cpu_s: f64,
    /// What tracing one call takes, in seconds.
    pub call_s: f64,
}

impl Price {
    /// From calls that were counted while PHP used so much CPU time, the counting included.
    pub(crate) fn of(calls: u64, cpu: Duration, counted_s: f64, call_s: f64) -> Self {
        let own = cpu.as_secs_f64() - calls as f64 * counted_s;
        // Most of the time was ours: the rest cannot be told well, but is not nothing.
        let own = own.max(cpu.as_secs_f64() / 20.0);
        let calls_per_cpu_s = if own > 0.0 { calls as f64 / own } else { 0.0 };
        Self { calls_per_cpu_s, call_s }
    }

    /// How many times longer PHP takes while all its calls are traced.
    pub(crate) fn slowdown(&self) -> f64 {
        1.0 + self.calls_per_cpu_s * self.call_s
    }

    /// The part of a busy worker's CPU time that goes into tracing while it is traced.
    pub(crate) fn share(&self) -> f64 {
        1.0 - 1.0 / self.slowdown()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_of_our_own_is_in_our_file() {
        let offset = offset_of(site as *const () as u64).unwrap();
        let file = std::fs::read("/proc/self/exe").unwrap();
        let nop: &[u8] = if cfg!(target_arch = "x86_64") { &[0x90, 0xc3] } else { &[0x1f, 0x20, 0x03, 0xd5] };
        assert!(file[offset as usize..].starts_with(nop));
        assert_eq!(offset_of(1), None);
    }

    #[test]
    fn a_million_calls_a_second_at_a_microsecond_make_it_twice_as_slow() {
        let price = Price::of(100_000, Duration::from_millis(150), 0.5e-6, 1e-6);
        assert!((price.calls_per_cpu_s - 1e6).abs() < 1.0);
        assert!((price.slowdown() - 2.0).abs() < 1e-9 && (price.share() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn counting_that_took_nearly_all_the_time_gives_a_bound_not_nonsense() {
        let price = Price::of(1_000_000, Duration::from_millis(100), 1e-6, 1e-6);
        assert!(price.calls_per_cpu_s.is_finite() && price.calls_per_cpu_s > 0.0);
        assert_eq!(Price::of(0, Duration::ZERO, 1e-6, 1e-6).slowdown(), 1.0);
    }
}
