//! Settings that the memory of a running PHP shows: whether its function probes are live, whether opcache shares compiled code,
//! whether the JIT compiles.
//!
//! The process is not trusted: a few bytes of its memory and a bounded part of its files are read.

use std::io;

use super::{maps, setting};
use crate::collect::{php::image::Image, procfs::Procfs};

/// The variable that makes PHP fire its function, execute and compile probes (`zend_startup` in Zend/zend.c).
pub(crate) const VARIABLE: &str = "USE_ZEND_DTRACE";

/// Bytes of an environment that are looked through.
const ENVIRONMENT: u64 = 1 << 20;
/// The least that opcache takes (`opcache.memory_consumption`); php-fpm's scoreboards and Apache's are far smaller.
const OPCACHE_LEAST: u64 = 8 << 20;

/// Why nothing is known of one that does not answer.
pub(super) const SILENT: &str = "its memory does not answer";

/// What was read of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Runtime {
    /// `zend_dtrace_enabled`: its function probes fire. `None` where that cannot be said, see `unknown`.
    pub dtrace: Option<bool>,
    /// Why `dtrace` is not known; empty where it is.
    pub unknown: String,
    /// The engine has not come far enough to tell; ask again.
    pub starting: bool,
    /// [`VARIABLE`] is in the environment that the process was started with; `None` where that cannot be read or was
    /// overwritten by the title, as php-fpm does.
    pub variable: Option<bool>,
    /// opcache has memory to share compiled code in; `None` when the mappings cannot be read.
    pub opcache: Option<bool>,
    /// The JIT has a part of it for machine code and is on; `None` where the mappings or the setting cannot be read.
    pub jit: Option<bool>,
}

impl Runtime {
    /// Reads what the files of `pid` show now, which runs `image` from the file with this inode, and where it has the image.
    pub(crate) fn read(procfs: &Procfs, pid: u32, image: &Image, inode: u64) -> (Self, Option<u64>) {
        let mut runtime = Self { variable: environment(procfs, pid), ..Self::default() };
        let mappings = maps::of(procfs, pid);
        // Never a bias from before: Apache loads its modules twice, and each time to another address.
        let bias = mappings.as_ref().ok().and_then(|mappings| {
            let mapping = mappings.iter().find(|mapping| mapping.inode == inode)?;
            image.bias(mapping.start, mapping.offset)
        });
        if let Ok(mappings) = mappings {
            let shared: Vec<_> = mappings.iter().filter(|mapping| mapping.is_shared_anonymous()).collect();
            let opcache =
                shared.iter().any(|mapping| mapping.permissions.starts_with("rw") && mapping.bytes() >= OPCACHE_LEAST);
            runtime.opcache = Some(opcache);
            // Without room for machine code it is off, whatever the setting says. With room it may be off all the same:
            // `opcache.jit=off`, as Debian has it, takes the room, so that a script can switch it on.
            let room = opcache && shared.iter().any(|mapping| mapping.permissions.contains('x'));
            runtime.jit = if room { None } else { Some(false) };
        }
        (runtime, bias)
    }

    /// Adds what its memory shows, where it has the image at `bias`. `memory` fills bytes from an address.
    pub(crate) fn read_memory(
        &mut self,
        image: &Image,
        bias: Option<u64>,
        mut memory: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) {
        let dtrace = dtrace(image, bias, &mut memory);
        let answers = !dtrace.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
        if let Some(bias) = bias.filter(|_| self.opcache == Some(true) && self.jit.is_none() && answers) {
            self.jit = setting::of(image, bias, "opcache.jit", memory).map(|value| compiles(&value));
        }
        match dtrace {
            Ok(Dtrace::Known(enabled)) => self.dtrace = Some(enabled),
            Ok(Dtrace::Starting) => {
                self.starting = true;
                "PHP has only just been started".clone_into(&mut self.unknown);
            }
            Ok(Dtrace::NotBuilt) => "the build has no zend_dtrace_enabled".clone_into(&mut self.unknown),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                SILENT.clone_into(&mut self.unknown);
            }
            Err(error) => self.unknown = format!("zend_dtrace_enabled cannot be read: {error}"),
        }
    }
}

