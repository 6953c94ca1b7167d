//! Claims about the order, the budget and the limit, on a machine that is made up.

use proptest::prelude::*;

use super::*;
use crate::{
    collect::proc::pss::{remembered::Pss, rollup::Rollup},
    model::PssUnknown,
};

const MIB: u64 = 1 << 20;

/// Processes with their RSS; a reading costs some nanoseconds per page and 50 us.
struct Machine {
    schedule: Schedule,
    processes: Vec<(u64, Remembered)>,
    ns_per_page: u64,
    start: Instant,
    now: Instant,
    spent: Duration,
    costliest: Duration,
    outcome: Outcome,
}

impl Machine {
    fn new(options: PssOptions, sizes: impl IntoIterator<Item = u64>) -> Self {
        let start = Instant::now();
        Self {
            schedule: Schedule::new(options),
            processes: sizes.into_iter().map(|size| (size, Remembered::default())).collect(),
            ns_per_page: 60,
            start,
            now: start,
            spent: Duration::ZERO,
            costliest: Duration::ZERO,
            outcome: Outcome::Read(Rollup::default()),
        }
    }

    /// One pass; gives the places that were read, in order.
    fn pass(&mut self) -> Vec<usize> {
        self.schedule.begin(self.now);
        for (place, (rss_bytes, process)) in self.processes.iter_mut().enumerate() {
            self.schedule.offer(place, process, *rss_bytes, self.now);
        }
        let mut read = Vec::new();
        while let Some(place) = self.schedule.next() {
            let (rss_bytes, process) = &mut self.processes[place];
            let cpu = Duration::from_nanos(50_000 + *rss_bytes / PAGE * self.ns_per_page);
            let cost = Cost { cpu, elapsed: cpu };
            let attempt =
                Attempt { at: self.now, rss_bytes: *rss_bytes, anonymous_bytes: None, cost, outcome: self.outcome };
            self.schedule.pay(&attempt);
            process.keep(attempt);
            self.spent += cpu;
            self.costliest = self.costliest.max(cpu);
            read.push(place);
        }
        read
    }

