//! Recordings that end badly, are damaged or are made to do harm: what is whole is shown, and what is not is said.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use jiff::SignedDuration;
use tusktop::{model::Snapshot, recording::Writer};

use crate::{
    cli::{run, stderr, stdout},
    record::{read, record, wait_until, written},
};

/// Tells this program that it is the one that is killed, and which file to write.
const FILE: &str = "TUSKTOP_TEST_WRITES";
const FROZEN: &[u8] = include_bytes!("../fixtures/schema1.json");

/// Numbers without an order: where they lead is different in each run, and said where one fails.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        use std::hash::{BuildHasher as _, RandomState};
        Self(RandomState::new().hash_one(1) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A snapshot that is written and read in no time: twenty of them, three seconds apart, are a minute.
fn small() -> Snapshot {
    let mut snapshot = Snapshot::read(FROZEN).unwrap();
    (snapshot.groups, snapshot.processes, snapshot.cgroups) = Default::default();
    snapshot.php = Default::default();
    snapshot
}

/// Writes snapshots as fast as it can, and says the number of each that is written.
fn write_until_killed(path: &str) {
    let mut writer = Writer::new(fs::File::create(path).unwrap()).unwrap();
    let frozen = small();
    let mut out = std::io::stdout().lock();
    for number in 0_i64.. {
        let at = frozen.at + SignedDuration::from_secs(number * 3);
        writer.push(&Snapshot { at, ..frozen.clone() }).unwrap();
        writeln!(out, "\nwritten {number}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn whatever_moment_it_is_killed_at_all_that_was_written_can_be_read() {
    if let Ok(path) = env::var(FILE) {
        return write_until_killed(&path);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tusk");
    let frozen = small();
    let mut chance = Chance::new();
    for kill in 0..300 {
        let mut command = Command::new(env::current_exe().unwrap());
        let name = "faults::whatever_moment_it_is_killed_at_all_that_was_written_can_be_read";
        command.args(["--exact", name, "--nocapture"]).env(FILE, &path).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let number = |line: String| line.strip_prefix("written ").and_then(|number| number.parse::<usize>().ok());
        let (wanted, mut known) = (chance.below(70) as usize, None);
        // Before the first one is said to be written there may be nothing to open.
        while known.is_none_or(|known| known < wanted) {
            known = number(lines.next().expect("it writes until it is killed")).max(known);
        }
        // Not right behind a snapshot, but anywhere up to the next ones.
        let until = Instant::now() + Duration::from_micros(chance.below(3_000));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let known = lines.filter_map(number).last().or(known).unwrap();
        let (snapshots, damage) = read(&path);
        let seconds: Vec<i64> =
            snapshots.iter().map(|snapshot| snapshot.at.duration_since(frozen.at).as_secs() / 3).collect();
        assert!(seconds.len() > known, "kill {kill}: {} of {} are there", seconds.len(), known + 1);
        assert!(seconds.iter().enumerate().all(|(at, &second)| at as i64 == second), "kill {kill}: {seconds:?}");
        assert!(written(&path) == seconds.len(), "kill {kill}: zstd reads what is there");
        assert!(damage.iter().all(|text| text.contains("ends within")), "kill {kill}: {damage:?}");
    }
}

#[test]
fn a_recorder_that_is_killed_leaves_what_it_had() {
    // TUSKTOP_KILLS=300 for as many as anybody wants.
    let kills = env::var("TUSKTOP_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(8);
    let folder = tempfile::tempdir().unwrap();
    let mut chance = Chance::new();
    for kill in 0..kills {
        let path = folder.path().join(format!("{kill}.tusk"));
        let mut child = record(&["-o", path.to_str().unwrap()]).spawn().unwrap();
        let wanted = 1 + chance.below(4) as usize;
        wait_until("a snapshot", &mut child, || written(&path) >= wanted);
        let until = Instant::now() + Duration::from_micros(chance.below(150_000));
        while Instant::now() < until {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let (snapshots, _) = read(&path);
        assert!(snapshots.len() >= wanted && snapshots.len() == written(&path), "kill {kill}");
        let printed = run(&["cat", path.to_str().unwrap()]);
        assert_eq!(stdout(&printed).lines().count(), snapshots.len(), "kill {kill}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_said_with_the_file() {
    for (path, said) in [("/sys/a.tusk", "cannot write /sys/a.tusk"), ("/nonexistent/a.tusk", "No such file")] {
        let output = record(&["-o", path]).output().unwrap();
        assert!(matches!(output.status.code(), Some(1 | 77)) && stderr(&output).contains(said), "{}", stderr(&output));
    }
}

/// Runs a script in a mount namespace of its own: `$0` is tusktop, `$1` a file system of 1 MiB with little room, `$2` a folder that
/// outlives it.
fn on_a_full_disk(script: &str, folder: &Path) -> std::process::Output {
    let (disk, kept) = (folder.join("disk"), folder.join("kept"));
    [&disk, &kept].into_iter().for_each(|folder| fs::create_dir(folder).unwrap());
    let start = "mount -t tmpfs -o size=1m none \"$1\"; head -c 960k /dev/zero > \"$1/fill\"; ";
    Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &format!("set -e; {start}{script}")])
        .arg(env!("CARGO_BIN_EXE_tusktop"))
        .args([disk, kept])
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap())
        .env("HOME", "/nonexistent")
        .output()
        .unwrap()
}

#[test]
#[ignore = "needs root"]
fn a_disk_that_is_full_ends_the_recording_behind_a_whole_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let script =
        "code=0; \"$0\" record --no-php -i 100ms -o \"$1/a.tusk\" || code=$?; cp \"$1/a.tusk\" \"$2\"; exit $code";
    let output = on_a_full_disk(script, folder.path());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    for said in ["a.tusk", "what was recorded before can be read", "No space left"] {
        assert!(stderr(&output).contains(said), "{said}: {}", stderr(&output));
    }
    let path = folder.path().join("kept/a.tusk");
    let (snapshots, damage) = read(&path);
    assert!(snapshots.len() > 1 && snapshots.len() == written(&path), "{damage:?}");
    assert!(damage.iter().all(|text| text.contains("ends within")), "no part of a snapshot is left: {damage:?}");
}

#[test]
#[ignore = "needs root"]
fn the_flight_recorder_says_that_a_disk_is_full_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    // With no room at all for the first event, and some for the next.
    let script = "head -c 1m /dev/zero >> \"$1/fill\" 2>/dev/null || true
        \"$0\" record --no-php -i 100ms --keep-last 1m --after 1s -o \"$1/a.tusk\" 2> \"$2/said\" & recorder=$!
        until [ $((0x$(sed -n 's/SigCgt:[^0-9a-f]*//p' /proc/$recorder/status) & 0x200)) -ne 0 ]; do :; done
        until grep -q 'cannot write' \"$2/said\"; do kill -USR1 $recorder; done
        rm \"$1/fill\"
        until grep -q 'writing.*a' \"$2/said\" && [ -n \"$(find \"$1\" -name 'a*.tusk' -size +1k)\" ]; do kill -USR1 $recorder; done
        kill -TERM $recorder
        wait $recorder || true
        cp \"$1\"/a*.tusk \"$2\"";
    let output = on_a_full_disk(script, folder.path());
    let said = fs::read_to_string(folder.path().join("kept/said")).unwrap();
    assert!(output.status.success(), "{said} {}", stderr(&output));
    let files = fs::read_dir(folder.path().join("kept")).unwrap().map(|entry| entry.unwrap().path());
    let whole = files.filter(|path| path.extension().is_some() && fs::metadata(path).unwrap().len() > 1024);
    assert!(
        whole.map(|path| read(&path)).any(|(snapshots, damage)| !snapshots.is_empty() && damage.is_empty()),
        "{said}"
    );
}

#[test]
#[ignore = "needs root"]
fn a_file_system_that_is_read_only_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -o remount,ro \"$1\"; exec \"$0\" record --no-php -o \"$1/a.tusk\"";
    let output = on_a_full_disk(script, folder.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("a.tusk") && stderr(&output).contains("Read-only"), "{}", stderr(&output));
}

/// What all commands that read say of a file.
fn all_say(path: &Path, said: &str) {
    for command in ["cat", "snap"] {
        let output = run(&[command, path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{command}: {}", stderr(&output));
        assert!(stderr(&output).contains(said) && stderr(&output).contains("a.tusk"), "{command}: {}", stderr(&output));
    }
}

#[test]
fn a_newer_recording_says_that_a_newer_tusktop_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tusk");
    let newer = std::str::from_utf8(FROZEN).unwrap().replace('\n', " ").replacen("\"schema\": 1", "\"schema\": 2", 1);
    fs::write(&path, zstd::encode_all(format!("{newer}\n{newer}\n").as_bytes(), 3).unwrap()).unwrap();
    all_say(&path, "use a newer tusktop");
}

#[test]
fn the_frozen_recording_of_schema_1_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/schema1.tusk");
    if env::var_os("TUSKTOP_FREEZE").is_some() {
        let frozen = Snapshot::read(FROZEN).unwrap();
        let mut writer = Writer::new(fs::File::create(&path).unwrap()).unwrap();
        (0..90).for_each(|number| {
            writer.push(&Snapshot { at: frozen.at + SignedDuration::from_secs(number), ..frozen.clone() }).unwrap();
        });
        writer.finish().unwrap();
    }
    let (snapshots, damage) = read(&path);
    assert!(snapshots.len() == 90 && damage.is_empty(), "{damage:?}");
    assert!(snapshots.iter().all(|snapshot| &*snapshot.host.name == "web01" && !snapshot.php.routes.is_empty()));
    assert_eq!(written(&path), 90);
}

#[test]
fn a_frame_that_claims_gigabytes_is_refused_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tusk");
    // A frame of one segment, which is its own window, with a size of 8 bytes (RFC 8878, 3.1.1.1).
    let mut claims = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
    claims.extend((1_u64 << 40).to_le_bytes());
    claims.extend([1, 0, 0]);
    // A frame that does decode to gigabytes, of lines that are none.
    let mut bomb = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let lines = vec![b'\n'; 1 << 20];
    (0..3_000).for_each(|_| bomb.write_all(&lines).unwrap());
    let bomb = bomb.finish().unwrap();
    for bytes in [claims, bomb] {
        fs::write(&path, bytes).unwrap();
        let script = "ulimit -v 700000; exec \"$0\" cat \"$1\"";
        let mut command = Command::new("sh");
        command
            .args(["-c", script, env!("CARGO_BIN_EXE_tusktop"), path.to_str().unwrap()])
            .env_clear()
            .env("HOME", "/nonexistent");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(output.stderr.len() < 1_000_000 && stderr(&output).contains("a.tusk"), "{}", stderr(&output));
    }
}
