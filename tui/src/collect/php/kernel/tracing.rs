//! The maps of the exact tier: threads that are traced, and the sums of their calls.

use aya::maps::{Array, HashMap as BpfHashMap, MapData};
use tusktop_shared::{CallFrame, CallKey, Calls, Traced};

use super::KernelError;
use crate::collect::php::wire::{self, Wire};

/// Entries of the map of sums.
const SUMS: usize = 16_384;

/// Where a thread's calls are found.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// Address of `executor_globals` in the process.
    pub executor_globals: u64,
    /// Offsets of its PHP version, as in `tusktop_shared::Image`.
    pub current_execute_data: u32,
    /// See `current_execute_data`.
    pub previous_execute_data: u32,
    /// See `current_execute_data`.
    pub filename: u32,
    /// Offset of the stack pointer in the saved registers.
    pub stack_pointer: u32,
}

/// Slots of traced threads, and sums.
pub struct Tracing {
    traced: Array<MapData, Wire<Traced>>,
    sums: BpfHashMap<MapData, Wire<CallKey>, Wire<Calls>>,
    generation: u32,
}

impl Tracing {
    /// Nothing is traced yet.
    pub fn new(traced: Array<MapData, Wire<Traced>>, sums: BpfHashMap<MapData, Wire<CallKey>, Wire<Calls>>) -> Self {
        Self { traced, sums, generation: 1 }
    }

    /// Prepares a slot, before its probes are attached.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn prepare(&mut self, slot: u32, subject: &Subject) -> Result<(), KernelError> {
        let Some(mut traced) = wire::read::<Traced>(&vec![0; size_of::<Traced>()]) else { return Ok(()) };
        traced.executor_globals = subject.executor_globals;
        traced.current_execute_data = subject.current_execute_data;
        traced.previous_execute_data = subject.previous_execute_data;
        traced.filename = subject.filename;
        traced.stack_pointer = subject.stack_pointer;
        traced.generation = self.generation;
        traced.used = 1;
        self.traced.set(slot, Wire(traced), 0).map_err(|source| KernelError::Map { name: "TRACED", source })
    }

    /// The calls of a slot that have not returned, outermost first, once its probes are gone.
    pub fn open_calls(&self, slot: u32) -> Vec<CallFrame> {
        let Ok(Wire(traced)) = self.traced.get(&slot, 0) else { return Vec::new() };
        let mut open = Vec::new();
        for region in traced.regions {
            let from = open.len();
            let mut index = region.top as usize;
            while let Some(frame) = traced.frames.get(index).filter(|_| index != 0 && open.len() < traced.frames.len())
            {
                let mut frame = *frame;
                // Time that a suspended fiber is away is not its own; what has passed since it left was not added yet.
                frame.away_ns = region.away_ns.wrapping_sub(frame.away_ns);
                open.push(frame);
                index = frame.below as usize;
            }
            open[from..].reverse();
        }
        open
    }

    /// The sums of all calls since the slots were prepared.
    pub fn sums(&self) -> impl Iterator<Item = (CallKey, Calls)> {
        self.sums.iter().take(2 * SUMS).flatten().map(|(key, calls)| (key.0, calls.0))
    }

    /// Forgets the sums of a slot.
    pub fn forget(&mut self, slot: u32) {
        let keys: Vec<_> = self.sums.keys().flatten().filter(|key| key.0.slot == slot).collect();
        for key in keys {
            let _ = self.sums.remove(&key);
        }
    }

    /// Names are looked for again: their map was emptied. Threads that are traced now are told at their next slot.
    pub fn forget_names(&mut self) {
        self.generation = self.generation.wrapping_mul(0x9e37_79b1).wrapping_add(1);
    }
}
