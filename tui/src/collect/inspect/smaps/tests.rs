//! Claims about the sums of smaps.

use std::io;

use proptest::prelude::*;

use super::*;

/// One mapping as the kernel prints it; sizes in KiB.
fn mapping(name: &str, permissions: &str, inode: u64, [size, rss, pss, uss, swap]: [u64; 5]) -> String {
    format!(
        "7f75dae73000-7f75daef4000 {permissions} 00000000 00:01 {inode}                               {name}\n\
         Size:           {size:>8} kB\nKernelPageSize:        4 kB\nRss:            {rss:>8} kB\n\
         Pss:            {pss:>8} kB\nPss_Dirty:             0 kB\nShared_Clean:          1 kB\n\
         Private_Clean:  {:>8} kB\nPrivate_Dirty:  {:>8} kB\nSwap:           {swap:>8} kB\nSwapPss:               7 kB\n\
         THPeligible:           0\nVmFlags: rd wr sh mr mw me ms \n",
        uss / 2,
        uss - uss / 2,
    )
}

fn sums(text: &[u8]) -> Reading<Mappings> {
    read(text, Duration::from_secs(60), &mut Vec::new())
}

fn of(mappings: &Mappings, kind: MappingKind) -> MappingSum {
    mappings.kinds.iter().find(|(of, _)| *of == kind).map(|(_, sum)| *sum).unwrap_or_default()
}

const PHP: &str = "/usr/sbin/php-fpm8.2";
const ZEROS: &str = "/dev/zero (deleted)";

#[test]
fn memory_is_summed_by_kind_and_in_bytes() {
    let text = mapping("[heap]", "rw-p", 0, [1600, 1400, 300, 112, 4])
        + &mapping("/usr/lib/x.so", "r--p", 9, [100, 50, 20, 0, 0])
        + &mapping("/usr/lib/x.so", "r-xp", 9, [200, 60, 30, 7, 0])
        + &mapping("", "rw-p", 0, [10, 9, 8, 8, 0]);
    let mappings = sums(text.as_bytes()).unwrap();
    let kib = |count, [size, rss, pss, uss, swap]: [u64; 5]| MappingSum {
        count,
        size: size << 10,
        rss: rss << 10,
        pss: pss << 10,
        uss: uss << 10,
        swap: swap << 10,
    };
    assert_eq!(of(&mappings, MappingKind::Heap), kib(1, [1600, 1400, 300, 112, 4]));
    assert_eq!(of(&mappings, MappingKind::File), kib(2, [300, 110, 50, 7, 0]));
    assert_eq!(mappings.total, kib(4, [1910, 1519, 358, 127, 4]));
    let [(name, kind, sum)] = &mappings.biggest[..] else { unreachable!("only one has a name: {mappings:?}") };
    assert_eq!((&**name, *kind, sum.count), ("/usr/lib/x.so", MappingKind::File, 2));
}

#[test]
fn the_big_segment_of_a_php_process_is_opcaches_and_the_scoreboard_is_not() {
    let segment = |inode, size| mapping(ZEROS, "rw-s", inode, [size, 2500, 600, 0, 0]);
    let php = mapping(PHP, "r-xp", 5, [4000, 3000, 600, 0, 0]);
    // The buffer of the JIT is a part of the segment with other permissions.
    let text = segment(1, 131_000) + &mapping(ZEROS, "r-xs", 1, [72, 8, 4, 0, 0]) + &segment(2, 8) + &php;
    let mappings = sums(text.as_bytes()).unwrap();
    let opcache = of(&mappings, MappingKind::Opcache);
    assert_eq!((opcache.count, opcache.size), (2, 131_072 << 10));
    assert_eq!(of(&mappings, MappingKind::Shared).size, 8 << 10);
    assert!(mappings.biggest.iter().any(|(_, kind, sum)| *kind == MappingKind::Opcache && *sum == opcache));
    // With an extension that shares memory in the same way, and without PHP, it cannot be told.
    let apcu = text.clone() + &mapping("/usr/lib/php/20220829/apcu.so", "r-xp", 6, [9, 9, 9, 0, 0]);
    for text in [apcu, segment(1, 131_000) + &mapping("/usr/sbin/other", "r-xp", 5, [1, 1, 1, 0, 0])] {
        let mappings = sums(text.as_bytes()).unwrap();
        assert_eq!(of(&mappings, MappingKind::Opcache), MappingSum::default());
        assert!(of(&mappings, MappingKind::Shared).size >= 131_000 << 10);
    }
}

#[test]
fn hostile_names_are_names_and_nothing_else() {
    let evil = "/tmp/a\\012Rss: 999999 kB\\0127f00-7f01 rw-p 0 0:0 0 [heap]";
    let long = format!("/tmp/{}", "x".repeat(100_000));
    let mut text = mapping(evil, "rw-s", 3, [4, 4, 4, 4, 0]).into_bytes();
    text.extend(mapping(&long, "r--p", 4, [8, 8, 8, 8, 0]).into_bytes());
    text.extend(mapping("/tmp/\u{1b}[2J", "r--p", 5, [1, 1, 1, 1, 0]).replace('\u{1b}', "\u{fffd}").into_bytes());
    let at = text.len() - 40;
    text[at] = 0xff;
    let mappings = sums(&text).unwrap();
    assert_eq!((mappings.total.count, mappings.total.rss), (3, 13 << 10));
    assert_eq!(of(&mappings, MappingKind::Heap), MappingSum::default());
    assert!(mappings.biggest.iter().all(|(name, ..)| name.len() <= LONGEST_LINE));
    assert!(mappings.biggest.iter().any(|(name, ..)| &**name == evil));
}

