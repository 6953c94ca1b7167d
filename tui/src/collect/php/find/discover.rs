//! Finds the processes that run PHP and the images they run. One look at an executable serves all its processes.
//! It reads /proc and ELF files; attaching is the collector's matter.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, OpenOptionsExt},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use tusktop_shared::{URI_APACHE, URI_FASTCGI, URI_SAPI, sizes};

use super::{
    maps::{self, Mapping},
    moves,
};
use crate::{
    collect::{
        php::image::{Image, ImageError},
        procfs::Procfs,
    },
    model::pool_of_title,
};

/// Bytes of a command line that are read.
const COMMAND_LINE: u64 = 64 << 10;

/// Server API of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sapi {
    /// Command line, `php -S` included.
    Cli,
    /// php-fpm.
    Fpm,
    /// php-cgi.
    Cgi,
    /// Apache's module.
    Apache,
    /// PHP inside another program.
    Embed,
}

impl Sapi {
    /// Name as the snapshot has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Fpm => "fpm",
            Self::Cgi => "cgi",
            Self::Apache => "apache",
            Self::Embed => "embed",
        }
    }

    /// Where the programs find the URI.
    pub(crate) fn uri_source(self) -> u32 {
        match self {
            Self::Fpm | Self::Cgi => URI_FASTCGI,
            Self::Apache => URI_APACHE,
            Self::Cli | Self::Embed => URI_SAPI,
        }
    }

    fn of(image: &Path, executable: &Path) -> Self {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (image, executable) = (name(image), name(executable));
        if image.contains("php") && image.contains(".so") {
            if executable.starts_with("apache2") || executable.starts_with("httpd") {
                Self::Apache
            } else {
                Self::Embed
            }
        } else if image.contains("fpm") {
            Self::Fpm
        } else if image.contains("cgi") {
            Self::Cgi
        } else {
            Self::Cli
        }
    }
}

/// A PHP image that some process runs.
#[derive(Debug)]
pub(crate) struct Found {
    /// Path as its process sees it.
    pub path: PathBuf,
    /// The open file: probes are attached through it, even when it was replaced, lives in a container, or the process
    /// that it was found by has ended.
    file: File,
    pub sapi: Sapi,
    /// What the file says.
    pub image: Image,
    /// Some process of it moves its code, see [`super::moves`]: no trap may be set in it. Once true, it stays so.
    pub moves: bool,
}

impl Found {
    #[cfg(test)]
    pub(crate) fn new(path: PathBuf, file: File, sapi: Sapi, image: Image) -> Self {
        Self { path, file, sapi, image, moves: false }
    }

    /// Its inode, by which mappings of it are known.
    pub(crate) fn inode(&self) -> Option<u64> {
        self.file.metadata().ok().map(|metadata| metadata.ino())
    }

    /// A path by which the kernel finds this very file.
    pub(crate) fn handle(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

/// A process that runs a PHP image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapped {
    /// Index into [`Discovery::images`].
    pub image: usize,
    pub bias: u64,
}

/// Identity of a file across mounts: an overlay shows its own device number for the same inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct FileId {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl FileId {
    fn of(metadata: &fs::Metadata) -> Self {
        Self { inode: metadata.ino(), size: metadata.size(), changed: (metadata.ctime(), metadata.ctime_nsec()) }
    }
}

#[derive(Debug, Clone, Copy)]
enum Verdict {
    Php(usize),
    /// Not PHP, but programs of this name load it as a library.
    Host,
    Plain,
}

/// Programs that load PHP as a library.
const HOSTS: [&str; 8] = ["apache2", "httpd", "frankenphp", "unitd", "uwsgi", "lsphp", "caddy", "php"];
/// Executables and libraries that are remembered; more make it start over.
const FILES: usize = 4096;

/// Images that are observed, as many as the kernel's map has room for. Each keeps its file open.
const IMAGES: usize = sizes::IMAGES as usize;

/// Files that could not be read of which a notice is given.
const FAILURES: usize = 8;

