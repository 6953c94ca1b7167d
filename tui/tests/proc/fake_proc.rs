//! A proc root in a temporary folder, with processes that a test makes up.

use std::{fs, path::PathBuf, time::Duration};

use jiff::Timestamp;
use tempfile::TempDir;
use tusktop::collect::proc::Sampler;

/// `PF_KTHREAD`.
pub const KTHREAD: u64 = 0x0020_0000;

/// The root.
pub struct FakeProc {
    folder: TempDir,
}

/// One process; the defaults are those of a plain sleeping daemon.
pub struct Fake<'a> {
    pub comm: &'a [u8],
    pub cmdline: &'a [u8],
    pub state: char,
    pub ppid: u32,
    pub flags: u64,
    pub cpu_ticks: u64,
    pub start_ticks: u64,
    pub rss_pages: u64,
    pub cgroup: &'a str,
}

impl Default for Fake<'_> {
    fn default() -> Self {
        Self {
            comm: b"daemon",
            cmdline: b"/usr/sbin/daemon\0-f\0",
            state: 'S',
            ppid: 1,
            flags: 0,
            cpu_ticks: 0,
            start_ticks: 100,
            rss_pages: 10,
            cgroup: "0::/\n",
        }
    }
}

impl FakeProc {
    pub fn new() -> Self {
        let this = Self { folder: tempfile::tempdir().unwrap() };
        this.write("uptime", b"1000.00 1000.00\n");
        this.write("stat", b"cpu  100 0 100 800 0 0 0 0 0 0\n");
        this.write("meminfo", b"MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 500 kB\nBuffers: 1 kB\nCached: 1 kB\nSwapCached: 0 kB\nActive: 1 kB\nInactive: 1 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\nDirty: 0 kB\nWriteback: 0 kB\nMapped: 0 kB\nSlab: 0 kB\nCommitted_AS: 0 kB\nVmallocTotal: 0 kB\nVmallocUsed: 0 kB\nVmallocChunk: 0 kB\n");
        this
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // In place, as procfs is: a kept descriptor sees the new content.
        fs::write(path, content).unwrap();
    }

    pub fn process(&self, pid: u32, fake: &Fake) -> &Self {
        let Fake { state, ppid, flags, cpu_ticks, start_ticks, rss_pages, .. } = fake;
        let mut stat = format!("{pid} (").into_bytes();
        stat.extend_from_slice(fake.comm);
        stat.extend_from_slice(
            format!(
                ") {state} {ppid} 1 1 0 -1 {flags} 0 0 0 0 {cpu_ticks} 0 0 0 20 0 2 0 {start_ticks} 0 {rss_pages} 0 0\n"
            )
            .as_bytes(),
        );
        self.write(&format!("{pid}/stat"), &stat);
        self.write(&format!("{pid}/cmdline"), fake.cmdline);
        self.write(&format!("{pid}/cgroup"), fake.cgroup.as_bytes());
        self
    }

    pub fn end(&self, pid: u32) {
        fs::remove_dir_all(self.path(&pid.to_string())).unwrap();
    }

    pub fn sampler(&self) -> Sampler {
        self.write("passwd", b"root:x:0:0:root:/root:/bin/sh\n");
        Sampler::open(self.folder.path(), &self.path("passwd"), Timestamp::UNIX_EPOCH + Duration::from_secs(5000))
            .unwrap()
    }
}
