//! How often each exception and error happened in which request. Whoever adds them up by route knows what a route is.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tusktop_shared::{ContentKey, Count, CountKey, failure_of, sizes};

use crate::collect::php::tier::requests::{RequestText, Requests};

/// Kept between two ticks; more of them are in the counts of their places alone.
const KEPT: usize = 4 * sizes::FAILED as usize;

/// How often something happened in one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestFailures {
    /// Process.
    pub pid: u32,
    /// The request; `None` outside of any.
    pub request: Option<Arc<RequestText>>,
    /// Times.
    pub count: u64,
    /// Those of them that were silenced.
    pub silenced: u64,
}

/// What was counted since it was last taken.
#[derive(Debug, Default)]
pub(crate) struct ByRequest(HashMap<Happened, RequestFailures>);

/// Place, process and start of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Happened {
    place: ContentKey,
    pid: u32,
    started_ns: u64,
}

impl ByRequest {
    /// Adds what the programs counted. What belongs to a request of which nothing is known is left out.
    pub(crate) fn add(&mut self, counts: impl IntoIterator<Item = (CountKey, Count)>, requests: &Requests) {
        for (key, count) in counts {
            let Some(place) = failure_of(key.stack) else { continue };
            let request = requests.of(key.pid, key.request);
            if key.request != 0 && request.is_none() {
                continue;
            }
            let place = ContentKey::new(place, key.user);
            let happened = Happened { place, pid: key.pid, started_ns: key.request };
            if self.0.len() >= KEPT && !self.0.contains_key(&happened) {
                continue;
            }
            let none = RequestFailures { pid: key.pid, request, count: 0, silenced: 0 };
            let known = self.0.entry(happened).or_insert(none);
            known.count += count.samples;
            known.silenced += count.waits;
        }
    }

    /// What was counted of these places since the last call. The rest stays, if its place `is_known`.
    pub(super) fn take(
        &mut self,
        places: impl Iterator<Item = ContentKey>,
        is_known: impl Fn(ContentKey) -> bool,
    ) -> HashMap<ContentKey, Vec<RequestFailures>> {
        let places: HashSet<ContentKey> = places.collect();
        let mut taken: HashMap<ContentKey, Vec<RequestFailures>> = HashMap::new();
        for (happened, failures) in self.0.extract_if(|happened, _| places.contains(&happened.place)) {
            taken.entry(happened.place).or_default().push(failures);
        }
        self.0.retain(|happened, _| is_known(happened.place));
        taken
    }
}
