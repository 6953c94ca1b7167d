//! What of tusktop is in the kernel: its programs, what they are attached to, and what its maps hold.

use std::collections::BTreeSet;

use aya::{
    maps::{HashMap, Map, MapData, loaded_maps},
    programs::{loaded_links, loaded_programs},
};

/// The programs that trace calls.
pub const TRACING: [&str; 2] = ["call_entry", "call_return"];

/// Programs, maps and links that were there before, of another tusktop or of none.
pub struct Before {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
}

impl Before {
    /// Looks at what is there now.
    pub fn now() -> Self {
        Self { programs: programs(|_| true), maps: loaded_maps().flatten().map(|map| map.id()).collect() }
    }

    /// How many links hold one of the programs of these names that came since.
    pub fn links(&self, names: &[&str]) -> usize {
        let ours = &programs(|name| names.contains(&name)) - &self.programs;
        loaded_links().flatten().filter(|link| ours.contains(&link.program_id())).count()
    }

    /// Whether a program of one of these names came since.
    pub fn has_new(&self, names: &[&str]) -> bool {
        !programs(|name| names.contains(&name)).is_subset(&self.programs)
    }

    /// Keys by pid << 32 | tid in maps of this name that came since; their values are a `V`.
    pub fn threads<const V: usize>(&self, name: &str) -> Vec<u64> {
        let new = loaded_maps()
            .flatten()
            .filter(|map| map.name_as_str() == Some(name) && !self.maps.contains(&map.id()))
            .map(|map| map.id());
        let mut keys = Vec::new();
        for id in new {
            let map = Map::HashMap(MapData::from_id(id).unwrap());
            let map: HashMap<MapData, u64, [u8; V]> = map.try_into().unwrap();
            // An entry that goes away makes the kernel start over.
            keys.extend(map.keys().take(10_000).flatten());
        }
        keys
    }
}

fn programs(wanted: impl Fn(&str) -> bool) -> BTreeSet<u32> {
    loaded_programs().flatten().filter(|p| p.name_as_str().is_some_and(&wanted)).map(|p| p.id()).collect()
}
