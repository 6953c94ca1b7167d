//! A process whose files do not answer, which happens when its memory is locked or a file system behind it is gone: a pipe without
//! a writer, mounted over one of its files, behaves the same.

use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tusktop::model::{PssUnknown, Snapshot};

/// Seconds after which it hangs, as it seems.
const PATIENCE: &str = "60";

/// A process, and a pipe over one of its files in a mount namespace of its own, where `tusktop` runs.
struct Silent {
    process: Child,
    folder: TempDir,
}

impl Silent {
    fn start() -> Self {
        let process = Command::new("sleep").arg("300").stdin(Stdio::null()).spawn().unwrap();
        let folder = tempfile::tempdir().unwrap();
        assert!(Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
        Self { process, folder }
    }

    /// What `tusktop` prints while `name` of the process does not answer.
    fn tusktop(&self, name: &str, arguments: &str) -> String {
        let pid = self.process.id();
        let script = format!("mount --bind pipe /proc/{pid}/{name} && exec \"$0\" {arguments}");
        let output = Command::new("timeout")
            .args(["--signal=KILL", PATIENCE, "unshare", "--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_tusktop")])
            .current_dir(self.folder.path())
            .env("HOME", "/nonexistent")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "tusktop {arguments} with {name}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "needs root"]
fn a_process_that_does_not_answer_is_named_and_all_others_are_read() {
    let silent = Silent::start();
    let pid = silent.process.id();
    for name in ["cmdline", "smaps_rollup"] {
        let snapshot: Snapshot =
            serde_json::from_str(&silent.tusktop(name, "snap --no-php -d 1s --format json")).unwrap();
        let process = snapshot.processes.iter().find(|process| process.pid == pid).unwrap();
        assert_eq!((&*process.comm, process.pss_unknown), ("sleep", Some(PssUnknown::NotAnswering)), "{name}");
        assert!(process.memory.rss_bytes > Some(0), "the kernel says how big it is");
        let own = snapshot.processes.iter().find(|process| process.pid == std::process::id()).unwrap();
        assert!(!own.cmdline.is_empty() && own.pss_unknown != Some(PssUnknown::NotAnswering));
        let notice = snapshot.notices.iter().find(|notice| notice.text.contains("not answering")).unwrap();
        assert!(notice.text.contains(&format!("sleep ({pid})")), "{}", notice.text);
    }
}

#[test]
#[ignore = "needs root"]
fn where_not_even_its_stat_file_answers_the_others_are_read() {
    let silent = Silent::start();
    let text = silent.tusktop("stat", "snap --no-php -d 1s --format json");
    let snapshot: Snapshot = serde_json::from_str(&text).unwrap();
    assert!(snapshot.processes.iter().any(|process| process.pid == std::process::id()));
    let groups = silent.tusktop("stat", "groups");
    assert!(groups.starts_with("groups"), "{groups}");
}
