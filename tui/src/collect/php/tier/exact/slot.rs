//! One traced process: attaches its probes and prepares its place in the programs' maps, and removes both again.

use std::time::Instant;

use tusktop_shared::call;

use super::{
    sites,
    sums::Sums,
    workers::{self, Candidate},
};
use crate::{
    collect::{
        php::{
            collector::monotonic,
            find::discover::Found,
            image::operand::Architecture,
            kernel::{Kernel, Subject, Target, attach::Attachment},
            tier::Missing,
        },
        procfs::Procfs,
    },
    model::ExactKind,
};

/// A process whose calls are traced or counted.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The process, with its CPU time when it was attached.
    pub candidate: Candidate,
    /// Since when.
    pub since: Instant,
    attachments: Vec<Attachment>,
}

impl Slot {
    /// Attaches the probes of a kind; of the entries alone, and for another purpose, when `only` says so.
    ///
    /// # Errors
    /// The image has no such probes, or the kernel refuses.
    pub(crate) fn attach(
        kernel: &mut Kernel,
        found: &Found,
        kind: ExactKind,
        number: u32,
        mut candidate: Candidate,
        now: Instant,
        only: Option<u32>,
    ) -> Result<Self, Missing> {
        let architecture = Architecture::current().ok_or(Missing::Architecture)?;
        let sites = sites::of(&found.image.sites, kind)?;
        let entry = sites.iter().find(|(kind, _)| matches!(*kind, call::FUNCTION | call::COMPILE));
        let arguments = entry.map(|(_, site)| &site.arguments);
        let remembers = found.image.offsets.is_some_and(|offsets| offsets.tells_traits);
        kernel.tracing.prepare(number, Subject { pid: candidate.pid, architecture, arguments, remembers })?;
        let wanted = sites.iter().filter(|(kind, _)| only.is_none() || *kind != call::RETURN);
        let sites: Vec<_> = wanted.map(|(kind, site)| (u64::from(only.unwrap_or(*kind) | number << 8), site)).collect();
        let path = found.handle();
        let target = Target { image: candidate.image as u32, path: &path, pid: Some(candidate.pid) };
        let attachments = kernel.attach_calls(target, &sites)?;
        candidate.active_ns = workers::cpu_time(&Procfs::default(), candidate.pid);
        Ok(Self { candidate, since: now, attachments })
    }

    /// CPU time that the process has used since it is traced, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> u64 {
        workers::cpu_time(&Procfs::default(), self.candidate.pid).saturating_sub(self.candidate.active_ns)
    }

    /// Hands over what is left in the maps. Returns the probes, which are detached when they are dropped; they are not to be hit
    /// any more by then.
    pub(crate) fn end(self, kernel: &mut Kernel, number: u32, sums: &mut Sums) -> Vec<Attachment> {
        let Self { candidate, attachments, .. } = self;
        kernel.set_traced(candidate.pid, None);
        sums.read(kernel.tracing.sums());
        if let Some(traced) = kernel.tracing.traced(number) {
            sums.cut(&traced, monotonic());
        }
        kernel.tracing.forget(number);
        sums.forget(number);
        attachments
    }

    /// Detaches the probes.
    pub(crate) fn detach(&mut self) {
        self.attachments.clear();
    }
}
