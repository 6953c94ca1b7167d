//! PHP programs on the disk, found by the names and folders that distributions use. `discover` checks whether a file really is
//! PHP.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Folders of programs besides those of PATH.
const PROGRAMS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Folders in which Apache's modules are, on Debian, Fedora, Alpine and where PHP's own Makefile puts them.
const MODULES: [&str; 5] = [
    "/usr/lib/apache2/modules",
    "/usr/lib64/httpd/modules",
    "/usr/lib/apache2",
    "/usr/local/apache2/modules",
    "/usr/lib64/apache2",
];
/// Files that are returned.
const LIMIT: usize = 32;

/// What a file of this name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    CommandLine,
    Server,
    Module,
}

/// PHP programs and modules of Apache, each once, whatever links lead to it.
pub(crate) fn installed() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let programs = env::split_paths(&path).filter(|folder| folder.is_absolute());
    let programs = programs.chain(PROGRAMS.iter().map(PathBuf::from));
    let mut found = Vec::new();
    for folder in programs.chain(MODULES.iter().map(PathBuf::from)) {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        let mut paths: Vec<_> =
            entries.flatten().map(|entry| entry.path()).filter(|path| kind(path).is_some()).collect();
        paths.sort();
        for path in paths {
            let Ok(path) = fs::canonicalize(path) else { continue };
            if found.len() < LIMIT && kind(&path).is_some() && !found.contains(&path) {
                found.push(path);
            }
        }
    }
    found
}

/// Whether it is a PHP for the command line, by its name.
pub(crate) fn is_command_line(path: &Path) -> bool {
    kind(path) == Some(Kind::CommandLine)
}

fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    let is_version = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    for module in ["libphp", "mod_php"] {
        if let Some(version) = name.strip_prefix(module).and_then(|rest| rest.strip_suffix(".so")) {
            return is_version(version).then_some(Kind::Module);
        }
    }
    let rest = name.strip_prefix("php")?;
    for server in ["-fpm", "-cgi"] {
        if let Some(version) = rest.strip_prefix(server) {
            return is_version(version).then_some(Kind::Server);
        }
    }
    is_version(rest).then_some(Kind::CommandLine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_file_is() {
        let cases = [
            ("/usr/bin/php", Some(Kind::CommandLine)),
            ("/usr/bin/php8.2", Some(Kind::CommandLine)),
            ("/usr/bin/php82", Some(Kind::CommandLine)),
            ("/usr/sbin/php-fpm8.2", Some(Kind::Server)),
            ("/usr/bin/php-cgi", Some(Kind::Server)),
            ("/usr/lib/apache2/modules/libphp8.2.so", Some(Kind::Module)),
            ("/usr/lib/apache2/mod_php83.so", Some(Kind::Module)),
            ("/usr/bin/phpize", None),
            ("/usr/bin/php-config8.2", None),
            ("/usr/bin/phpunit", None),
            ("/usr/lib/libphp8.2.so.1", None),
        ];
        for (path, expected) in cases {
            assert_eq!(kind(Path::new(path)), expected, "{path}");
        }
    }
}