/// What a look at a process found.
#[derive(Debug)]
pub(crate) enum Look {
    /// It runs PHP.
    Php(Mapped),
    /// It may load PHP later.
    Host,
    /// It does not run PHP, or is gone.
    Plain,
}

/// Remembers what every file was found to be.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    /// Images found so far; they are never removed, so an index stays good.
    pub images: Vec<Found>,
    /// Where processes are looked at.
    pub procfs: Procfs,
    /// PHP here is set to move its code: that holds for all images that are found.
    pub moves: bool,
    files: HashMap<FileId, Verdict>,
    failures: HashMap<PathBuf, ImageError>,
}

impl Discovery {
    /// Looks at one process.
    pub(crate) fn look(&mut self, pid: u32) -> Look {
        match self.try_look(pid) {
            Ok(look) => look,
            // The process ended, or it is another user's: that is a notice of its own.
            Err(_) => Look::Plain,
        }
    }

    /// Looks at a program that need not run.
    pub(crate) fn program(&mut self, path: &Path) {
        // The file's own name tells its kind, also where an alternatives system links to it.
        let Ok(path) = fs::canonicalize(path) else { return };
        let Ok(metadata) = fs::metadata(&path) else { return };
        let text = path.to_string_lossy();
        let executable = match is_library(&path) && (text.contains("apache") || text.contains("httpd")) {
            true => Path::new("apache2"),
            false => &path,
        };
        if metadata.is_file() {
            self.verdict(FileId::of(&metadata), &path, &path, executable);
        }
    }

    /// Files that look like PHP but could not be read.
    pub(crate) fn failures(&self) -> impl Iterator<Item = &ImageError> {
        self.failures.values()
    }

    fn try_look(&mut self, pid: u32) -> io::Result<Look> {
        let handle = self.procfs.path(pid, "exe");
        let id = FileId::of(&fs::metadata(&handle)?);
        let executable = executable(&self.procfs, pid)?;
        match self.verdict(id, &handle, &executable, &executable) {
            Verdict::Php(image) => {
                let mapping = maps::of(&self.procfs, pid)?.into_iter().find(|mapping| mapping.inode == id.inode);
                Ok(self.mapped(pid, image, mapping))
            }
            Verdict::Plain => Ok(Look::Plain),
            Verdict::Host => {
                for mapping in maps::of(&self.procfs, pid)? {
                    let Some(path) = mapping.path.clone().filter(|path| is_library(path)) else { continue };
                    let handle = self.procfs.path(pid, &format!("map_files/{}", mapping.range));
                    let Ok(metadata) = fs::metadata(&handle) else { continue };
                    if let Verdict::Php(image) = self.verdict(FileId::of(&metadata), &handle, &path, &executable) {
                        return Ok(self.mapped(pid, image, Some(mapping)));
                    }
                }
                Ok(Look::Host)
            }
        }
    }

    fn mapped(&mut self, pid: u32, image: usize, mapping: Option<Mapping>) -> Look {
        let found = &mut self.images[image];
        found.moves |= moves::is_moving(&self.procfs, pid);
        mapping
            .and_then(|mapping| found.image.bias(mapping.start, mapping.offset))
            .map_or(Look::Plain, |bias| Look::Php(Mapped { image, bias }))
    }

    fn verdict(&mut self, id: FileId, handle: &Path, path: &Path, executable: &Path) -> Verdict {
        if let Some(&verdict) = self.files.get(&id) {
            return verdict;
        }
        // Neither a FIFO nor a device, which a stranger may have put there, holds us up or does anything when it is opened.
        let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(handle);
        let file = match opened {
            Ok(file) => file,
            // The process has ended; the next one that runs this file tells what it is.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Verdict::Plain,
            Err(source) => return self.failed(id, path, ImageError::Open { path: path.to_owned(), source }),
        };
        // What counts is what was opened: the process may have become another program meanwhile.
        let id = match file.metadata() {
            Ok(metadata) if metadata.is_file() => FileId::of(&metadata),
            _ => return Verdict::Plain,
        };
        let verdict = match Image::read(&file, path) {
            Ok(Some(_)) if self.images.len() >= IMAGES => {
                return self.failed(id, path, ImageError::TooMany { path: path.to_owned() });
            }
            Ok(Some(image)) => {
                self.images.push(Found {
                    path: path.to_owned(),
                    file,
                    sapi: Sapi::of(path, executable),
                    image,
                    moves: self.moves,
                });
                Verdict::Php(self.images.len() - 1)
            }
            Ok(None) if is_host(path) => Verdict::Host,
            Ok(None) => Verdict::Plain,
            Err(error) => return self.failed(id, path, error),
        };
        self.remember(id, verdict)
    }

