//! At which of its lines a function was when samples were taken.

use serde::{Deserialize, Serialize};

use super::is_zero;

/// Lines of a function that are kept when others give way; there may be twice as many meanwhile.
const MOST: usize = 16;

/// Samples of one function by line. They are fewer than all of its samples: only some of these have lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotLines {
    /// Those with the most samples.
    pub lines: Vec<HotLine>,
    /// Samples at lines that gave way to others.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub other_samples: u64,
}

/// One line of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotLine {
    /// Its number in the file.
    pub line: u32,
    /// Samples in which the function was at this line, also where it had called another one. In a recursion the innermost call counts.
    pub samples: u64,
    /// Those of them with the function on top.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub self_samples: u64,
}

impl HotLines {
    /// Adds what was counted of one line.
    pub fn add(&mut self, line: HotLine) {
        if let Some(known) = self.lines.iter_mut().find(|known| known.line == line.line) {
            known.samples = known.samples.saturating_add(line.samples);
            known.self_samples = known.self_samples.saturating_add(line.self_samples);
            return;
        }
        if self.lines.len() >= 2 * MOST {
            self.list();
        }
        self.lines.push(line);
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Self) {
        other.lines.iter().for_each(|&line| self.add(line));
        self.other_samples = self.other_samples.saturating_add(other.other_samples);
    }

    /// Sorts them, most samples first, and lets those give way that are too many.
    pub fn list(&mut self) {
        self.lines.sort_unstable_by_key(|line| (std::cmp::Reverse(line.samples), line.line));
        let gone = self.lines.iter().skip(MOST).fold(0_u64, |sum, line| sum.saturating_add(line.samples));
        self.other_samples = self.other_samples.saturating_add(gone);
        self.lines.truncate(MOST);
    }

    /// Samples of the function that have lines.
    pub fn samples(&self) -> u64 {
        self.lines.iter().fold(self.other_samples, |sum, line| sum.saturating_add(line.samples))
    }

    /// No sample had a line.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.other_samples == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(line: u32, samples: u64) -> HotLine {
        HotLine { line, samples, self_samples: samples / 2 }
    }

    #[test]
    fn lines_add_up_and_the_hottest_come_first() {
        let (mut a, mut b) = (HotLines::default(), HotLines::default());
        a.add(line(3, 1));
        a.add(line(7, 4));
        b.add(line(3, 6));
        b.other_samples = 2;
        a.merge(&b);
        a.list();
        assert_eq!(a.lines, [HotLine { line: 3, samples: 7, self_samples: 3 }, line(7, 4)]);
        assert_eq!((a.samples(), a.is_empty()), (13, false));
    }

    #[test]
    fn the_coldest_lines_give_way_and_no_sample_is_lost() {
        let mut lines = HotLines::default();
        for _ in 0..50 {
            lines.add(line(1_000_000, 9));
            (1..1000).for_each(|number| lines.add(line(number, 1)));
            assert!(lines.lines.len() <= 2 * MOST);
        }
        lines.list();
        assert_eq!((lines.lines.len(), lines.lines[0]), (MOST, HotLine { self_samples: 200, ..line(1_000_000, 450) }));
        assert_eq!(lines.samples(), 50 * (9 + 999));
    }

    #[test]
    fn sums_that_lie_do_not_overflow() {
        let mut lines = HotLines { other_samples: u64::MAX, ..HotLines::default() };
        lines.add(line(1, u64::MAX));
        lines.add(line(1, u64::MAX));
        lines.list();
        assert_eq!(lines.samples(), u64::MAX);
    }
}