#[test]
fn names_are_bounded_and_nothing_is_lost_from_the_sums() {
    let text: String =
        (0..MOST_NAMES as u64 + 100).map(|i| mapping(&format!("/f{i}"), "r--p", i, [4, 4, 4, 0, 0])).collect();
    let mappings = sums(text.as_bytes()).unwrap();
    assert_eq!(mappings.total.count, MOST_NAMES as u64 + 100);
    assert_eq!((of(&mappings, MappingKind::File), mappings.biggest.len()), (mappings.total, BIGGEST));
}

#[test]
fn without_mappings_it_says_why() {
    assert_eq!(sums(b""), Err(Unread::Absent));
    for text in [&b"garbage\n\xff\xff\n"[..], b"\0", b"Rss: 5 kB\nzz-yy rw-p 0 0:0 0 x\n"] {
        assert_eq!(sums(text), Err(Unread::Malformed), "{text:?}");
    }
}

#[test]
fn reading_stops_when_it_takes_too_long() {
    let text = mapping("[heap]", "rw-p", 0, [4, 4, 4, 4, 0]).repeat(1000);
    let stopped = read(text.as_bytes(), Duration::ZERO, &mut Vec::new());
    assert!(matches!(stopped, Err(Unread::TooExpensive(_))), "{stopped:?}");
}

#[test]
fn an_error_on_the_way_is_told() {
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(3))
        }
    }
    assert_eq!(read(Broken, Duration::MAX, &mut Vec::new()), Err(Unread::Ended));
}

#[test]
fn a_sleeping_process_has_the_sums_that_the_kernel_has() {
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let folder = format!("/proc/{}", child.id());
    // It has done all that it does once it sleeps.
    while !std::fs::read_to_string(format!("{folder}/wchan")).unwrap().contains("nanosleep") {
        std::thread::yield_now();
    }
    let mappings = read(std::fs::File::open(format!("{folder}/smaps")).unwrap(), Duration::MAX, &mut Vec::new());
    let rollup = std::fs::read_to_string(format!("{folder}/smaps_rollup")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let mappings = mappings.unwrap();
    let field = |name: &str| -> u64 {
        let lines = rollup.lines().filter_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
        lines.map(|kib| kib.parse::<u64>().unwrap() << 10).sum()
    };
    assert_eq!(mappings.total.rss, field("Rss:"));
    assert_eq!(mappings.total.uss, field("Private_Clean:") + field("Private_Dirty:"));
    assert!(of(&mappings, MappingKind::Stack).count == 1 && of(&mappings, MappingKind::File).rss > 0);
}

fn any_mapping() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "",
        "[heap]",
        "[stack]",
        "[vdso]",
        ZEROS,
        PHP,
        "/memfd:x (deleted)",
        "/dev/dri/card0",
        "[anon:zend_alloc]",
        "/x y",
    ]);
    let permissions = prop::sample::select(vec!["rw-p", "rw-s", "r-xp"]);
    (names, permissions, 0_u64..4, prop::array::uniform5(0_u64..1 << 20))
        .prop_map(|(name, permissions, inode, sizes)| mapping(name, permissions, inode, sizes))
}

proptest! {
    #[test]
    fn the_sums_of_the_kinds_are_the_totals(parts in prop::collection::vec(any_mapping(), 1..40)) {
        let mappings = sums(parts.concat().as_bytes()).unwrap();
        let mut all = MappingSum::default();
        mappings.kinds.iter().for_each(|(_, sum)| all.add(sum));
        prop_assert_eq!(all, mappings.total);
        prop_assert_eq!(all.count, parts.len() as u64);
    }

    #[test]
    fn it_does_not_matter_where_a_read_ends(parts in prop::collection::vec(any_mapping(), 1..6), step in 1_usize..300) {
        let text = parts.concat();
        let mut whole = Sums::default();
        whole.feed(text.as_bytes());
        let mut in_parts = Sums::default();
        text.as_bytes().chunks(step).for_each(|chunk| in_parts.feed(chunk));
        prop_assert_eq!(whole.finish(), in_parts.finish());
    }

    #[test]
    fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = sums(&text);
    }

    #[test]
    fn numbers_beyond_all_bounds_do_not_overflow(digits in "[0-9]{1,40}") {
        let text = format!("1-2 rw-p 0 0:0 0 x\nRss: {digits} kB\nRss: {digits} kB\n1-2 rw-p 0 0:0 0 x\nRss: {digits} kB\n");
        prop_assert!(sums(text.as_bytes()).is_ok());
    }
}
