//! The maps of the exact tier: threads that are traced, and the sums of their calls.

use aya::maps::{Array, HashMap as BpfHashMap, MapData};
use tusktop_shared::{Argument, CallKey, Calls, Operand, Traced, sizes};

use super::KernelError;
use crate::collect::{
    bpf::wire::{self, Wire},
    php::image::operand::Architecture,
};

/// What is traced in a slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub pid: u32,
    /// Of the saved registers.
    pub architecture: Architecture,
    /// Arguments of the entry probe of functions, or of files that are compiled.
    pub arguments: Option<&'a [Operand; 4]>,
    /// Keys of functions can be remembered by those.
    pub remembers: bool,
}

/// Slots of traced threads, and sums.
pub(crate) struct Tracing {
    traced: Array<MapData, Wire<Traced>>,
    sums: BpfHashMap<MapData, Wire<CallKey>, Wire<Calls>>,
    generations: Array<MapData, u32>,
    generation: u32,
}

impl Tracing {
    /// Nothing is traced yet.
    pub(crate) fn new(
        traced: Array<MapData, Wire<Traced>>,
        sums: BpfHashMap<MapData, Wire<CallKey>, Wire<Calls>>,
        generations: Array<MapData, u32>,
    ) -> Self {
        Self { traced, sums, generations, generation: 0 }
    }

    /// Prepares a slot for a process, before its probes are attached.
    ///
    /// # Errors
    /// The map cannot be written.
    pub(crate) fn prepare(&mut self, slot: u32, subject: Subject<'_>) -> Result<(), KernelError> {
        let Some(mut traced) = wire::read::<Traced>(&vec![0; size_of::<Traced>()]) else { return Ok(()) };
        traced.pid = subject.pid;
        traced.stack_pointer = subject.architecture.stack_pointer();
        traced.register_bytes = subject.architecture.register_bytes();
        if let Some(arguments) = subject.arguments {
            traced.remembers = u32::from(subject.remembers);
            traced.arguments = arguments.map(|argument| Argument::of(&argument));
        }
        traced.request = 1;
        traced.used = 1;
        self.traced.set(slot, Wire(traced), 0).map_err(|source| KernelError::Map { name: "TRACED", source })
    }

    /// What the programs keep of a slot.
    pub(crate) fn traced(&self, slot: u32) -> Option<Box<Traced>> {
        self.traced.get(&slot, 0).ok().map(|traced| Box::new(traced.0))
    }

    /// The sums of all calls since the slots were prepared.
    pub(crate) fn sums(&self) -> impl Iterator<Item = (CallKey, Calls)> {
        self.sums.iter().take(2 * sizes::CALLS as usize).flatten().map(|(key, calls)| (key.0, calls.0))
    }

    /// Forgets the sums of a slot.
    pub(crate) fn forget(&mut self, slot: u32) {
        let keys: Vec<_> = self.sums.keys().flatten().filter(|key| key.0.slot == slot).collect();
        for key in keys {
            let _ = self.sums.remove(&key);
        }
    }

    /// Has the programs look for names again, because their map was emptied.
    pub(crate) fn forget_names(&mut self) {
        self.generation = self.generation.wrapping_mul(0x9e37_79b1).wrapping_add(1);
        // A program that does not see it keeps names as unknown until the next time; nothing else depends on it.
        let _ = self.generations.set(0, self.generation, 0);
    }
}
