//! A real process-exporter, on a free port of 127.0.0.1 and with a configuration of its own, and what it says of its groups.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use tempfile::TempDir;

use crate::wait::{PATIENCE, wait_until};

/// A running process-exporter. Dropping it ends it.
pub struct Exporter {
    child: Child,
    port: u16,
    folder: TempDir,
}

/// What one scrape says of one group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    pub processes: u32,
    pub threads: u32,
    pub rss_bytes: u64,
    pub swap_bytes: u64,
    /// `proportionalResident`; `None` without `-gather-smaps`.
    pub pss_bytes: Option<u64>,
    /// User and system time that it has counted.
    pub cpu_seconds: f64,
}

/// Groups with processes, by name.
pub type Groups = BTreeMap<String, Group>;

impl Exporter {
    /// Starts it with this configuration; `flags` are for example `-children=false`. Panics when it ends instead.
    pub fn start(yaml: &str, flags: &[&str]) -> Self {
        Self::attempt(yaml, flags).unwrap_or_else(|log| panic!("process-exporter ended:\n{log}\n{yaml}"))
    }

    /// Whether it starts with this configuration; what it said where it does not.
    pub fn attempt(yaml: &str, flags: &[&str]) -> Result<Self, String> {
        loop {
            let attempt = Self::attempt_once(yaml, flags);
            // Something else may take the port in the moment before it does.
            if attempt.as_ref().err().is_none_or(|log| !log.contains("address already in use")) {
                return attempt;
            }
        }
    }

    fn attempt_once(yaml: &str, flags: &[&str]) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.yml"), yaml).unwrap();
        let port = free_port();
        let log = || fs::OpenOptions::new().create(true).append(true).open(folder.path().join("log")).unwrap();
        // The kernel ends it with the thread that started it, so that it does not stay when the test is interrupted.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program())
            .arg("-config.path")
            .arg(folder.path().join("config.yml"))
            .args(["-web.listen-address", &format!("127.0.0.1:{port}")])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            .spawn()
            .unwrap();
        let mut this = Self { child, port, folder };
        let mut ended = None;
        wait_until(
            PATIENCE,
            || format!("process-exporter listens\n{yaml}"),
            || {
                ended = this.child.try_wait().unwrap();
                ended.is_some() || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
            },
        );
        match ended {
            None => Ok(this),
            Some(_) => Err(fs::read_to_string(this.folder.path().join("log")).unwrap()),
        }
    }

    /// All groups that have processes at this moment.
    pub fn scrape(&self) -> Groups {
        let mut groups = Groups::new();
        for Sample { name, labels, value } in samples(&self.metrics()) {
            let Some(group) = labels.get("groupname") else { continue };
            let group = groups.entry(group.clone()).or_default();
            match (name.strip_prefix("namedprocess_namegroup_").unwrap_or(&name), labels.get("memtype").map(|t| &**t)) {
                ("num_procs", _) => group.processes = value as u32,
                ("num_threads", _) => group.threads = value as u32,
                ("memory_bytes", Some("resident")) => group.rss_bytes = value as u64,
                ("memory_bytes", Some("swapped")) => group.swap_bytes = value as u64,
                ("memory_bytes", Some("proportionalResident")) => group.pss_bytes = Some(value as u64),
                ("cpu_seconds_total", _) => group.cpu_seconds += value,
                _ => {}
            }
        }
        groups.retain(|_, group| group.processes > 0);
        groups
    }

    fn metrics(&self) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200"), "{answer}");
        body.to_owned()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, as `.ci/packages test` unpacks it or as it is installed. Panics with what to do where there is none.
fn program() -> PathBuf {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/packages/usr/bin/prometheus-process-exporter");
    [unpacked, "/usr/bin/prometheus-process-exporter".into()]
        .into_iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("there is no prometheus-process-exporter: run `.ci/packages test`"))
}

/// Below the range that the kernel hands out to clients, and another one at each call.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 9_000) as u16;
    (0..1000)
        .map(|_| first + NEXT.fetch_add(1, Ordering::Relaxed) % 1000)
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .unwrap()
}

/// One line of the text format of Prometheus.
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

fn samples(text: &str) -> impl Iterator<Item = Sample> {
    text.lines().filter(|line| !line.starts_with('#') && line.contains('{')).map(|line| {
        let (name, mut rest) = line.split_once('{').unwrap();
        let mut labels = BTreeMap::new();
        while let Some((label, tail)) = rest.split_once("=\"") {
            let (value, end) = quoted(tail);
            labels.insert(label.trim_start_matches(',').to_owned(), value);
            rest = &tail[end..];
            if rest.starts_with('}') {
                break;
            }
        }
        Sample { name: name.to_owned(), labels, value: rest.trim_start_matches('}').trim().parse().unwrap() }
    })
}

/// The text up to the closing quote, and where that ends.
fn quoted(text: &str) -> (String, usize) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, at + 1),
            '\\' => match characters.next().unwrap().1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    panic!("no end of a label in {text}")
}
