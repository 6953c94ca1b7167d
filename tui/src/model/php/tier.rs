//! The ways to observe PHP ([`Tier`]), with their words, and the state of each for one image ([`Tiers`]).
//! All that says something about tiers goes through [`Tier::ALL`]: `doctor`, `snap`, the notices and the empty panes.

use std::{
    fmt,
    ops::{Index, IndexMut},
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use crate::model::Level;

/// A way to observe PHP. The order is that of every list of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Requests by their start and end.
    Requests,
    /// Stacks by a timer.
    Sampling,
    /// Waiting time, by the switches of the scheduler.
    Waiting,
    /// Exceptions.
    Exceptions,
    /// Errors: warnings, notices, fatal errors and so on.
    Errors,
    /// Files that PHP compiles.
    Compiles,
    /// The most memory that each request had.
    Peaks,
    /// What makes processes grow.
    Growth,
    /// Every call of a function.
    Exact,
}

impl Tier {
    /// All tiers, in order.
    pub const ALL: [Self; 9] = [
        Self::Requests,
        Self::Sampling,
        Self::Waiting,
        Self::Exceptions,
        Self::Errors,
        Self::Compiles,
        Self::Peaks,
        Self::Growth,
        Self::Exact,
    ];

    /// The word for it in JSON, in `doctor` and, in capitals, in the tables of `snap`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Sampling => "sampling",
            Self::Waiting => "waiting",
            Self::Exceptions => "exceptions",
            Self::Errors => "errors",
            Self::Compiles => "compiles",
            Self::Peaks => "peaks",
            Self::Growth => "growth",
            Self::Exact => "exact",
        }
    }

    /// What it shows, in the plural: the subject of a sentence.
    pub fn shows(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Sampling => "stacks",
            Self::Waiting => "waits",
            Self::Exceptions => "exceptions",
            Self::Errors => "errors",
            Self::Compiles => "compiled files",
            Self::Peaks => "peaks of memory",
            Self::Growth => "growth of memory",
            Self::Exact => "calls",
        }
    }

    /// The sentence of an empty pane whose tier is not on.
    pub fn unseen(self) -> &'static str {
        match self {
            Self::Requests => "requests are not seen",
            Self::Sampling => "PHP is not sampled",
            Self::Waiting => "waits are not seen",
            Self::Exceptions => "exceptions are not seen",
            Self::Errors => "errors are not seen",
            Self::Compiles => "compiled files are not seen",
            Self::Peaks => "the memory of requests is not seen",
            Self::Growth => "what makes memory grow is not seen",
            Self::Exact => "no calls are traced",
        }
    }

    /// How much it matters that it is unavailable; `None` where that gives no notice of its own: waiting time and growth fail
    /// with the stacks, what has no peak shows it where it is looked for, and calls are traced only for those who ask, who are told then.
    pub fn importance(self) -> Option<Level> {
        match self {
            Self::Requests | Self::Sampling => Some(Level::Warning),
            Self::Exceptions | Self::Errors | Self::Compiles => Some(Level::Info),
            Self::Waiting | Self::Peaks | Self::Growth | Self::Exact => None,
        }
    }

    /// It is off until somebody asks for it.
    pub fn is_on_demand(self) -> bool {
        self == Self::Exact
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
    }
}

/// Whether a tier works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TierState {
    /// Observing.
    On,
    /// Not observing for some seconds: counting all would slow PHP down.
    Resting,
    /// Possible, but not switched on.
    Off,
    /// Not possible here; the reason says why.
    Unavailable,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// What something is seen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeenBy {
    /// Statically defined probes (USDT) of the image.
    Usdt,
    /// Exported functions of the image.
    Symbol,
    /// The scheduler's switches between threads.
    SchedSwitch,
    /// A timer on every CPU.
    Timer,
    /// Page faults of every CPU.
    PageFaults,
    /// Something that a newer version knows.
    #[serde(other)]
    Unknown,
}

/// State of one tier for one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierStatus {
    /// State.
    pub state: TierState,
    /// What it is seen by; `None` when it is not on. Older versions called it `source`.
    #[serde(default, alias = "source")]
    pub seen_by: Option<SeenBy>,
    /// Why it is not on or, when it is, what it does not show; empty when it shows all.
    #[serde(default)]
    pub reason: String,
    /// What to type or change so that it works, line by line; empty where nothing helps or nothing is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hint: Vec<String>,
    /// Samples per second and CPU, of a tier that is seen by a timer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hz: Option<u32>,
    /// For how much of the time it was counted since there was more of it than may be counted; `None` where all is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_percent: Option<u8>,
}

impl TierStatus {
    /// It observes all that there is.
    pub fn on(seen_by: SeenBy) -> Self {
        Self {
            state: TierState::On,
            seen_by: Some(seen_by),
            reason: String::new(),
            hint: Vec::new(),
            hz: None,
            counted_percent: None,
        }
    }

    /// It works but is not switched on, and why.
    pub fn off(reason: impl fmt::Display) -> Self {
        Self {
            state: TierState::Off,
            seen_by: None,
            reason: reason.to_string(),
            hint: Vec::new(),
            hz: None,
            counted_percent: None,
        }
    }