/// What `opcache.jit` says (`zend_jit_config` in ext/opcache/jit/zend_jit.c).
fn compiles(value: &str) -> bool {
    let off = ["", "0", "off", "no", "false", "disable"].iter().any(|off| value.eq_ignore_ascii_case(off));
    !off && value.parse() != Ok(0)
}

fn not_mapped() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "it has ended, or has not loaded PHP")
}

enum Dtrace {
    Known(bool),
    Starting,
    NotBuilt,
}

fn dtrace(
    image: &Image,
    bias: Option<u64>,
    mut memory: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<Dtrace> {
    let Some(enabled) = image.dtrace_enabled else { return Ok(Dtrace::NotBuilt) };
    let bias = bias.ok_or_else(not_mapped)?;
    // The byte is 0 before the engine has looked at its environment, too; right after that it sets this pointer.
    if let Some(execute_ex) = image.execute_ex {
        let mut pointer = [0; 8];
        memory(execute_ex.wrapping_add(bias), &mut pointer)?;
        if pointer == [0; 8] {
            return Ok(Dtrace::Starting);
        }
    }
    let mut byte = [0];
    memory(enabled.wrapping_add(bias), &mut byte)?;
    Ok(Dtrace::Known(byte[0] != 0))
}

/// Whether [`VARIABLE`] is in the environment that a process was started with.
pub(crate) fn environment(procfs: &Procfs, pid: u32) -> Option<bool> {
    variable(&procfs.bytes(pid, "environ", ENVIRONMENT).ok()?)
}

/// The same of a process that has just been started, which has not overwritten anything yet: an empty environment has no variable.
pub(crate) fn environment_at_start(procfs: &Procfs, pid: u32) -> Option<bool> {
    let environment = procfs.bytes(pid, "environ", ENVIRONMENT).ok()?;
    Some(variable(&environment).unwrap_or(false))
}

fn variable(environment: &[u8]) -> Option<bool> {
    let mut names = environment
        .split(|&byte| byte == 0)
        .filter_map(|entry| entry.iter().position(|&byte| byte == b'=').map(|end| &entry[..end]));
    let first = names.next()?;
    Some(first == VARIABLE.as_bytes() || names.any(|name| name == VARIABLE.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::{FileExt as _, MetadataExt as _},
        process::{Command, Stdio},
    };

    use super::{setting::tests::memory_with, *};
    use crate::collect::{
        php::image::sites::{Segment, Segments},
        procfs::fake::Fake,
    };

    /// Both parts, by a file with its memory.
    fn read(procfs: &Procfs, pid: u32, image: &Image, inode: u64) -> Runtime {
        let (mut runtime, bias) = Runtime::read(procfs, pid, image, inode);
        let memory = |address, bytes: &mut [u8]| procfs.file(pid, "mem")?.read_exact_at(bytes, address);
        runtime.read_memory(image, bias, memory);
        runtime
    }

    #[test]
    fn the_variable_is_found_by_its_whole_name_and_an_overwritten_environment_is_unknown() {
        assert_eq!(variable(b"HOME=/\0USE_ZEND_DTRACE=1\0"), Some(true));
        assert_eq!(variable(b"NOT_USE_ZEND_DTRACE=1\0X=USE_ZEND_DTRACE=\0"), Some(false));
        for overwritten in [&b""[..], b"\0\0\0", b"r process (/etc/php/8.2/fpm/php-fpm.conf)\0\0"] {
            assert_eq!(variable(overwritten), None);
        }
    }

    #[test]
    fn what_cannot_be_read_has_a_reason() {
        let procfs = Procfs::default();
        let mut child = Command::new("sleep").arg("60").env(VARIABLE, "1").stdout(Stdio::null()).spawn().unwrap();
        let inode = std::fs::metadata("/usr/bin/sleep").unwrap().ino();
        // The child may still be a copy of this test, or on its way to be `sleep`: its environment comes last.
        while !maps::of(&procfs, child.id()).unwrap().iter().any(|mapping| mapping.inode == inode)
            || environment(&procfs, child.id()).is_none()
        {
            std::thread::yield_now();
        }
        let mut image =
            Image { segments: Segments::new([Segment { address: 0, offset: 0, size: 1 << 40 }]), ..Image::default() };
        let built_without = read(&procfs, child.id(), &image, inode);
        assert!(built_without.dtrace.is_none() && built_without.unknown.contains("no zend_dtrace_enabled"));
        image.dtrace_enabled = Some(1 << 39);
        let unreadable = read(&procfs, child.id(), &image, inode);
        let not_loaded = read(&procfs, child.id(), &image, u64::MAX);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(unreadable.dtrace.is_none() && unreadable.unknown.contains("cannot be read"), "{unreadable:?}");
        assert_eq!((unreadable.variable, unreadable.opcache, unreadable.jit), (Some(true), Some(false), Some(false)));
        assert!(not_loaded.unknown.contains("not loaded PHP"));
        let gone = read(&procfs, u32::MAX, &image, inode);
        assert_eq!((gone.dtrace, gone.variable, gone.opcache, gone.jit), (None, None, None, None));
        assert!(!gone.unknown.is_empty());
    }

    #[test]
    fn a_process_shows_its_variable_its_probes_and_opcache() {
        let fake = Fake::new();
        let mut memory = vec![0; 64];
        memory[16] = 1;
        memory[24] = 1;
        fake.write(7, "environ", "HOME=/\0USE_ZEND_DTRACE=1\0").write(7, "mem", &memory);
        let maps = "0-40 r-xp 00000000 fe:01 42 /usr/sbin/php-fpm\n7f0000000000-7f0008000000 rw-s 00000000 00:01 7 /dev/zero\n";
        fake.write(7, "maps", format!("{maps}7f1000000000-7f1000800000 rwxs 00000000 00:01 8 /dev/zero (deleted)\n"));
        let mut image = Image {
            segments: Segments::new([Segment { address: 0, offset: 0, size: 0x40 }]),
            dtrace_enabled: Some(16),
            execute_ex: Some(24),
            ..Image::default()
        };
        let runtime = read(&fake.procfs, 7, &image, 42);
        assert_eq!((runtime.dtrace, runtime.variable), (Some(true), Some(true)), "{runtime:?}");
        assert_eq!((runtime.opcache, runtime.starting), (Some(true), false));
        assert_eq!(runtime.jit, None, "it has room, and where its settings are is not known");
        image.execute_ex = Some(40);
        let starting = read(&fake.procfs, 7, &image, 42);
        assert!(starting.starting && starting.dtrace.is_none() && starting.unknown.contains("just been started"));
        fake.write(7, "maps", maps);
        let interpreted = read(&fake.procfs, 7, &image, 42);
        assert_eq!((interpreted.opcache, interpreted.jit), (Some(true), Some(false)));
    }

    #[test]
    fn the_jit_is_on_where_it_has_room_and_its_setting_says_so() {
        let maps = "0-4000 r-xp 00000000 fe:01 42 /usr/sbin/php-fpm\n7f0000000000-7f0008000000 rw-s 00000000 00:01 7 /dev/zero\n";
        let room = "7f1000000000-7f1000800000 r-xs 00000000 00:01 8 /dev/zero (deleted)\n";
        for (setting, on) in [
            (Some("tracing"), true),
            (Some("1254"), true),
            (Some("On"), true),
            (Some("off"), false),
            (Some("Disable"), false),
            (Some("0"), false),
            (Some("00"), false),
            (Some(""), false),
            (None, false),
        ] {
            let (memory, image) = memory_with("opcache.jit", setting);
            let image = Image { segments: Segments::new([Segment { address: 0, offset: 0, size: 0x4000 }]), ..image };
            let fake = Fake::new();
            fake.write(7, "mem", &memory).write(7, "maps", format!("{maps}{room}"));
            assert_eq!(read(&fake.procfs, 7, &image, 42).jit, Some(on), "{setting:?}");
            fake.write(7, "maps", maps);
            assert_eq!(read(&fake.procfs, 7, &image, 42).jit, Some(false), "{setting:?} without room");
        }
    }
}
