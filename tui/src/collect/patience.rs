//! Reads that may wait for as long as the process that is read wants them to: a thread that holds the lock of its memory, or a page
//! of a file system that does not answer, stops whoever reads its mappings, arguments or memory, and such a wait cannot be ended.
//! Each runs on a thread of its own, which is left behind when it takes too long. What is read is the caller's matter.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

/// How long a read may take. Those of a process that answers take microseconds; a busy machine may take longer to run the thread.
const LIMIT: Duration = Duration::from_millis(500);
/// Threads that read or were left behind. When all are, no such file of any process is read until one of them answers.
const THREADS: usize = 16;
/// Reading takes little of it.
const STACK_BYTES: usize = 256 << 10;

/// Which processes are being read by a thread; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patience {
    /// Pids; 0 where a place is free.
    reading: Arc<[AtomicU32; THREADS]>,
}

impl Patience {
    /// Runs `read`, which is about the process `pid`, and waits for it, but not for ever.
    ///
    /// # Errors
    /// Those of `read`; [`io::ErrorKind::TimedOut`] when the process does not answer, and at once for as long as a thread that was
    /// left behind still waits for it.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        pid: u32,
        read: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let silent = || io::Error::new(io::ErrorKind::TimedOut, "the process does not answer");
        if self.reading.iter().any(|reading| reading.load(Relaxed) == pid) {
            return Err(silent());
        }
        let mut places = 0..THREADS;
        let place = places.find(|&at| self.reading[at].compare_exchange(0, pid, Relaxed, Relaxed).is_ok());
        let place = place.ok_or_else(silent)?;
        let (sender, answer) = mpsc::sync_channel(1);
        let reading = Arc::clone(&self.reading);
        let run = move || {
            let result = read();
            reading[place].store(0, Relaxed);
            // Whoever asked may have gone on.
            let _ = sender.send(result);
        };
        if let Err(error) = thread::Builder::new().name("reading".into()).stack_size(STACK_BYTES).spawn(run) {
            self.reading[place].store(0, Relaxed);
            return Err(error);
        }
        answer.recv_timeout(LIMIT).unwrap_or_else(|_| Err(silent()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_does_not_answer_is_left_behind_and_asked_again_once_it_does() {
        let patience = Patience::default();
        let (go, wait) = mpsc::channel::<()>();
        let stuck = patience.read(7, move || wait.recv().map_err(io::Error::other));
        assert_eq!(stuck.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(patience.clone().read(7, || Ok(1)).unwrap_err().kind(), io::ErrorKind::TimedOut, "at once");
        assert_eq!(patience.read(8, || Ok(2)).unwrap(), 2, "others are read");
        go.send(()).unwrap();
        while patience.reading.iter().any(|reading| reading.load(Relaxed) != 0) {
            thread::yield_now();
        }
        assert_eq!(patience.read(7, || Ok(3)).unwrap(), 3);
    }

    #[test]
    fn only_so_many_are_left_behind() {
        let patience = Patience::default();
        (0..THREADS).for_each(|place| patience.reading[place].store(100 + place as u32, Relaxed));
        assert_eq!(patience.read(7, || Ok(())).unwrap_err().kind(), io::ErrorKind::TimedOut);
        patience.reading[3].store(0, Relaxed);
        patience.read(7, || Ok(())).unwrap();
    }
}
