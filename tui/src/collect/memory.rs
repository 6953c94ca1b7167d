//! The memory of other processes, read by a process of our own that can be given up. A page of another process may belong to a
//! file system that does not answer: whoever touches it waits in the kernel, and no signal ends that. A thread that waits so would
//! keep all of tusktop from ending, with every probe attached.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::{fs::FileExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Signal, set_parent_process_death_signal},
};

/// Most bytes that are read at once: an answer is written in one piece (`PIPE_BUF`).
const MOST: usize = 4_000;
/// Bytes of a request: pid and length, address.
const REQUEST: usize = 16;
/// Bytes of an answer before the memory: an error number, 0 for none.
const STATUS: usize = 4;

/// Why memory was not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// The kernel says why.
    Failed(io::Error),
    /// It does not answer. The other end is dropped when it does.
    Silent(Receiver<()>),
}

/// Reads memory of processes.
#[derive(Debug)]
pub(super) struct Memory {
    /// tusktop itself.
    program: PathBuf,
    /// It is started when it is first needed, and again after one was given up.
    reader: Option<Reader>,
}

#[derive(Debug)]
struct Reader {
    child: Child,
    requests: ChildStdin,
    answers: ChildStdout,
}

impl Memory {
    /// By this program, which is tusktop.
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program, reader: None }
    }

    /// Fills `bytes`, at most 4 000, from an address of a process.
    ///
    /// # Errors
    /// The process is gone, has nothing there, or does not answer within `patience`.
    pub(crate) fn read(&mut self, pid: u32, address: u64, bytes: &mut [u8], patience: Duration) -> Result<(), Unread> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::start(&self.program).map_err(Unread::Failed)?,
        };
        match reader.read(pid, address, bytes, patience) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Unread::Silent(reader.give_up())),
            // It has ended, which nothing that it reads can cause.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                reader.give_up();
                Err(Unread::Failed(error))
            }
            answer => {
                self.reader = Some(reader);
                answer.map_err(Unread::Failed)
            }
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.reader.take().map(Reader::give_up);
    }
}

impl Reader {
    fn start(program: &Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg0("tusktop").arg("read-memory").env_clear().current_dir("/");
        // A key such as ^C is not for it: it ends when nobody asks it any more.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn()?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        Ok(Self { child, requests, answers })
    }

    fn read(&mut self, pid: u32, address: u64, bytes: &mut [u8], patience: Duration) -> io::Result<()> {
        if bytes.len() > MOST {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut request = [0; REQUEST];
        request[..4].copy_from_slice(&pid.to_ne_bytes());
        request[4..8].copy_from_slice(&(bytes.len() as u32).to_ne_bytes());
        request[8..].copy_from_slice(&address.to_ne_bytes());
        self.requests.write_all(&request)?;
        if !self.has_answered(patience)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut status = [0; STATUS];
        let ended = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::ErrorKind::BrokenPipe.into(),
            _ => error,
        };
        self.answers.read_exact(&mut status).map_err(ended)?;
        self.answers.read_exact(bytes).map_err(ended)?;
        match i32::from_ne_bytes(status) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    fn has_answered(&self, patience: Duration) -> io::Result<bool> {
        let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.answers, PollFlags::IN)], Some(&patience)) {
            Ok(ready) => Ok(ready > 0),
            // It is asked again, so a signal only makes us wait longer.
            Err(Errno::INTR) => self.has_answered(Duration::try_from(patience).unwrap_or_default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Leaves it alone, and tells when it has ended: it does when it finds that nobody takes its answer. It is not killed, for then
    /// it would end although what it waits for does not answer.
    fn give_up(self) -> Receiver<()> {
        let (alive, ended) = channel::<()>();
        let Self { mut child, .. } = self;
        // Where no thread can be started it stays a zombie until tusktop ends.
        let _ = thread::Builder::new().name("memory".into()).stack_size(64 << 10).spawn(move || {
            let _ = child.wait();
            drop(alive);
        });
        ended
    }
}

/// What the other process does: answers requests until nobody asks any more.
///
/// # Errors
/// An answer cannot be written.
pub fn serve() -> io::Result<()> {
    // Also where it waits for memory at that moment, if the kernel lets it end.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let (mut requests, mut answers) = (io::stdin().lock(), io::stdout().lock());
    let mut request = [0; REQUEST];
    while requests.read_exact(&mut request).is_ok() {
        let [p0, p1, p2, p3, l0, l1, l2, l3, address @ ..] = request;
        let pid = u32::from_ne_bytes([p0, p1, p2, p3]);
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let mut answer = [0; STATUS + MOST];
        let end = STATUS + length.min(MOST);
        let read = File::open(format!("/proc/{pid}/mem"))
            .and_then(|memory| memory.read_exact_at(&mut answer[STATUS..end], u64::from_ne_bytes(address)));
        if let Err(error) = read {
            answer[..STATUS].copy_from_slice(&error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes());
        }
        answers.write_all(&answer[..end])?;
        answers.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_an_answer_holds_is_refused() {
        let reader = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = reader.unwrap();
        let (requests, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut reader = Reader { child, requests, answers };
        let refused = reader.read(1, 0, &mut [0; MOST + 1], Duration::ZERO).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        let mut memory = Memory { program: PathBuf::new(), reader: Some(reader) };
        // What comes back begins with the pid, as an error number.
        let failed = memory.read(libc::ESRCH as u32, 0, &mut [0; 4], Duration::from_secs(60));
        assert!(matches!(failed, Err(Unread::Failed(error)) if error.raw_os_error() == Some(libc::ESRCH)));
    }

    #[test]
    fn one_that_does_not_answer_is_left_and_says_when_it_has_ended() {
        let mut reader = Command::new("sh");
        reader.args(["-c", "cat > /dev/null; exit"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = reader.spawn().unwrap();
        let (requests, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut memory = Memory { program: PathBuf::new(), reader: Some(Reader { child, requests, answers }) };
        let Err(Unread::Silent(ended)) = memory.read(1, 0, &mut [0; 8], Duration::from_millis(1)) else { panic!() };
        assert!(memory.reader.is_none(), "the next one is asked of another");
        assert_eq!(ended.recv(), Err(std::sync::mpsc::RecvError));
    }
}