    fn wait(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn pss(&self, place: usize) -> Pss {
        self.processes[place].1.pss(self.now, None)
    }

    fn age(&self, place: usize) -> Option<Duration> {
        match self.pss(place) {
            Pss::Known(_, age) => age,
            Pss::Unknown(_) => None,
        }
    }
}

fn second() -> Duration {
    Duration::from_secs(1)
}

#[test]
fn a_usual_server_is_known_at_once_and_then_rests() {
    let mut machine = Machine::new(PssOptions::default(), (0..100).map(|i| (2 + i % 10) * MIB));
    assert_eq!(machine.pass().len(), 100);
    for _ in 1..5 {
        assert!(machine.wait(second()).pass().is_empty(), "nothing has changed");
    }
    assert!(!machine.wait(second()).pass().is_empty());
}

#[test]
fn what_brings_nothing_new_is_read_less_and_less_until_it_changes() {
    let mut machine = Machine::new(PssOptions::default(), [50 * MIB]);
    let mut read_at = Vec::new();
    for passed in 0..120 {
        if !machine.pass().is_empty() {
            read_at.push(passed);
        }
        machine.wait(second());
    }
    assert_eq!(read_at, [0, 5, 15, 35, 75, 115]);
    machine.processes[0].0 += MIB;
    assert_eq!(machine.pass(), [0], "2 % more");
}

#[test]
fn the_biggest_is_read_first_and_then_what_has_changed_most() {
    let sizes = [5, 300, 20, 80, 600].map(|size| size * MIB);
    let mut machine = Machine::new(PssOptions::default(), sizes);
    assert_eq!(machine.pass(), [4, 1, 3, 2, 0]);
    for (place, change) in [(2, 30), (0, 4), (3, 25)] {
        machine.processes[place].0 += change * MIB;
    }
    assert_eq!(machine.wait(second()).pass(), [2, 3, 0], "the others have not changed and rest");
}

#[test]
fn memory_that_comes_and_goes_with_each_request_is_not_read_each_second() {
    let mut machine = Machine::new(PssOptions::default(), [80 * MIB]);
    let mut read_at = Vec::new();
    for passed in 0..10 {
        machine.processes[0].0 = (80 + passed % 2 * 10) * MIB;
        if !machine.pass().is_empty() {
            read_at.push(passed);
        }
        machine.wait(second());
    }
    assert_eq!(read_at, [0, 3, 6, 9]);
    machine.processes[0].0 = 160 * MIB;
    assert_eq!(machine.pass(), [0], "that is much more");
}

#[test]
fn two_thousand_processes_are_known_within_the_budget() {
    let mut machine = Machine::new(PssOptions::default(), (0..2000).map(|_| 8 * MIB));
    let mut seconds = 0;
    while (0..2000).any(|place| machine.age(place).is_none()) {
        machine.wait(second()).pass();
        seconds += 1;
    }
    // 173 us each and 10 ms a second, but for the allowance.
    assert!((30..=33).contains(&seconds), "{seconds} s");
}

#[test]
fn a_process_that_would_take_too_long_is_not_read_and_says_so() {
    let mut machine = Machine::new(PssOptions::default(), [200 << 30, 8 * MIB, 100 * MIB, 900 * MIB]);
    for _ in 0..20_000 {
        machine.wait(second()).pass();
    }
    assert_eq!(machine.pss(0), Pss::Unknown(PssUnknown::TooExpensive));
    assert!(machine.costliest <= Duration::from_millis(20), "{:?}", machine.costliest);
    assert!(machine.age(3).is_some(), "what a page really costs was learned from the smaller ones");
    machine.processes[0].0 = 500 * MIB;
    machine.wait(second()).pass();
    assert!(machine.age(0).is_some(), "it has become smaller");
}

#[test]
fn a_value_is_kept_for_a_while_when_its_process_becomes_too_dear() {
    let mut machine = Machine::new(PssOptions::default(), [1100 * MIB]);
    machine.schedule.ns_per_page = 60.0;
    assert_eq!(machine.pass(), [0]);
    machine.processes[0].0 = 1350 * MIB;
    assert!(machine.wait(second() * 60).pass().is_empty());
    assert_eq!(machine.age(0), Some(second() * 60), "it is old, and says how old");
    machine.wait(second() * 600).pass();
    assert_eq!(machine.pss(0), Pss::Unknown(PssUnknown::TooExpensive));

    let mut machine = Machine::new(PssOptions::default(), [1100 * MIB]);
    machine.schedule.ns_per_page = 60.0;
    machine.pass();
    machine.processes[0].0 = 2000 * MIB;
    machine.wait(second()).pass();
    assert_eq!(
        machine.pss(0),
        Pss::Unknown(PssUnknown::TooExpensive),
        "a value of half its size says nothing any more"
    );
}

#[test]
fn a_process_at_the_limit_does_not_change_to_and_fro() {
    let mut machine = Machine::new(PssOptions::default(), [1300 * MIB]);
    machine.schedule.ns_per_page = 60.0;
    machine.pass();
    let mut readings = 0;
    for second_of in 0..300 {
        // What was read cost 19.97 ms.
        machine.processes[0].0 = if second_of % 2 == 0 { 1310 } else { 1290 } * MIB;
        readings += machine.wait(second()).pass().len();
    }
    assert_eq!(readings, 0);
    assert!(machine.age(0).is_some());
}

#[test]
fn one_dear_reading_is_doubted_after_a_while() {
    let mut machine = Machine::new(PssOptions::default(), [100 * MIB]);
    // The host had taken the CPU away.
    machine.ns_per_page = 2000;
    assert_eq!(machine.pass(), [0]);
    machine.ns_per_page = 60;
    machine.schedule.ns_per_page = 60.0;
    assert!(machine.wait(second() * 590).pass().is_empty());
    assert_eq!(machine.wait(second() * 4500).pass(), [0]);
    assert_eq!(machine.wait(second() * 10).pass(), [0], "it is cheap again");
}

#[test]
fn what_is_refused_is_asked_for_rarely() {
    let mut machine = Machine::new(PssOptions::default(), [100 * MIB; 5]);
    machine.outcome = Outcome::Refused;
    assert_eq!(machine.pass().len(), 5);
    assert_eq!(machine.pss(0), Pss::Unknown(PssUnknown::Refused));
    let asked: usize = (0..59).map(|_| machine.wait(second()).pass().len()).sum();
    assert_eq!(asked, 0);
    machine.outcome = Outcome::Read(Rollup::default());
    machine.wait(second() * 2000).pass();
    assert!(machine.age(0).is_some());
}

#[test]
fn after_a_pause_there_is_no_burst() {
    let mut machine = Machine::new(PssOptions::default(), (0..5000).map(|_| 8 * MIB));
    machine.pass();
    let before = machine.spent;
    machine.wait(second() * 3600).pass();
    assert!(machine.spent - before <= Duration::from_millis(31));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn never_more_than_the_allowance_the_budget_and_one_reading_is_spent(
        sizes in proptest::collection::vec(1_u64..4000, 1..300),
        passes in proptest::collection::vec((0_u64..3000, 0_usize..300, 1_u64..4000), 1..60),
        percent in 1_u32..=100,
    ) {
        let budget = f64::from(percent) / 100.0;
        let options = PssOptions { budget, ..PssOptions::default() };
        let mut machine = Machine::new(options, sizes.iter().map(|size| size * MIB));
        for (wait_ms, place, size) in passes {
            let place = place % machine.processes.len();
            machine.processes[place].0 = size * MIB;
            machine.wait(Duration::from_millis(wait_ms)).pass();
            let earned = (machine.now - machine.start).mul_f64(budget);
            prop_assert!(machine.spent <= options.allowance + earned + machine.costliest);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn nobody_waits_for_ever_even_beside_restless_and_new_ones(
        sizes in proptest::collection::vec(1_u64..300, 1..150),
        seed in any::<u64>(),
    ) {
        let mut machine = Machine::new(PssOptions::default(), sizes.iter().map(|size| size * MIB));
        // Fifty big ones change all the time, and fifty others are new in every pass: fifteen times what can be read.
        let quiet = machine.processes.len();
        machine.processes.extend((0..100).map(|_| (200 * MIB, Remembered::default())));
        let mut oldest = Duration::ZERO;
        for pass in 0..2500_u64 {
            for place in quiet..quiet + 50 {
                machine.processes[place].0 = (100 + (seed ^ pass.wrapping_mul(7919 + place as u64)) % 200) * MIB;
                machine.processes[place + 50].1 = Remembered::default();
            }
            machine.wait(second()).pass();
            if pass > 1200 {
                let ages = (0..quiet).map(|place| machine.age(place).unwrap_or(Duration::MAX));
                oldest = oldest.max(ages.max().unwrap_or_default());
            }
        }
        prop_assert!(oldest < Duration::from_secs(1000), "{oldest:?}");
    }
}
