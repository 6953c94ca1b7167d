//! PHP that moves its own code: with `opcache.huge_code_pages=1` it copies its text to anonymous memory when it starts. A trap that
//! was set in the file is copied with it, the kernel knows nothing of the copy, and the process ends by SIGTRAP at its first
//! request (ext/opcache/ZendAccelerator.c, `accel_move_code_to_huge_pages`). So it is found out before anything is attached:
//! by configuration files, by the arguments of a command, and by the mappings of what runs.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::collect::procfs::Procfs;

/// The setting, which only configuration files and the command line can have.
const SETTING: &str = "opcache.huge_code_pages";
/// Bytes of one configuration file that are read.
const FILE_BYTES: u64 = 1 << 20;
/// Entries of one folder that are looked at.
const FILES: usize = 1_000;
/// Files and folders that one process may name, and bytes that are read of all of them. A process that names more is taken for one
/// that moves.
const NAMED: usize = 32;
const NAMED_BYTES: u64 = 8 << 20;
/// Bytes of a command line that are looked at.
const COMMAND_BYTES: u64 = 64 << 10;
/// Bytes of the list of mappings that are looked at.
const MAPS_BYTES: u64 = 8 << 20;
/// A huge page: code is moved in whole ones.
const HUGE_PAGE: u64 = 2 << 20;

/// Folders in which distributions, the images of Docker and PHP itself keep configuration files; `*` is any name.
const FOLDERS: [&str; 9] = [
    "/etc/php/*/*",
    "/etc/php/*/*/conf.d",
    "/etc",
    "/etc/php.d",
    "/etc/opt/remi/*",
    "/etc/opt/remi/*/php.d",
    "/usr/local/etc/php",
    "/usr/local/etc/php/conf.d",
    "/usr/local/lib",
];

/// Whether any of the usual configuration files below `root` switches it on. Which of them a PHP reads is not asked: one that is
/// wrongly taken for moving is observed without traps, one that is wrongly taken for still would die.
pub(crate) fn is_configured(root: &Path) -> bool {
    let mut folders = FOLDERS.iter().flat_map(|pattern| folders(root, pattern));
    // Those of the system are all read.
    let mut left = u64::MAX;
    folders.any(|folder| folder.is_dir() && sets_in(&folder, &mut left))
}

fn folders(root: &Path, pattern: &str) -> Vec<PathBuf> {
    pattern.split('/').filter(|part| !part.is_empty()).fold(vec![root.to_owned()], |folders, part| match part {
        "*" => {
            let below = |folder: &PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().take(FILES);
            folders.iter().flat_map(below).map(|entry| entry.path()).collect()
        }
        part => folders.into_iter().map(|folder| folder.join(part)).collect(),
    })
}

/// `left` is what may still be read, in bytes; with none, what is not read may switch it on.
fn sets(path: &Path, left: &mut u64) -> bool {
    // A FIFO must not hold us up.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let Some(file) = file.ok().filter(|file| file.metadata().is_ok_and(|metadata| metadata.is_file())) else {
        return false;
    };
    let mut bytes = Vec::new();
    if file.take(FILE_BYTES.min(*left)).read_to_end(&mut bytes).is_err() {
        return false;
    }
    *left -= bytes.len() as u64;
    let sets = |line: &str| !line.trim_start().starts_with([';', '#']) && is_on(line);
    *left == 0 || String::from_utf8_lossy(&bytes).lines().any(sets)
}

/// Values that switch it off.
const OFF: [&str; 6] = ["0", "off", "no", "false", "none", ""];

/// Whether a text switches it on, wherever in it: a line of a configuration file, or an argument such as
/// `-dopcache.huge_code_pages=1`, also of a shell that starts PHP.
pub(crate) fn is_on(text: &str) -> bool {
    text.match_indices(SETTING).any(|(at, _)| {
        let value = text[at + SETTING.len()..].trim_start();
        // Without a value, `-d NAME` means 1.
        let Some(value) = value.strip_prefix('=') else { return !value.starts_with(|c: char| c.is_alphanumeric()) };
        let value = value.trim_start().trim_start_matches(['"', '\'']);
        let word = value.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        !OFF.iter().any(|off| word.eq_ignore_ascii_case(off))
    })
}

/// Whether a process was started with it, or runs from moved code already.
pub(crate) fn is_moving(procfs: &Procfs, pid: u32) -> bool {
    let arguments = procfs.text(pid, "cmdline", COMMAND_BYTES).unwrap_or_default();
    let arguments: Vec<&str> = arguments.split('\0').collect();
    let environment = procfs.text(pid, "environ", COMMAND_BYTES).unwrap_or_default();
    arguments.iter().any(|argument| is_on(argument))
        || named_sets(named(&arguments, &environment), &procfs.path(pid, "root"))
        || procfs.text(pid, "maps", MAPS_BYTES).is_ok_and(|maps| has_moved(&maps))
}

/// Configuration files and folders that a command line (`-c`) and an environment name.
pub(super) fn named<'a>(arguments: &'a [&str], environment: &'a str) -> impl Iterator<Item = PathBuf> + use<'a> {
    let option = |at: usize| match arguments[at].strip_prefix("-c") {
        Some("") => arguments.get(at + 1).copied(),
        joined => joined,
    };
    let variables = environment.split('\0').filter_map(|variable| variable.split_once('='));
    let variables = variables.filter(|(name, _)| matches!(*name, "PHPRC" | "PHP_INI_SCAN_DIR"));
    let options = (0..arguments.len()).filter_map(option);
    options
        .chain(variables.flat_map(|(_, value)| value.split(':')))
        .filter(|path| path.starts_with('/'))
        .map(PathBuf::from)
}

