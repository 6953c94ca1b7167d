//! Reads the text of /proc/PID/smaps_rollup (proc_pid_smaps_rollup(5)).

/// What one process maps, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rollup {
    /// A shared page divided by the number of those that map it: `Pss`.
    pub pss_bytes: u64,
    /// Pages that no other process maps: `Private_Clean` and `Private_Dirty`.
    pub uss_bytes: u64,
    /// Pages that others map, too: `Shared_Clean` and `Shared_Dirty`.
    pub shared_bytes: u64,
    /// Pages of files in `pss_bytes`, which are page cache: `Pss_File`, since Linux 5.4.
    pub file_bytes: Option<u64>,
    /// Shared memory in `pss_bytes`: `Pss_Shmem`, since Linux 5.4.
    pub shmem_bytes: Option<u64>,
    /// Swapped-out pages, a shared one divided by the number of those that have it: `SwapPss`.
    pub swap_pss_bytes: Option<u64>,
}

impl Rollup {
    /// `None` when a line is missing or is not what it should be.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        const NAMES: [&[u8]; 8] = [
            b"Pss",
            b"Private_Clean",
            b"Private_Dirty",
            b"Shared_Clean",
            b"Shared_Dirty",
            b"Pss_File",
            b"Pss_Shmem",
            b"SwapPss",
        ];
        let mut found = [None; NAMES.len()];
        for line in text.split(|&byte| byte == b'\n') {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
            if let Some(at) = NAMES.iter().position(|name| *name == &line[..colon]) {
                found[at] = Some(kibibytes(&line[colon + 1..])?);
            }
        }
        let [pss, private_clean, private_dirty, shared_clean, shared_dirty, file_bytes, shmem_bytes, swap_pss_bytes] =
            found;
        Some(Self {
            pss_bytes: pss?,
            uss_bytes: private_clean?.checked_add(private_dirty?)?,
            shared_bytes: shared_clean?.checked_add(shared_dirty?)?,
            file_bytes,
            shmem_bytes,
            swap_pss_bytes,
        })
    }
}

/// `  1234 kB` in bytes.
pub(in crate::collect) fn kibibytes(value: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(value).ok()?.trim().strip_suffix("kB")?.trim_end();
    number.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "56313570c000-7ffc5c22f000 ---p 00000000 00:00 0                          [rollup]
Rss:                1764 kB
Pss:                 454 kB
Pss_Dirty:           112 kB
Pss_File:            300 kB
Pss_Shmem:            20 kB
Shared_Clean:       1584 kB
Shared_Dirty:          4 kB
Private_Clean:        68 kB
Private_Dirty:       112 kB
Private_Hugetlb:    2048 kB
SwapPss:              12 kB
";

    #[test]
    fn a_text_of_the_kernel_is_read() {
        let expected = Rollup {
            pss_bytes: 454 << 10,
            uss_bytes: 180 << 10,
            shared_bytes: 1588 << 10,
            file_bytes: Some(300 << 10),
            shmem_bytes: Some(20 << 10),
            swap_pss_bytes: Some(12 << 10),
        };
        assert_eq!(Rollup::parse(TEXT.as_bytes()), Some(expected));
        let older = TEXT.replace("Pss_File", "Else").replace("Pss_Shmem", "Else").replace("SwapPss", "Else");
        let expected = Rollup { file_bytes: None, shmem_bytes: None, swap_pss_bytes: None, ..expected };
        assert_eq!(Rollup::parse(older.as_bytes()), Some(expected));
    }

    #[test]
    fn garbage_and_torn_texts_are_refused() {
        for cut in 0..TEXT.find("112 kB\nPrivate_Hugetlb").unwrap() + 5 {
            assert_eq!(Rollup::parse(&TEXT.as_bytes()[..cut]), None, "{cut}");
        }
        for (from, to) in
            [("454 kB", "-1 kB"), ("454 kB", "454 MB"), ("454 kB", ""), ("112 kB", "99999999999999999 kB")]
        {
            assert_eq!(Rollup::parse(TEXT.replace(from, to).as_bytes()), None, "{to}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Rollup::parse(&text);
        }
    }
}
