//! Finds the processes that run PHP and the images they run. One look at an executable serves all its processes.
//! It reads /proc and ELF files; attaching is the collector's matter.

use std::{
    collections::{BTreeSet, HashSet},
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
    time::{Duration, Instant},
};

use tusktop_shared::sizes;

use super::{
    installed,
    maps::{self, Mapping},
    moves,
    unobserved::{Unobserved, Why},
    verdicts::Verdicts,
};
use crate::collect::{
    php::image::{Content, Image, ImageError, elf::ElfError},
    procfs::Procfs,
    reads::Reads,
    script::Script,
    trust::{Distrust, Owners},
};

/// Bytes of a command line that are read.
const COMMAND_LINE: u64 = 64 << 10;

/// A PHP image that some process runs.
#[derive(Debug)]
pub(crate) struct Found {
    /// Which find it is: another one may have had its number before.
    pub serial: u64,
    /// Path as its process sees it.
    pub path: PathBuf,
    /// The open file: probes are attached through it, even when it was replaced, lives in a container, or the process
    /// that it was found by has ended.
    file: Arc<File>,
    /// What the file was when it was read.
    id: FileId,
    /// What the file says.
    pub image: Arc<Image>,
    /// Some process of it moves its code, see [`super::moves`]: no trap may be set in it. Once true, it stays so.
    pub moves: bool,
    /// Processes that run it and do not answer. To set a trap, the kernel needs the lock of each one's memory, and until it has that,
    /// nobody on the machine forks: nothing is attached as long as there is one.
    pub held_up_by: BTreeSet<u32>,
    /// The path is that of a trusted user's process.
    vouched: bool,
    /// It was asked for, whether it runs or not.
    asked_for: bool,
    /// It has been put in the place of one that runs, and no process has run it yet.
    pub next: bool,
    /// When a process was last seen to run it.
    ran: Instant,
}

impl Found {
    #[cfg(test)]
    pub(crate) fn new(path: &Path, file: File, image: Image) -> io::Result<Self> {
        let id = FileId::of(&file.metadata()?);
        Ok(Self::with(path, file, id, image))
    }

    fn with(path: &Path, file: File, id: FileId, image: Image) -> Self {
        Self {
            serial: 0,
            path: path.to_owned(),
            file: Arc::new(file),
            id,
            image: Arc::new(image),
            moves: false,
            held_up_by: BTreeSet::new(),
            vouched: false,
            asked_for: false,
            next: false,
            ran: Instant::now(),
        }
    }

    /// Its inode, by which mappings of it are known.
    pub(crate) fn inode(&self) -> u64 {
        self.id.inode
    }

    /// A path by which the kernel finds this very file.
    pub(crate) fn handle(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Whether the file still is what was read, and still trusted, as far as `pid` lets it be read, which runs it.
    fn stays(&mut self, reads: &mut Reads, pid: u32, owners: &Owners) -> bool {
        let (file, image) = (Arc::clone(&self.file), Arc::clone(&self.image));
        let (id, path, owners) = (self.id, self.path.clone(), owners.clone());
        match reads.of(pid, move |_| Ok(id_if_same(&file, id, &image, &path, &owners))) {
            Ok(Some(id)) => {
                self.id = id;
                true
            }
            Ok(None) => false,
            Err(_) => true,
        }
    }
}

/// What a file is now, if it still is what was read, and still trusted. For the kernel a file that only got or lost a name has
/// changed, too: such a one is read again.
fn id_if_same(file: &File, before: FileId, image: &Image, path: &Path, owners: &Owners) -> Option<FileId> {
    let Ok(metadata) = file.metadata() else { return Some(before) };
    let id = FileId::of(&metadata);
    if id == before {
        return Some(id);
    }
    let unwritten = (id.size, id.modified) == (before.size, before.modified);
    let same = || matches!(Image::read(file, path), Ok(Content::Php(now)) if *now == *image);
    Some(id).filter(|_| unwritten && owners.trust(&metadata).is_ok() && same())
}

/// A process that runs a PHP image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapped {
    /// Index into [`Discovery::images`].
    pub image: usize,
    pub bias: u64,
}

/// Identity of a file across mounts: an overlay shows its own device number for the same inode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    pub inode: u64,
    pub size: u64,
    pub modified: (i64, i64),
    pub changed: (i64, i64),
}