/// Whether any of these files, or a file in these folders, as a process with this root sees them, switches it on.
fn named_sets(paths: impl Iterator<Item = PathBuf>, root: &Path) -> bool {
    let mut left = NAMED_BYTES;
    paths.enumerate().any(|(number, path)| {
        let path = root.join(path.strip_prefix("/").unwrap_or(&path));
        number == NAMED || if path.is_dir() { sets_in(&path, &mut left) } else { sets(&path, &mut left) }
    })
}

/// Whether any configuration file of a folder switches it on.
fn sets_in(folder: &Path, left: &mut u64) -> bool {
    let files = fs::read_dir(folder).into_iter().flatten().take(FILES).flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "ini")).any(|path| sets(&path, left))
}

/// Whether code is in anonymous memory of whole huge pages right beside a file's code, in the text of /proc/PID/maps.
pub(super) fn has_moved(maps: &str) -> bool {
    let lines: Vec<_> = maps.lines().filter_map(executable).collect();
    let (files, others): (Vec<_>, Vec<_>) = lines.into_iter().partition(|&(.., is_file)| is_file);
    let starts: HashSet<u64> = files.iter().map(|&(start, ..)| start).collect();
    let ends: HashSet<u64> = files.iter().map(|&(_, end, _)| end).collect();
    others.iter().any(|(start, end, _)| {
        start % HUGE_PAGE == 0 && (end - start) % HUGE_PAGE == 0 && (ends.contains(start) || starts.contains(end))
    })
}

/// Start, end, and whether it is a file's, of an executable private mapping.
fn executable(line: &str) -> Option<(u64, u64, bool)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let inode = fields.nth(2)?;
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    (permissions.ends_with("xp") && end > start).then_some((start, end, inode != "0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_found_in_a_line_an_argument_and_a_command_of_a_shell() {
        for on in [
            "opcache.huge_code_pages=1",
            "opcache.huge_code_pages = On",
            "-dopcache.huge_code_pages=yes",
            "-d opcache.huge_code_pages=\"1\"",
            "exec php -d opcache.huge_code_pages=1 -r x",
            "-dopcache.huge_code_pages",
        ] {
            assert!(is_on(on), "{on}");
        }
        for off in [
            "opcache.huge_code_pages=0",
            "opcache.huge_code_pages=Off",
            "opcache.huge_code_pages=",
            "opcache.enable=1",
            "",
        ] {
            assert!(!is_on(off), "{off}");
        }
    }

    #[test]
    fn configuration_files_are_read_where_distributions_keep_them_and_comments_are_not() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("etc/php/8.2/fpm/conf.d");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("10-opcache.ini"), "zend_extension=opcache\n; opcache.huge_code_pages=1\n").unwrap();
        assert!(!is_configured(root.path()));
        fs::write(folder.join("99-tuning.ini"), "opcache.memory_consumption=256\n opcache.huge_code_pages = 1\n")
            .unwrap();
        assert!(is_configured(root.path()));
    }

    #[test]
    fn a_process_that_names_more_than_is_read_is_taken_for_one_that_moves() {
        let root = tempfile::tempdir().unwrap();
        let path = |number: usize| PathBuf::from(format!("/{number}.ini"));
        (0..9).for_each(|number| fs::write(root.path().join(format!("{number}.ini")), "x".repeat(1 << 20)).unwrap());
        assert!(!named_sets((0..7).map(path), root.path()));
        assert!(named_sets((0..9).map(path), root.path()));
        assert!(!named_sets((10..10 + NAMED).map(path), root.path()));
        assert!(named_sets((10..11 + NAMED).map(path), root.path()));
    }

    #[test]
    fn a_long_line_and_many_mappings_are_looked_through_once() {
        let line = "opcache.huge_code_pages=0 ".repeat(40_000);
        assert!(!is_on(&line));
        let mapping = |at: u64| format!("{:x}-{:x} r-xp 0 00:00 {} x\n", at << 22, (at << 22) + (2 << 20), at % 2);
        assert!(!has_moved(&(1..65_000).map(mapping).collect::<String>()));
    }

    #[test]
    fn moved_code_is_told_from_a_jit_and_from_other_anonymous_memory() {
        let file = "555555400000-555555600000 r-xp 001ac000 fe:00 123 /usr/sbin/php-fpm8.2\n";
        let moved = "555555600000-555555800000 r-xp 00000000 00:00 0 \n";
        let rest = "555555800000-555555900000 r-xp 005ac000 fe:00 123 /usr/sbin/php-fpm8.2\n";
        assert!(has_moved(&format!("{file}{moved}{rest}")));
        assert!(!has_moved(&format!("{file}{rest}")));
        assert!(!has_moved("7f0000000000-7f0008000000 rwxs 00000000 00:01 99 /dev/zero (deleted)\n"));
        assert!(!has_moved(&format!("{file}7f0000200000-7f0000400000 r-xp 00000000 00:00 0 \n")), "it is elsewhere");
    }
}
