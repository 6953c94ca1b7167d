//! The maps of exceptions, errors and compiled files: tallies by key, what the keys stand for, and messages.

use aya::{Ebpf, maps::HashMap as BpfHashMap, maps::IterableMap as _, maps::MapData};
use tusktop_shared::{Compiled, ContentKey, Failure, Message, Tally, sizes};

use super::KernelError;
use crate::collect::bpf::{
    batch::Batch,
    wire::{Plain, Wire},
};

/// Tallies and the texts of their keys.
pub(crate) struct Tallies<T: Plain> {
    tallies: BpfHashMap<MapData, Wire<ContentKey>, Wire<Tally>>,
    texts: BpfHashMap<MapData, Wire<ContentKey>, Wire<T>>,
    /// Most entries that fit.
    pub room: usize,
}

impl<T: Plain> Tallies<T>
where
    Wire<T>: aya::Pod,
{
    fn take(ebpf: &mut Ebpf, tallies: &'static str, texts: &'static str, room: usize) -> Result<Self, KernelError> {
        Ok(Self { tallies: map::<Tally>(ebpf, tallies)?, texts: map::<T>(ebpf, texts)?, room })
    }

    /// All tallies. Bounded: an entry that goes away makes the kernel start over.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ContentKey, Tally)> {
        self.tallies.iter().take(2 * self.room).flatten().map(|(key, tally)| (key.0, tally.0))
    }

    /// What a key stands for.
    pub(crate) fn text(&self, key: ContentKey) -> Option<Box<T>> {
        self.texts.get(&Wire(key), 0).ok().map(|text| Box::new(text.0))
    }

    /// Forgets a key. The text goes first: a tally without a text could not be named.
    pub(crate) fn remove(&mut self, key: ContentKey) {
        let _ = self.texts.remove(&Wire(key));
        let _ = self.tallies.remove(&Wire(key));
    }
}

/// The maps of all kinds of failures.
pub(crate) struct FailureMaps {
    /// Exceptions and errors.
    pub failures: Tallies<Failure>,
    pub compiles: Tallies<Compiled>,
    messages: BpfHashMap<MapData, Wire<ContentKey>, Wire<Message>>,
    batch: Batch<Wire<ContentKey>, Wire<Message>>,
}

impl FailureMaps {
    /// Takes the maps out of the object.
    pub(crate) fn take(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            failures: Tallies::take(ebpf, "FAILURES", "FAILURE_TEXTS", sizes::FAILURES as usize)?,
            compiles: Tallies::take(ebpf, "COMPILES", "COMPILE_TEXTS", sizes::COMPILES as usize)?,
            messages: map::<Message>(ebpf, "MESSAGES")?,
            batch: Batch::new(),
        })
    }

    /// All messages by slot. None where they cannot be read: then places have the message of the first time alone.
    pub(crate) fn messages(&mut self) -> Vec<(ContentKey, Box<Message>)> {
        let mut messages = Vec::new();
        let _ = self.batch.look(self.messages.map(), |slot, message| messages.push((slot.0, Box::new(message.0))));
        messages
    }

    /// Lets another message have a slot.
    pub(crate) fn free(&mut self, slot: ContentKey) {
        let _ = self.messages.remove(&Wire(slot));
    }

    /// The user of each message.
    pub(super) fn users_of_messages(&mut self) -> Vec<u32> {
        self.messages.keys().take(2 * sizes::MESSAGES as usize).flatten().map(|slot| slot.0.user).collect()
    }
}

fn map<V: Plain>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<BpfHashMap<MapData, Wire<ContentKey>, Wire<V>>, KernelError>
where
    Wire<V>: aya::Pod,
{
    let map = ebpf.take_map(name).ok_or(KernelError::Missing(name))?;
    map.try_into().map_err(|source| KernelError::Map { name, source })
}
