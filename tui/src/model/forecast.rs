//! When memory that grows reaches its limit.

use super::{Cgroup, Request, Snapshot};

/// What would take longer than a day is not told: noise looks like it.
const LONGEST_S: u64 = 24 * 60 * 60;

/// A limit that is reached if memory goes on growing as it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// Seconds until then.
    pub seconds: u64,
    /// Which limit.
    pub limit: ForecastLimit,
}

/// What a limit is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForecastLimit {
    /// `memory_limit` of PHP.
    Php,
    /// The control group.
    Cgroup,
}

impl Forecast {
    fn new(growth_bytes_per_minute: Option<i64>, room_bytes: Option<u64>, limit: ForecastLimit) -> Option<Self> {
        let growth = u64::try_from(growth_bytes_per_minute?).ok().filter(|growth| *growth > 0)?;
        let seconds = u64::try_from(u128::from(room_bytes?) * 60 / u128::from(growth)).ok()?;
        (seconds <= LONGEST_S).then_some(Self { seconds, limit })
    }
}

impl Request {
    /// When it reaches `memory_limit`; `None` where it does not grow, there is no limit, or that is not known.
    pub fn forecast(&self) -> Option<Forecast> {
        let room = self.memory_limit_bytes.zip(self.memory_bytes).map(|(limit, bytes)| limit.saturating_sub(bytes));
        Forecast::new(self.growth_bytes_per_minute, room, ForecastLimit::Php)
    }
}

impl Cgroup {
    /// When it reaches its limit; `None` where it does not grow, there is no limit, or that is not known.
    pub fn forecast(&self) -> Option<Forecast> {
        Forecast::new(self.growth_bytes_per_minute, self.memory_available_bytes, ForecastLimit::Cgroup)
    }
}

impl Snapshot {
    /// Which limit a request that runs reaches first, its own or that of its control group.
    pub fn forecast(&self, request: &Request) -> Option<Forecast> {
        let of_cgroup = self.cgroup_of(request.pid).filter(|_| !request.finished).and_then(Cgroup::forecast);
        request.forecast().into_iter().chain(of_cgroup).min_by_key(|forecast| forecast.seconds)
    }

    /// The control group that a process is in.
    pub fn cgroup_of(&self, pid: u32) -> Option<&Cgroup> {
        let index = self.processes.binary_search_by_key(&pid, |process| process.pid).ok()?;
        self.cgroups.get(self.processes[index].cgroup?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_limit_is_reached_when_what_is_left_has_grown_away() {
        let at = |growth: Option<i64>, room| Forecast::new(growth, room, ForecastLimit::Php).map(|it| it.seconds);
        let mib = MIB as i64;
        assert_eq!(at(Some(4 * mib), Some(160 * MIB)), Some(40 * 60));
        assert_eq!(at(Some(4 * mib), Some(0)), Some(0));
        for growth in [None, Some(0), Some(-mib)] {
            assert_eq!(at(growth, Some(MIB)), None);
        }
        assert_eq!(at(Some(mib), None), None);
        assert_eq!(at(Some(1), Some(u64::MAX)), None, "longer than a day");
    }
}