impl FileId {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What a file was found to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict {
    /// PHP that is observed, by its number.
    Php(usize),
    /// PHP that is not observed.
    Unobserved,
    /// Not PHP, but programs of this name load it as a library.
    Host,
    /// Not PHP, but it can load libraries.
    Program,
    Plain,
}

/// Programs that usually load PHP as a library when they start: they are looked at more often than others.
const HOSTS: [&str; 8] = ["apache2", "httpd", "frankenphp", "unitd", "uwsgi", "lsphp", "caddy", "php"];

/// Images that are observed, as many as the kernel's map has room for. Each keeps its file open. Files of one owner who is not root
/// can have a part of them.
const IMAGES: usize = sizes::IMAGES as usize;
const SHARE: usize = IMAGES / 4;
/// Libraries of one process that are looked at.
const LIBRARIES: usize = 64;
/// How long an image is kept that no process runs.
const KEPT: Duration = Duration::from_secs(300);
/// The same where another one needs its place.
const IDLE: Duration = Duration::from_secs(10);

/// What a look at a process found.
#[derive(Debug)]
pub(crate) enum Look {
    /// Its files do not answer.
    Unanswered,
    /// It runs PHP.
    Php(Mapped),
    /// It may load PHP soon.
    Host,
    /// It may load PHP some time.
    Program,
    /// It does not run PHP, or none that is observed, or is gone.
    Plain,
}

/// A file to be judged.
#[derive(Debug, Clone)]
struct Candidate {
    /// The process that has it; 0 for none.
    pid: u32,
    /// Where it is opened.
    handle: PathBuf,
    /// Path as its process sees it, and the root of that.
    path: PathBuf,
    root: PathBuf,
    /// The user who runs it.
    user: u32,
}

impl Candidate {
    /// Opens it. Neither a FIFO nor a device, which a stranger may have put there, holds us up or does anything then.
    fn open(&self) -> io::Result<Opened> {
        let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(&self.handle);
        match opened {
            Ok(file) => file.metadata().map(|metadata| Opened::File(file, metadata)),
            // The process has ended; the next one that runs this file tells what it is.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Opened::Gone),
            Err(error) => {
                let owner = fs::metadata(&self.handle).map_or(u32::MAX, |metadata| metadata.uid());
                Ok(Opened::Refused(owner, error))
            }
        }
    }

    /// Judges it by whose it is and where, and if that is trusted by what it says.
    fn read(&self, file: File, metadata: &fs::Metadata, owners: &Owners) -> Contents {
        let owned = owners.trust(metadata);
        let placed = owned.clone().and_then(|()| owners.trust_place(&self.root, &self.path, metadata));
        if let Err(distrust) = placed {
            return Contents::Untrusted { likely: Image::is_likely(&file), everywhere: owned.is_err(), distrust };
        }
        let content = Image::read(&file, &self.path);
        let nameless = matches!(content, Ok(Content::Program | Content::Static))
            && installed::is_program(&self.path)
            && Image::is_nameless(&file);
        Contents::Trusted { file, content, nameless }
    }
}

/// What came of opening a file.
enum Opened {
    File(File, fs::Metadata),
    Gone,
    /// By its owner, and why.
    Refused(u32, io::Error),
}

/// What is in a file.
enum Contents {
    Untrusted {
        /// It may be PHP.
        likely: bool,
        /// Wherever it is.
        everywhere: bool,
        distrust: Distrust,
    },
    Trusted {
        file: File,
        content: Result<Content, ImageError>,
        /// It is called PHP and has no names.
        nameless: bool,
    },
}

/// Remembers what every file was found to be.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    /// Images by number. A number is free again when its image was released.
    pub images: Vec<Option<Found>>,
    /// How processes are looked at.
    pub reads: Reads,
    /// PHP here is set to move its code: that holds for all images that are found.
    pub moves: bool,
    /// Whose programs are observed.
    pub owners: Owners,
    /// PHP that is not observed.
    pub unobserved: Unobserved,
    /// Processes that were found to run PHP that is not observed, and may be now.
    pub again: Vec<u32>,
    verdicts: Verdicts,
    serial: u64,
}

impl Discovery {
    /// An image by its number; `None` when it was released.
    pub(crate) fn image(&self, number: usize) -> Option<&Found> {
        self.images.get(number)?.as_ref()
    }

    /// Looks at the program of a process, and at the libraries of one that usually loads PHP.
    pub(crate) fn look(&mut self, pid: u32) -> Look {
        self.looked(pid, false)
    }

