//! What one mapping is for, by the line that /proc/PID/smaps and /proc/PID/maps have of it, and which of them is opcache's.

use crate::model::MappingKind;

/// Shared memory without a file, as opcache, php-fpm's scoreboards and Apache have it from `mmap(MAP_SHARED | MAP_ANONYMOUS)`.
const ZERO: &[u8] = b"/dev/zero (deleted)";
/// Smallest `opcache.memory_consumption` (in PHP's ext/opcache/zend_accelerator_module.c). A scoreboard is a few pages.
const SMALLEST_OPCACHE: u64 = 8 << 20;
/// Extensions with shared memory of their own that looks the same.
const ALSO_SHARE: [&[u8]; 5] = [b"apcu.so", b"apc.so", b"yac.so", b"swoole.so", b"openswoole.so"];

/// The first line of a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header<'a> {
    shared: bool,
    inode: &'a [u8],
    name: &'a [u8],
}

impl<'a> Header<'a> {
    /// `ADDRESS-ADDRESS rwxp OFFSET DEVICE INODE    NAME`; `None` when it is something else.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut rest = line;
        let addresses = word(&mut rest)?;
        let dash = addresses.iter().position(|&byte| byte == b'-')?;
        let is_hexadecimal = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
        if !is_hexadecimal(&addresses[..dash]) || !is_hexadecimal(&addresses[dash + 1..]) {
            return None;
        }
        let [_, _, _, shared @ (b'p' | b's')] = *word(&mut rest)? else { return None };
        let (_offset, _device) = (word(&mut rest)?, word(&mut rest)?);
        let inode = word(&mut rest)?;
        inode.iter().all(u8::is_ascii_digit).then_some(Self {
            shared: shared == b's',
            inode,
            name: rest.trim_ascii_start(),
        })
    }

    /// What it is for. Opcache's segment is told later, see [`Php`].
    pub(crate) fn kind(&self) -> MappingKind {
        let begins = |prefix: &[u8]| self.name.starts_with(prefix);
        match self.name {
            b"" if self.shared => MappingKind::Shared,
            b"" => MappingKind::Anonymous,
            b"[heap]" => MappingKind::Heap,
            b"[stack]" => MappingKind::Stack,
            b"[anon:zend_alloc]" => MappingKind::PhpHeap,
            _ if begins(b"[stack:") => MappingKind::Stack,
            _ if begins(b"[anon:") => MappingKind::Anonymous,
            _ if begins(b"[anon_shmem:") => MappingKind::Shared,
            _ if begins(b"[") || begins(b"anon_inode:") => MappingKind::Special,
            _ if self.shared && [ZERO, b"/dev/shm/", b"/memfd:", b"/SYSV"].iter().any(|of| begins(of)) => {
                MappingKind::Shared
            }
            _ if begins(b"/dev/zero") => MappingKind::Anonymous,
            _ if begins(b"/dev/") && !begins(b"/dev/shm/") => MappingKind::Special,
            _ if self.shared => MappingKind::SharedFile,
            _ => MappingKind::File,
        }
    }

    /// What its memory is summed under, so that all parts of a file count together: the name, and for segments of /dev/zero the
    /// inode, which each has for itself. Empty when the name says no more than the kind.
    pub(crate) fn key(&self) -> Vec<u8> {
        if self.shared && self.name == ZERO {
            [self.name, b"\0", self.inode].concat()
        } else if self.name.starts_with(b"[") && !self.name.starts_with(b"[anon") {
            Vec::new()
        } else {
            self.name.to_vec()
        }
    }
}

/// The name in a key.
pub(super) fn name_of(key: &[u8]) -> &[u8] {
    key.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Takes the next word; one space ends it.
fn word<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
    let (word, tail) = rest.split_at(end);
    *rest = tail.get(1..).unwrap_or_default();
    (!word.is_empty()).then_some(word)
}

/// Whether the process runs PHP, by the files that it maps, and whether a big segment can only be opcache's.
#[derive(Debug, Default)]
pub(super) struct Php {
    runs: bool,
    /// Something else in it may share memory in the same way.
    ambiguous: bool,
}