    /// It does not work here, and why.
    pub fn unavailable(reason: impl fmt::Display) -> Self {
        Self { state: TierState::Unavailable, ..Self::off(reason) }
    }

    /// The same with what to type.
    pub fn with_hint(self, hint: Vec<String>) -> Self {
        Self { hint, ..self }
    }

    /// The same, but it does not show all.
    pub fn limited(self, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..self }
    }

    /// The same, but it was counted only for a part of the time, in percent, because there is too much of it.
    pub fn counted(self, percent: u8) -> Self {
        let reason =
            format!("counted {percent} % of the time, because counting all would slow PHP down; numbers are too low");
        Self { counted_percent: Some(percent), ..self.limited(reason) }
    }

    /// How it is seen, in words; empty where there is nothing to say.
    pub fn how(&self) -> String {
        match (self.hz, self.seen_by) {
            (Some(hz), _) => format!("{hz} times per second and CPU"),
            (None, Some(SeenBy::Usdt)) => "through its USDT probes".to_owned(),
            (None, Some(SeenBy::Symbol)) => "through its exported functions".to_owned(),
            (None, Some(SeenBy::SchedSwitch)) => "at each context switch".to_owned(),
            (None, Some(SeenBy::PageFaults)) => "at page faults".to_owned(),
            (None, Some(SeenBy::Timer | SeenBy::Unknown) | None) => String::new(),
        }
    }
}

impl Default for TierStatus {
    fn default() -> Self {
        Self::unavailable("not collected")
    }
}

/// The status of every tier for one image.
///
/// In JSON it is an object with an entry for each, in order. A tier that is not there was not collected; one that this
/// version does not know is passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tiers([TierStatus; Tier::ALL.len()]);

impl Tiers {
    /// The status of each tier.
    pub fn new(status: impl FnMut(Tier) -> TierStatus) -> Self {
        Self(Tier::ALL.map(status))
    }

    /// All tiers with their status, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Tier, &TierStatus)> {
        Tier::ALL.into_iter().zip(&self.0)
    }

    /// Whether a tier observes, at least most of the time.
    pub fn is_on(&self, tier: Tier) -> bool {
        matches!(self[tier].state, TierState::On | TierState::Resting)
    }
}

impl Index<Tier> for Tiers {
    type Output = TierStatus;

    fn index(&self, tier: Tier) -> &TierStatus {
        &self.0[tier as usize]
    }
}

impl IndexMut<Tier> for Tiers {
    fn index_mut(&mut self, tier: Tier) -> &mut TierStatus {
        &mut self.0[tier as usize]
    }
}

impl Serialize for Tiers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(tier, status)| (tier.name(), status)))
    }
}

impl<'de> Deserialize<'de> for Tiers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByName;

        impl<'de> Visitor<'de> for ByName {
            type Value = Tiers;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of tiers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tiers, A::Error> {
                let mut tiers = Tiers::default();
                while let Some(name) = map.next_key::<String>()? {
                    match Tier::named(&name) {
                        Some(tier) => tiers[tier] = map.next_value()?,
                        None => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(tiers)
            }
        }

        deserializer.deserialize_map(ByName)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_tier_has_a_place_and_words_of_its_own() {
        for (place, tier) in Tier::ALL.into_iter().enumerate() {
            assert_eq!((tier as usize, Tier::named(tier.name())), (place, Some(tier)));
            let alike = Tier::ALL.into_iter().filter(|other| {
                other.name() == tier.name() || other.shows() == tier.shows() || other.unseen() == tier.unseen()
            });
            assert_eq!(alike.count(), 1, "{tier:?}");
        }
    }

    #[test]
    fn every_tier_is_in_json_and_reads_back() {
        let tiers = Tiers::new(|tier| TierStatus::unavailable(tier.unseen()).with_hint(vec!["type this".to_owned()]));
        let json = serde_json::to_value(&tiers).unwrap();
        for tier in Tier::ALL {
            assert_eq!(
                (&json[tier.name()]["state"], &json[tier.name()]["reason"]),
                (&"unavailable".into(), &tier.unseen().into())
            );
        }
        assert_eq!(json.as_object().map(serde_json::Map::len), Some(Tier::ALL.len()));
        assert_eq!(serde_json::from_value::<Tiers>(json).unwrap(), tiers);
    }

    #[test]
    fn what_older_and_newer_versions_write_is_read() {
        let read = |json: Value| serde_json::from_value::<Tiers>(json).unwrap();
        let old = read(json!({
            "requests": { "state": "on", "source": "usdt", "reason": "" },
            "sampling": { "state": "on", "hz": 99 },
            "exact": { "state": "off", "reason": "on demand" },
        }));
        assert_eq!((old[Tier::Requests].seen_by, old[Tier::Sampling].hz), (Some(SeenBy::Usdt), Some(99)));
        assert_eq!(old[Tier::Exact], TierStatus::off("on demand"));
        assert_eq!(old[Tier::Errors], TierStatus::unavailable("not collected"));
        let new = read(json!({
            "allocations": { "state": "partly", "per": [1, 2] },
            "errors": { "state": "on", "seen_by": "fentry" },
        }));
        assert_eq!(new[Tier::Errors], TierStatus::on(SeenBy::Unknown));
        assert!(!new.is_on(Tier::Requests));
    }
}
