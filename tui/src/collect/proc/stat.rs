//! Reads one line of /proc/PID/stat (proc_pid_stat(5)) from bytes, without allocating.
//! It is our own because it runs for every process at every tick.

use std::time::Duration;

use super::DiskBytes;

/// Flag of a kernel thread in field 9, `PF_KTHREAD` of the kernel's `include/linux/sched.h`.
pub(super) const PF_KTHREAD: u64 = 0x0020_0000;

/// What one reading says of a process: the fields of /proc/PID/stat that the sampler keeps, from there or from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::collect) struct Stat<'a> {
    /// Field 1.
    pub pid: u32,
    /// Field 2 without its brackets; any bytes, brackets and newlines among them.
    pub comm: &'a [u8],
    /// Field 3.
    pub state: char,
    /// Field 4.
    pub ppid: u32,
    /// Whether `PF_KTHREAD` is set in field 9.
    pub kernel_thread: bool,
    /// Fields 14 and 15: user and system time, counted in clock ticks there.
    pub cpu: Duration,
    /// Field 20.
    pub threads: u32,
    /// Field 22: start time in clock ticks after boot.
    pub start_ticks: u64,
    /// Field 24: resident pages.
    pub rss_pages: u64,
    /// Swapped-out bytes, which /proc/PID/stat does not have.
    pub swap_bytes: Option<u64>,
    /// Resident pages of files and of shared memory, which /proc/PID/stat does not tell apart.
    pub rss_parts: Option<RssPages>,
    /// What it read and wrote, which /proc/PID/stat does not have.
    pub disk: Option<DiskBytes>,
}

/// What resident pages are, beside anonymous memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::collect) struct RssPages {
    /// Pages of files.
    pub file: u64,
    /// Pages of shared memory.
    pub shmem: u64,
}

impl<'a> Stat<'a> {
    /// `None` when a field is missing or is not what it should be.
    pub(crate) fn parse(line: &'a [u8], ticks_per_second: u64) -> Option<Self> {
        let open = line.iter().position(|&byte| byte == b'(')?;
        // The name may hold brackets itself; no field after it does.
        let close = line.iter().rposition(|&byte| byte == b')').filter(|&close| close > open)?;
        let pid = number(line[..open].trim_ascii())?;
        let mut fields = line[close + 1..].split(|byte| byte.is_ascii_whitespace()).filter(|field| !field.is_empty());
        let state = match *fields.next()? {
            [letter] if letter.is_ascii_alphabetic() => char::from(letter),
            _ => return None,
        };
        let ppid = number(fields.next()?)?;
        let flags: u64 = number(fields.nth(4)?)?;
        let user_ticks: u64 = number(fields.nth(4)?)?;
        let system_ticks: u64 = number(fields.next()?)?;
        let threads = number(fields.nth(4)?)?;
        let start_ticks = number(fields.nth(1)?)?;
        let rss_pages = number(fields.nth(1)?)?;
        Some(Self {
            pid: pid.try_into().ok()?,
            comm: &line[open + 1..close],
            state,
            ppid: ppid.try_into().ok()?,
            kernel_thread: flags & PF_KTHREAD != 0,
            cpu: duration(user_ticks.checked_add(system_ticks)?, ticks_per_second),
            threads: threads.try_into().ok()?,
            start_ticks,
            rss_pages,
            swap_bytes: None,
            rss_parts: None,
            disk: None,
        })
    }
}

fn duration(ticks: u64, per_second: u64) -> Duration {
    let per_second = per_second.max(1);
    // The rest is less than a second, so it fits.
    Duration::new(ticks / per_second, ((ticks % per_second) * 1_000_000_000 / per_second) as u32)
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, &byte| {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit <= 9)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &str = "4242 (php-fpm8.2) S 1 4242 4242 0 -1 4194624 1 0 0 0 70 30 0 0 20 0 3 0 123456 1000000 2048 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

    fn with_comm(comm: &[u8]) -> Vec<u8> {
        let (before, after) = LINE.split_once("php-fpm8.2").unwrap();
        [before.as_bytes(), comm, after.as_bytes()].concat()
    }

    #[test]
    fn a_line_of_the_kernel_is_read() {
        let stat = Stat::parse(LINE.as_bytes(), 100).unwrap();
        assert_eq!(
            stat,
            Stat {
                pid: 4242,
                comm: b"php-fpm8.2",
                state: 'S',
                ppid: 1,
                kernel_thread: false,
                cpu: Duration::from_secs(1),
                threads: 3,
                start_ticks: 123_456,
                rss_pages: 2048,
                swap_bytes: None,
                rss_parts: None,
                disk: None,
            }
        );
    }

    #[test]
    fn a_name_may_hold_brackets_spaces_newlines_and_any_byte() {
        for comm in [&b") R 9 9"[..], b"a b", b"((", b"x\n)", b"\x1b[2J", b"\xff\xfe", b""] {
            let line = with_comm(comm);
            let stat = Stat::parse(&line, 100).unwrap();
            assert_eq!((stat.comm, stat.ppid, stat.rss_pages), (comm, 1, 2048));
        }
    }

    #[test]
    fn ticks_of_any_length_are_time() {
        assert_eq!(duration(u64::MAX, 100), Duration::new(u64::MAX / 100, 150_000_000));
        assert_eq!(duration(1025, 1024), Duration::new(1, 976_562));
    }

    #[test]
    fn a_kernel_thread_is_told_by_its_flag() {
        let line = LINE.replace("4194624", "2129984");
        assert!(Stat::parse(line.as_bytes(), 100).unwrap().kernel_thread);
    }

    #[test]
    fn garbage_and_torn_lines_are_refused() {
        let end = LINE.find("2048").unwrap();
        for cut in 0..end {
            assert_eq!(Stat::parse(&LINE.as_bytes()[..cut], 100), None, "{cut}");
        }
        for line in
            ["", "x", "1 (a", "1 )a( S", "-1 (a) S 1", &LINE.replace(" 70 ", " -70 "), &LINE.replace(" S ", " SS ")]
        {
            assert_eq!(Stat::parse(line.as_bytes(), 100), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Stat::parse(&line, 100);
        }

        #[test]
        fn any_name_is_given_back(comm in proptest::collection::vec(any::<u8>(), 0..64)) {
            let line = with_comm(&comm);
            prop_assert_eq!(Stat::parse(&line, 100).unwrap().comm, &comm[..]);
        }
    }
}