    fn failed(&mut self, id: FileId, path: &Path, error: ImageError) -> Verdict {
        if is_host(path) && self.failures.len() < FAILURES {
            self.failures.insert(path.to_owned(), error);
        }
        self.remember(id, Verdict::Plain)
    }

    fn remember(&mut self, id: FileId, verdict: Verdict) -> Verdict {
        if self.files.len() >= FILES {
            self.files.retain(|_, verdict| matches!(verdict, Verdict::Php(_)));
        }
        self.files.insert(id, verdict);
        verdict
    }
}

/// Path of the program that a process runs, without the kernel's mark of one that was deleted.
pub(crate) fn executable(procfs: &Procfs, pid: u32) -> io::Result<PathBuf> {
    let link = procfs.path(pid, "exe");
    let path = fs::read_link(&link)?;
    let deleted = fs::metadata(&link).is_ok_and(|metadata| metadata.nlink() == 0);
    let text = path.as_os_str().as_bytes();
    match text.strip_suffix(b" (deleted)").filter(|_| deleted) {
        Some(unmarked) => Ok(PathBuf::from(OsStr::from_bytes(unmarked))),
        None => Ok(path),
    }
}

fn is_host(path: &Path) -> bool {
    path.file_name().is_some_and(|name| HOSTS.iter().any(|host| name.to_string_lossy().starts_with(host)))
}

fn is_library(path: &Path) -> bool {
    path.file_name().map(|name| name.to_string_lossy()).is_some_and(|name| {
        (name.starts_with("libphp") || name.starts_with("mod_php") || name.starts_with("php")) && name.contains(".so")
    })
}

/// Pool of a php-fpm worker by its title.
pub(crate) fn pool(procfs: &Procfs, pid: u32) -> Option<Arc<str>> {
    pool_of_title(&procfs.text(pid, "cmdline", COMMAND_LINE).ok()?).map(Arc::from)
}

/// Script of a command line PHP: its first argument that is no option.
pub(crate) fn script(procfs: &Procfs, pid: u32) -> Option<String> {
    let arguments = procfs.bytes(pid, "cmdline", COMMAND_LINE).ok()?;
    let mut arguments = arguments.split(|&byte| byte == 0).skip(1).map(String::from_utf8_lossy);
    loop {
        let argument = arguments.next()?;
        if matches!(&*argument, "-d" | "-c" | "-z") {
            arguments.next();
        } else if !argument.starts_with('-') && !argument.is_empty() {
            return Some(argument.into_owned());
        } else if matches!(&*argument, "-r" | "-S" | "-B" | "-R") {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_api_follows_from_the_names() {
        let of = |image, executable| Sapi::of(Path::new(image), Path::new(executable));
        assert_eq!(of("/usr/sbin/php-fpm8.2", "/usr/sbin/php-fpm8.2"), Sapi::Fpm);
        assert_eq!(of("/usr/bin/php8.2", "/usr/bin/php8.2"), Sapi::Cli);
        assert_eq!(of("/usr/bin/php-cgi8.2", "/usr/bin/php-cgi8.2"), Sapi::Cgi);
        assert_eq!(of("/usr/lib/apache2/modules/libphp8.2.so", "/usr/sbin/apache2"), Sapi::Apache);
        assert_eq!(of("/usr/lib/libphp.so", "/usr/local/bin/frankenphp"), Sapi::Embed);
    }
}