impl Php {
    /// Takes note of a mapped file.
    pub(crate) fn see(&mut self, header: &Header) {
        let file = header.name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let file = file.strip_suffix(b" (deleted)").unwrap_or(file);
        self.runs |= file == b"opcache.so" || is_php(file);
        self.ambiguous |= ALSO_SHARE.contains(&file);
    }

    /// Whether what is summed under a key is opcache's segment.
    pub(crate) fn is_opcache(&self, key: &[u8], size: u64) -> bool {
        let is_segment = key.strip_prefix(ZERO).is_some_and(|rest| rest.starts_with(b"\0"));
        self.runs && !self.ambiguous && is_segment && size >= SMALLEST_OPCACHE
    }
}

/// `php8.2`, `php-fpm8.2`, `libphp.so`, `libphp8.2.so`: since PHP 8.5 opcache is a part of them.
fn is_php(file: &[u8]) -> bool {
    let version = |rest: &[u8]| rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    if let Some(rest) = file.strip_prefix(b"libphp") {
        return rest.strip_suffix(b".so").is_some_and(version);
    }
    let rest = ["php-fpm", "php-cgi", "php"].iter().find_map(|name| file.strip_prefix(name.as_bytes()));
    rest.is_some_and(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(line: &str) -> Option<MappingKind> {
        Header::parse(line.as_bytes()).map(|header| header.kind())
    }

    #[test]
    fn the_name_and_the_permissions_say_what_a_mapping_is_for() {
        use MappingKind::*;
        let cases = [
            ("rw-p 00000000 00:00 0", "", Anonymous),
            ("rw-s 00000000 00:01 77", "", Shared),
            ("rw-p 00000000 00:00 0", "[heap]", Heap),
            ("rw-p 00000000 00:00 0", "[stack]", Stack),
            ("rw-p 00000000 00:00 0", "[stack:77]", Stack),
            ("rw-p 00000000 00:00 0", "[anon:zend_alloc]", PhpHeap),
            ("rw-p 00000000 00:00 0", "[anon:v8]", Anonymous),
            ("rw-s 00000000 00:01 7", "[anon_shmem:x]", Shared),
            ("r--p 00000000 00:00 0", "[vvar]", Special),
            ("r-xp 00000000 fe:00 9", "/usr/sbin/php-fpm8.2", File),
            ("r-xp 00000000 fe:00 9", "/srv/a b (deleted)", File),
            ("rw-s 00000000 fe:00 9", "/var/lib/mysql/ib", SharedFile),
            ("rw-s 00000000 00:01 9", "/dev/zero (deleted)", Shared),
            ("rw-p 00000000 00:01 9", "/dev/zero", Anonymous),
            ("rw-s 00000000 00:18 9", "/dev/shm/x", Shared),
            ("rw-s 00000000 00:01 9", "/memfd:doublemapper (deleted)", Shared),
            ("rw-s 00000000 00:01 9", "/SYSV00000000 (deleted)", Shared),
            ("rw-s 00000000 00:05 9", "/dev/nvidia0", Special),
            ("rw-s 00000000 00:0e 9", "anon_inode:[perf_event]", Special),
        ];
        for (middle, name, expected) in cases {
            let line = format!("7f75dae73000-7f75daef4000 {middle}                   {name}");
            assert_eq!(kind(&line), Some(expected), "{line}");
        }
    }

    #[test]
    fn what_is_no_mapping_is_none() {
        for line in ["", "x", "-", "1-2", "1-2 rw-p", "g-2 rw-p 0 0:0 0", "1-2 rw-x 0 0:0 0", "1-2 rw-p 0 0:0 z"] {
            assert_eq!(kind(line), None, "{line:?}");
        }
    }

    #[test]
    fn programs_that_run_php_are_known_by_their_files() {
        for (name, expected) in [
            ("php", true),
            ("php8.2", true),
            ("php-fpm8.2", true),
            ("php-cgi", true),
            ("libphp8.2.so", true),
            ("libphp.so", true),
            ("phpspy", false),
            ("php-fpm-exporter", false),
            ("libphpx.so", false),
        ] {
            assert_eq!(is_php(name.as_bytes()), expected, "{name}");
        }
    }
}
