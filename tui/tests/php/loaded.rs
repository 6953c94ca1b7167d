//! What of tusktop is in the kernel: its programs, what they are attached to, and what its maps hold.

use std::{collections::BTreeSet, fs};

use aya::{
    maps::{HashMap, Map, MapData, loaded_maps},
    programs::{loaded_links, loaded_programs},
};

/// The programs that trace calls.
pub const TRACING: [&str; 2] = ["call_entry", "call_return"];

/// Ids of programs and maps.
#[derive(Debug, Default)]
pub struct Ids {
    pub programs: BTreeSet<u32>,
    pub maps: BTreeSet<u32>,
}

/// What a process holds by its open files; nothing when it has ended.
pub fn held_by(pid: u32) -> Ids {
    let mut ids = Ids::default();
    for file in fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(file.path()).unwrap_or_default();
        let value = |key| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u32>().ok());
        ids.programs.extend(value("prog_id:"));
        ids.maps.extend(value("map_id:"));
    }
    ids
}

/// What other processes hold, such as another tusktop.
fn held_by_others() -> Ids {
    let mut ids = Ids::default();
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for held in pids.filter(|&pid| pid != std::process::id()).map(held_by) {
        ids.programs.extend(held.programs);
        ids.maps.extend(held.maps);
    }
    ids
}

/// Programs and maps that were there before, of another tusktop or of none.
pub struct Before(Ids);

impl Before {
    /// Looks at what is there now.
    pub fn now() -> Self {
        Self(Ids { programs: programs(|_| true), maps: loaded_maps().flatten().map(|map| map.id()).collect() })
    }

    /// Programs of these names that came since and are not another process's.
    pub fn programs(&self, names: &[&str]) -> BTreeSet<u32> {
        let new = &programs(|name| names.contains(&name)) - &self.0.programs;
        // That of others is only looked for where there is something: it takes a look at every process.
        if new.is_empty() { new } else { &new - &held_by_others().programs }
    }

    /// How many links hold one of the programs of these names that came since.
    pub fn links(&self, names: &[&str]) -> usize {
        let ours = self.programs(names);
        loaded_links().flatten().filter(|link| ours.contains(&link.program_id())).count()
    }

    /// Whether a program of one of these names came since.
    pub fn has_new(&self, names: &[&str]) -> bool {
        !self.programs(names).is_empty()
    }

    /// Keys by pid << 32 | tid in maps of this name that came since; their values are a `V`.
    pub fn threads<const V: usize>(&self, name: &str) -> Vec<u64> {
        let maps = loaded_maps().flatten().filter(|map| map.name_as_str() == Some(name)).map(|map| map.id());
        let new = &maps.collect::<BTreeSet<_>>() - &self.0.maps;
        let mut keys = Vec::new();
        for id in &new - &held_by_others().maps {
            let map = Map::HashMap(MapData::from_id(id).unwrap());
            let map: HashMap<MapData, u64, [u8; V]> = map.try_into().unwrap();
            // An entry that goes away makes the kernel start over.
            keys.extend(map.keys().take(10_000).flatten());
        }
        keys
    }
}

/// Ids of all programs of a name that is wanted.
pub fn programs(wanted: impl Fn(&str) -> bool) -> BTreeSet<u32> {
    loaded_programs().flatten().filter(|p| p.name_as_str().is_some_and(&wanted)).map(|p| p.id()).collect()
}