    /// Looks also at the libraries of any program.
    pub(crate) fn look_closely(&mut self, pid: u32) -> Look {
        self.looked(pid, true)
    }

    fn looked(&mut self, pid: u32, closely: bool) -> Look {
        self.try_look(pid, closely).unwrap_or_else(|error| match error.kind() {
            io::ErrorKind::TimedOut => Look::Unanswered,
            // The process ended, or it is another user's, which is a notice of its own.
            _ => Look::Plain,
        })
    }

    /// Looks at a program that need not run.
    pub(crate) fn program(&mut self, path: &Path) {
        let path = path.to_owned();
        let identify = move |_: &Procfs| {
            let path = fs::canonicalize(path)?;
            Ok((FileId::of(&fs::metadata(&path)?), path))
        };
        let Ok((id, path)) = self.reads.of(0, identify) else { return };
        let candidate = Candidate { pid: 0, handle: path.clone(), path, root: "/".into(), user: 0 };
        match self.verdict(id, &candidate) {
            Ok(Verdict::Php(number)) => {
                if let Some(found) = &mut self.images[number] {
                    found.asked_for = true;
                }
            }
            Ok(Verdict::Unobserved) => self.unobserved.ask_for(id, &candidate.path),
            Ok(Verdict::Host | Verdict::Program | Verdict::Plain) | Err(_) => {}
        }
    }

