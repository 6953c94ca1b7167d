//! Reads /proc/PID/limits (proc_pid_limits(5)).

use crate::model::{Limit, Reading, Unit, Unread};

/// Columns of the name: the kernel prints it with `%-25s` (fs/proc/base.c).
const NAME: usize = 25;
/// Lines that are read; the kernel has 16.
const MOST_LINES: usize = 64;

/// All limits, in the kernel's order. Lines that are something else are left out.
///
/// # Errors
/// [`Unread::Malformed`] when no line is a limit.
pub(super) fn parse(text: &[u8]) -> Reading<Vec<Limit>> {
    let lines = text.split(|&byte| byte == b'\n').take(MOST_LINES);
    let limits: Vec<Limit> = lines.filter_map(|line| limit(std::str::from_utf8(line).ok()?)).collect();
    if limits.is_empty() { Err(Unread::Malformed) } else { Ok(limits) }
}

fn limit(line: &str) -> Option<Limit> {
    let (name, rest) = line.split_at_checked(NAME)?;
    let mut words = rest.split_whitespace();
    let (soft, hard) = (value(words.next()?)?, value(words.next()?)?);
    let unit = match words.next() {
        Some("bytes") => Unit::Bytes,
        Some("seconds") => Unit::Seconds,
        Some("us") => Unit::Microseconds,
        _ => Unit::Count,
    };
    Some(Limit { name: name.trim().strip_prefix("Max ")?.into(), soft, hard, unit })
}

/// `None` inside is unlimited.
fn value(word: &str) -> Option<Option<u64>> {
    if word == "unlimited" { Some(None) } else { word.parse().ok().map(Some) }
}

/// The soft limit of open files, where there is one.
pub(super) fn open_files(limits: &[Limit]) -> Option<u64> {
    limits.iter().find(|limit| &*limit.name == "open files")?.soft
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
Max cpu time              unlimited            unlimited            seconds   \n\
Max stack size            8388608              unlimited            bytes     \n\
Max open files            1024                 524288               files     \n\
Max nice priority         0                    0                    \n\
Max realtime timeout      unlimited            unlimited            us        \n";

    #[test]
    fn limits_are_read_as_the_kernel_prints_them() {
        let limits = parse(TEXT.as_bytes()).unwrap();
        let short: Vec<_> = limits.iter().map(|limit| (&*limit.name, limit.soft, limit.hard, limit.unit)).collect();
        assert_eq!(
            short,
            [
                ("cpu time", None, None, Unit::Seconds),
                ("stack size", Some(8 << 20), None, Unit::Bytes),
                ("open files", Some(1024), Some(524_288), Unit::Count),
                ("nice priority", Some(0), Some(0), Unit::Count),
                ("realtime timeout", None, None, Unit::Microseconds),
            ]
        );
        assert_eq!(open_files(&limits), Some(1024));
    }

    #[test]
    fn our_own_are_what_the_kernel_says() {
        let limits = parse(&std::fs::read("/proc/self/limits").unwrap()).unwrap();
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        assert_eq!((open_files(&limits), limits.len()), (files.current, 16));
    }

    #[test]
    fn garbage_is_no_limit() {
        for text in [&b""[..], b"x\n\n", b"Max open files", b"Max open files            -1 2 files", &[0xff; 100]] {
            assert_eq!(parse(text), Err(Unread::Malformed));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&text);
        }

        #[test]
        fn a_torn_text_gives_what_is_whole(cut in 0..TEXT.len()) {
            let whole = TEXT[..cut].lines().filter(|line| line.starts_with("Max")).count();
            prop_assert!(parse(&TEXT.as_bytes()[..cut]).map_or(0, |limits| limits.len()) <= whole);
        }
    }
}
