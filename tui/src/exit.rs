//! All exit codes, and their texts for the help.

/// All went well, or the reader of the output left.
pub const FINE: u8 = 0;
/// It failed; for `doctor`: something cannot be observed.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage or configuration, as clap has it.
pub(crate) const USAGE: u8 = 2;
/// A limit of `diff --fail-on` is exceeded.
pub(crate) const LIMIT_EXCEEDED: u8 = 3;
/// There is no procfs: `EX_UNAVAILABLE` of sysexits(3).
pub(crate) const NO_PROCFS: u8 = 69;
/// The rights are missing: `EX_NOPERM` of sysexits(3).
pub(crate) const NO_PERMISSION: u8 = 77;
/// The command of `snap` is there and cannot be run, as shells have it.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The command of `snap` is not there, as shells have it.
pub(crate) const NOT_FOUND: u8 = 127;
/// Ended by ^C, also where the terminal hands it over as a key.
pub(crate) const INTERRUPTED: u8 = by_signal(libc::SIGINT);
/// Ended by SIGTERM.
pub(crate) const TERMINATED: u8 = by_signal(libc::SIGTERM);
/// The terminal went away.
pub(crate) const HUNG_UP: u8 = by_signal(libc::SIGHUP);

/// For the help.
pub(crate) const SUMMARY: &str = "Exit codes: 0 fine, 1 failed, 2 wrong usage or configuration, 3 a limit of `diff --fail-on` is exceeded, 69 no procfs, 77 no permission, 130 and 143 ended by a signal; `snap -- COMMAND` passes on the code of the command.";
/// For the help of `diff`.
pub(crate) const SUMMARY_OF_DIFF: &str = "Exit codes: 0 compared, and all limits are kept; 1 it failed, or a limit cannot be told; 2 wrong usage; 3 a limit is exceeded.";
/// For the help of `doctor`.
pub(crate) const SUMMARY_OF_DOCTOR: &str =
    "Exit codes: 0 all tiers work for every running PHP, 1 some are missing, 69 no procfs, 77 no permission.";

/// The shell's way to say that a signal ended a program: 128 and its number.
pub(crate) const fn by_signal(number: i32) -> u8 {
    match number {
        1..=127 => 128 + number as u8,
        _ => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_the_codes() {
        for code in [FINE, FAILED, USAGE, LIMIT_EXCEEDED, NO_PROCFS, NO_PERMISSION, INTERRUPTED, TERMINATED] {
            assert!(SUMMARY.contains(&format!(" {code} ")), "{code}");
        }
        for code in [FINE, FAILED, NO_PROCFS, NO_PERMISSION] {
            assert!(SUMMARY_OF_DOCTOR.contains(&format!(" {code} ")), "{code}");
        }
    }

    #[test]
    fn a_signal_is_128_and_its_number() {
        assert_eq!((HUNG_UP, INTERRUPTED, by_signal(9), TERMINATED), (129, 130, 137, 143));
        assert_eq!((by_signal(0), by_signal(-1), by_signal(1000)), (FAILED, FAILED, FAILED));
    }
}
