//! What is read of one process on its page, made of real files by chance.

use std::time::Duration;

use super::{limits, smaps, start_ticks, state};
use crate::{fuzz::Target, model::Unread};

#[test]
fn any_smaps_is_summed_or_refused() {
    let target = Target {
        name: "smaps",
        longest: 16 << 10,
        // The names of all mappings, and the buffer for reading.
        memory: 1 << 20,
        words: &[
            "7f0000000000-7f0000800000 rw-s 00000000 00:01 7 /dev/zero (deleted)\n",
            "Pss:",
            "Size:",
            "Rss:",
            "Private_Dirty:",
            " kB\n",
            "opcache.so\n",
            "[anon:zend_alloc]\n",
        ],
    };
    target.run(|bytes| {
        let mut chunk = Vec::new();
        match smaps::read(bytes, Duration::MAX, &mut chunk) {
            Ok(mappings) => assert!(mappings.total.count > 0 && mappings.biggest.len() <= 10),
            Err(error) => assert!(matches!(error, Unread::Absent | Unread::Malformed), "{error:?}"),
        }
    });
}

#[test]
fn any_limits_status_and_stat_are_read_or_refused() {
    let target = Target {
        name: "limits",
        longest: 4096,
        memory: 64 << 10,
        words: &["Max open files            ", "unlimited", "voluntary_ctxt_switches:\t", "non", ") S 1 ", "bytes"],
    };
    target.run(|bytes| {
        let limits = limits::parse(bytes).unwrap_or_default();
        assert!(limits.len() <= 64);
        limits::open_files(&limits);
        let _ = (state::scheduling(bytes), state::switches(bytes), start_ticks(bytes));
    });
}