    /// Looks at what is in the place of a program by now: an update has put it there, and the server runs it after its next reload. It
    /// has to be attached to before, for its first requests come sooner than its file is read. `pid` runs the program.
    pub(crate) fn look_ahead(&mut self, number: usize, pid: u32) {
        let Some(found) = self.image(number) else { return };
        let (path, inode, moves) = (found.path.clone(), found.inode(), found.moves);
        let user = self.reads.procfs.uid(pid).unwrap_or(u32::MAX);
        // In a mount namespace of his own, a stranger has any file there. And what may never run takes no room from what does.
        let has_room = self.images.iter().flatten().count() < IMAGES / 2;
        if !found.vouched || !self.owners.include(user) || !has_room {
            return;
        }
        let below = path.strip_prefix("/").unwrap_or(&path).to_owned();
        let identify = move |procfs: &Procfs| {
            // In a container the path is that below its root, and of a process after chroot(2) that below ours.
            let roots = [procfs.path(pid, "root"), "/".into()];
            for root in roots {
                let handle = root.join(&below);
                match fs::symlink_metadata(&handle) {
                    Ok(metadata) => return Ok((metadata.is_file().then(|| FileId::of(&metadata)), handle, root)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Err(io::ErrorKind::NotFound.into())
        };
        let Ok((Some(id), handle, root)) = self.reads.of(pid, identify) else { return };
        if id.inode == inode {
            return;
        }
        let candidate = Candidate { pid, handle, path, root, user };
        let serial = self.serial;
        if let Ok(Verdict::Php(next)) = self.verdict(id, &candidate)
            && let Some(found) = &mut self.images[next]
        {
            found.ran = Instant::now();
            found.moves |= moves;
            found.next |= found.serial > serial;
        }
    }

    /// Takes images off the list that no process runs any more, and those whose file was changed in place. Returns their numbers.
    /// `runs` says which process runs an image.
    pub(crate) fn release(&mut self, now: Instant, runs: impl Fn(usize) -> Option<u32>) -> Vec<usize> {
        let mut released = Vec::new();
        // Where one got no number, others need not be kept for longer than they would be if it came now.
        let is_full = self.images.len() == IMAGES && self.images.iter().all(Option::is_some);
        let kept = if is_full && self.unobserved.lacks_room() { IDLE } else { KEPT };
        for (number, slot) in self.images.iter_mut().enumerate() {
            let Some(found) = slot else { continue };
            let pid = runs(number);
            if found.asked_for || pid.is_some() {
                found.ran = now;
            }
            if !found.stays(&mut self.reads, pid.unwrap_or(0), &self.owners)
                || now.saturating_duration_since(found.ran) >= kept
            {
                *slot = None;
                self.verdicts.forget(number);
                released.push(number);
            }
        }
        if !released.is_empty() {
            self.unobserved.make_room();
        }
        released
    }

    fn try_look(&mut self, pid: u32, closely: bool) -> io::Result<Look> {
        let (id, candidate) = self.reads.of(pid, move |procfs| {
            let handle = procfs.path(pid, "exe");
            let id = FileId::of(&fs::metadata(&handle)?);
            let (path, root) = (executable(procfs, pid)?, procfs.path(pid, "root"));
            Ok((id, Candidate { pid, handle, path, root, user: procfs.uid(pid).unwrap_or(u32::MAX) }))
        })?;
        let verdict = self.verdict(id, &candidate)?;
        match verdict {
            Verdict::Php(image) => {
                let mapping = move |procfs: &Procfs| {
                    Ok(maps::of(procfs, pid)?.into_iter().find(|mapping| mapping.inode == id.inode))
                };
                let mapping = self.reads.of(pid, mapping);
                let look = mapping.and_then(|mapping| self.mapped(image, mapping, &candidate));
                return look.inspect_err(|error| self.note_held_up(image, pid, error));
            }
            Verdict::Unobserved => {
                self.unobserved.run(pid, id, &candidate.path);
                return Ok(Look::Plain);
            }
            Verdict::Plain => return Ok(Look::Plain),
            Verdict::Program if !closely => return Ok(Look::Program),
            Verdict::Host | Verdict::Program => {}
        }
        for mapping in self.reads.of(pid, move |procfs| libraries(procfs, pid))? {
            let Some(path) = mapping.path.clone() else { continue };
            let handle = self.reads.procfs.path(pid, &format!("map_files/{}", mapping.range));
            let candidate = Candidate { handle: handle.clone(), path, ..candidate.clone() };
            let id = match self.reads.of(pid, move |_| fs::metadata(handle)) {
                Ok(metadata) => FileId::of(&metadata),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
                Err(_) => continue,
            };
            match self.verdict(id, &candidate)? {
                Verdict::Php(image) => {
                    let look = self.mapped(image, Some(mapping), &candidate);
                    return look.inspect_err(|error| self.note_held_up(image, pid, error));
                }
                Verdict::Unobserved => self.unobserved.run(pid, id, &candidate.path),
                Verdict::Host | Verdict::Program | Verdict::Plain => {}
            }
        }
        Ok(if matches!(verdict, Verdict::Host) { Look::Host } else { Look::Program })
    }

    fn note_held_up(&mut self, image: usize, pid: u32, error: &io::Error) {
        if error.kind() == io::ErrorKind::TimedOut
            && let Some(found) = &mut self.images[image]
        {
            found.held_up_by.insert(pid);
        }
    }

    /// Forgets who held up an image and answers by now, or has ended.
    pub(crate) fn judge_held_up(&mut self) {
        let reads = &mut self.reads;
        for found in self.images.iter_mut().flatten() {
            found.held_up_by.retain(|&pid| reads.procfs.is_there(pid) && reads.is_left_out(pid));
        }
    }

    fn mapped(&mut self, image: usize, mapping: Option<Mapping>, candidate: &Candidate) -> io::Result<Look> {
        let pid = candidate.pid;
        let moves = self.reads.of(pid, move |procfs| Ok(moves::is_moving(procfs, pid)))?;
        let Some(found) = &mut self.images[image] else { return Ok(Look::Plain) };
        if !found.vouched && self.owners.include(candidate.user) {
            // In a mount namespace of his own, a stranger gives it any path.
            found.path.clone_from(&candidate.path);
            found.vouched = true;
        }
        found.moves |= moves;
        found.next = false;
        found.ran = Instant::now();
        let bias = mapping.and_then(|mapping| found.image.bias(mapping.start, mapping.offset));
        Ok(bias.map_or(Look::Plain, |bias| Look::Php(Mapped { image, bias })))
    }

    fn verdict(&mut self, id: FileId, candidate: &Candidate) -> io::Result<Verdict> {
        if let Some(verdict) = self.verdicts.of(id) {
            return Ok(verdict);
        }
        let (pid, path) = (candidate.pid, &*candidate.path);
        if self.unobserved.has(id, path) {
            return Ok(Verdict::Unobserved);
        }
        let opening = candidate.clone();
        let (file, metadata) = match self.reads.of(pid, move |_| opening.open())? {
            Opened::File(file, metadata) if metadata.is_file() => (file, metadata),
            Opened::File(..) | Opened::Gone => return Ok(Verdict::Plain),
            Opened::Refused(owner, source) => {
                return Ok(self.unread(id, owner, path, ImageError::Open { path: path.to_owned(), source }));
            }
        };
        // What counts is what was opened: the process may have become another program meanwhile.
        let id = FileId::of(&metadata);
        if let Some(number) = self.known(id, pid) {
            return Ok(self.verdicts.remember(id, Verdict::Php(number)));
        }
        // Whose share of the list it takes: a stranger can run root's files from many places.
        let of_file = metadata.uid();
        let owner = if self.owners.include(candidate.user) { of_file } else { candidate.user };
        let (reading, owners) = (candidate.clone(), self.owners.clone());
        let contents = self.reads.of(pid, move |_| Ok(reading.read(file, &metadata, &owners)))?;
        let (file, content, nameless) = match contents {
            Contents::Untrusted { likely: true, distrust, .. } => {
                self.unobserved.add(id, path, owner, Why::Untrusted(distrust));
                return Ok(Verdict::Unobserved);
            }
            Contents::Untrusted { everywhere: true, .. } => {
                return Ok(self.verdicts.remember(id, program_or_host(path)));
            }
            // The same file in another place is looked at in full.
            Contents::Untrusted { .. } => return Ok(program_or_host(path)),
            Contents::Trusted { file, content, nameless } => (file, content, nameless),
        };
        Ok(match content {
            Ok(Content::Php(image)) => {
                let vouched = self.owners.include(candidate.user);
                let found = Found { moves: self.moves, vouched, ..Found::with(path, file, id, *image) };
                match self.take(found, of_file) {
                    Some(number) => {
                        self.again.extend(self.unobserved.forget(id));
                        self.verdicts.remember(id, Verdict::Php(number))
                    }
                    None => self.unread(id, owner, path, ImageError::TooMany { path: path.to_owned() }),
                }
            }
            Ok(Content::Program | Content::Static) if nameless => {
                self.unread(id, owner, path, ImageError::Nameless { path: path.to_owned() })
            }
            Ok(Content::Program) => self.verdicts.remember(id, program_or_host(path)),
            Ok(Content::Static) => self.verdicts.remember(id, Verdict::Plain),
            // It is not the file's fault: it is looked at again.
            Err(ImageError::Elf { source: ElfError::Time, .. }) => Verdict::Host,
            Err(error) => self.unread(id, owner, path, error),
        })
    }

    /// The image of a file that has got another name since it was read.
    fn known(&mut self, id: FileId, pid: u32) -> Option<usize> {
        let Self { images, reads, owners, .. } = self;
        images.iter_mut().position(|slot| {
            let same = slot.as_mut().filter(|found| (found.id.inode, found.id.size) == (id.inode, id.size));
            same.is_some_and(|found| found.stays(reads, pid, owners) && found.id == id)
        })
    }

    /// Gives an image a number: a free one, or that of the image that no process has run for the longest time.
    fn take(&mut self, found: Found, owner: u32) -> Option<usize> {
        let of_owner = |other: &&Found| other.file.metadata().is_ok_and(|metadata| metadata.uid() == owner);
        if owner != 0 && self.images.iter().flatten().filter(of_owner).count() >= SHARE {
            return None;
        }
        self.serial += 1;
        let found = Found { serial: self.serial, ..found };
        let number = match self.images.iter().position(Option::is_none) {
            Some(free) => free,
            None if self.images.len() < IMAGES => {
                self.images.push(None);
                self.images.len() - 1
            }
            None => self.idle()?,
        };
        self.verdicts.forget(number);
        self.images[number] = Some(found);
        Some(number)
    }

    /// The image that no process has run for the longest time, if that is longer than a look at all processes takes.
    fn idle(&self) -> Option<usize> {
        let images = self.images.iter().enumerate().filter_map(|(number, slot)| Some((slot.as_ref()?, number)));
        let idle = images.filter(|(found, _)| !found.asked_for && found.ran.elapsed() >= IDLE);
        idle.min_by_key(|(found, _)| found.ran).map(|(_, number)| number)
    }

    /// A file cannot be read, which matters where its name says that it is PHP.
    fn unread(&mut self, id: FileId, owner: u32, path: &Path, error: ImageError) -> Verdict {
        if !is_host(path) {
            return self.verdicts.remember(id, Verdict::Plain);
        }
        self.unobserved.add(id, path, owner, Why::Unread(error));
        Verdict::Unobserved
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

fn program_or_host(path: &Path) -> Verdict {
    if is_host(path) { Verdict::Host } else { Verdict::Program }
}

fn is_host(path: &Path) -> bool {
    path.file_name().is_some_and(|name| HOSTS.iter().any(|host| name.to_string_lossy().starts_with(host)))
}

/// Mappings of files that may be PHP as a library, one of each file. Apache has one; a process can have any number.
fn libraries(procfs: &Procfs, pid: u32) -> io::Result<Vec<Mapping>> {
    let mut files = HashSet::new();
    let mappings = maps::of(procfs, pid)?.into_iter();
    let mut libraries = mappings.filter(|mapping| mapping.path.as_deref().is_some_and(is_library));
    Ok(libraries.by_ref().filter(|mapping| files.insert(mapping.inode)).take(LIBRARIES).collect())
}

fn is_library(path: &Path) -> bool {
    path.file_name().map(|name| name.to_string_lossy()).is_some_and(|name| {
        (name.starts_with("libphp") || name.starts_with("mod_php") || name.starts_with("php")) && name.contains(".so")
    })
}

/// Title of a process, as far as it tells a pool.
pub(crate) fn title(procfs: &Procfs, pid: u32) -> io::Result<String> {
    procfs.text(pid, "cmdline", COMMAND_LINE)
}

/// What PHP on the command line runs.
pub(crate) fn script(procfs: &Procfs, pid: u32) -> io::Result<Option<Script>> {
    Ok(Script::of(&procfs.bytes(pid, "cmdline", COMMAND_LINE)?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Takes a file as an image, as if it were PHP of a user.
    fn take(discovery: &mut Discovery, path: &Path, owner: u32) -> Option<usize> {
        discovery.take(Found::new(path, File::open(path).unwrap(), Image::default()).unwrap(), owner)
    }

    #[test]
    fn an_image_is_let_go_when_nobody_runs_it_for_minutes_and_its_number_is_used_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut discovery = Discovery::default();
        assert_eq!((take(&mut discovery, file.path(), 0), take(&mut discovery, file.path(), 0)), (Some(0), Some(1)));
        let first = discovery.image(1).unwrap().serial;
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(discovery.release(later(299), |number| (number == 0).then_some(1)), [0; 0]);
        assert_eq!(discovery.release(later(301), |_| None), [1]);
        assert!(discovery.image(1).is_none() && discovery.image(0).is_some());
        assert_eq!(take(&mut discovery, file.path(), 0), Some(1));
        assert_ne!(discovery.image(1).unwrap().serial, first);
    }

    #[test]
    fn one_that_got_no_number_gets_that_of_one_that_nobody_runs() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path();
        let mut discovery = Discovery::default();
        while take(&mut discovery, path, 0).is_some() {}
        let later = |seconds| Instant::now() + Duration::from_secs(seconds);
        assert_eq!(discovery.release(later(20), |number| (number != 7).then_some(1)), [0; 0], "they are kept");
        let why = Why::Unread(ImageError::TooMany { path: path.to_owned() });
        discovery.unobserved.add(FileId::default(), path, 0, why);
        assert_eq!(discovery.release(later(40), |number| (number != 7).then_some(1)), [7]);
        assert!(!discovery.unobserved.lacks_room(), "it is looked at again");
    }

    #[test]
    fn a_file_that_is_written_or_given_away_is_let_go_at_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let owners = Owners::new(vec![rustix::process::geteuid().as_raw()]);
        let mut discovery = Discovery { owners, ..Discovery::default() };
        take(&mut discovery, file.path(), 0);
        assert_eq!(discovery.release(Instant::now(), |_| Some(1)), [0; 0]);
        fs::write(file.path(), "new").unwrap();
        assert_eq!(discovery.release(Instant::now(), |_| Some(1)), [0]);
        take(&mut discovery, file.path(), 0);
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(discovery.release(Instant::now(), |_| Some(1)), [0]);
    }

    #[test]
    fn one_owner_has_a_part_of_the_numbers_and_what_runs_is_never_pushed_out() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let owner = file.as_file().metadata().unwrap().uid();
        let mut discovery = Discovery::default();
        let taken = (0..IMAGES).filter(|_| take(&mut discovery, file.path(), owner.max(1)).is_some()).count();
        // The files really belong to whoever runs the test: as root they fill no other user's share.
        assert_eq!(taken, if owner == 0 { IMAGES } else { SHARE });
        while take(&mut discovery, file.path(), 0).is_some() {}
        assert_eq!(discovery.images.iter().flatten().count(), IMAGES);
        discovery.images[7].as_mut().unwrap().ran -= IDLE;
        assert_eq!(take(&mut discovery, file.path(), 0), Some(7));
    }
}
