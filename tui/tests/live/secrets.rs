//! Secrets in the command lines of real processes, through the whole binary: in no output, unless they are asked for.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    cast::Cast,
    wait::{PATIENCE, wait_until},
};

/// What must not be seen. No text of the system has it.
const SECRETS: [&str; 6] =
    ["s3cr3t-option", "s3cr3t word", "s3cr3t-url", "s3cr3t-variable", "s3cr3t-title", "s3cr3t-jwt"];

struct Careless {
    _cast: Cast,
    pids: [u32; 2],
    rules: PathBuf,
    folder: PathBuf,
}

/// Two processes with secrets, and rules that put all of a command line into the name of its group.
fn careless() -> Careless {
    let mut cast = Cast::new();
    let tag = cast.tag().to_owned();
    let arguments = [
        "--password=s3cr3t-option",
        "--token",
        "s3cr3t word",
        "mysql://shop:s3cr3t-url@db:3306/shop",
        "PGPASSWORD=s3cr3t-variable",
        "--page=7",
        "eyJhbGciOiJIUzI1NiJ9.s3cr3t-jwt",
    ];
    let pids = [
        cast.with_arguments("app", &arguments),
        cast.titled("worker", format!("{tag}worker: serving --api-key=s3cr3t-title --page=7")),
    ];
    let rules = cast.folder().join("pe.yml");
    let text = format!("process_names:\n- {{name: '{{{{.Matches.All}}}}', cmdline: ['(?P<All>{tag}.*)']}}\n");
    fs::write(&rules, text).unwrap();
    for pid in pids {
        let line = || fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        wait_until(
            PATIENCE,
            || format!("{pid} has become its program"),
            || line().windows(6).any(|part| part == b"s3cr3t"),
        );
    }
    Careless { pids, rules, folder: cast.folder().to_owned(), _cast: cast }
}

fn tusktop(careless: &Careless, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tusktop"));
    command.env_clear().env("HOME", "/nonexistent").args(arguments);
    let output = command.arg("--process-exporter-config").arg(&careless.rules).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn seen(text: &str) -> Vec<&'static str> {
    SECRETS.into_iter().filter(|secret| text.contains(secret)).collect()
}

/// What a recording has. On a busy machine the first snapshot may come late, so it is made longer until there is one.
fn recording(careless: &Careless, name: &str, more: &[&str]) -> String {
    let path = careless.folder.join(name);
    let path = path.to_str().unwrap();
    for duration in ["500ms", "5s", "30s"] {
        let record = ["record", "--no-php", "-d", duration, "-i", "100ms", "--force", "-o", path];
        tusktop(careless, &[&record, more].concat());
        let output = Command::new(env!("CARGO_BIN_EXE_tusktop")).env_clear().args(["cat", path]).output().unwrap();
        if output.status.success() {
            return String::from_utf8(output.stdout).unwrap();
        }
    }
    panic!("{path} has no snapshot");
}

#[test]
fn no_output_and_no_recording_has_a_secret_of_a_command_line() {
    let careless = careless();
    let [first, second] = careless.pids.map(|pid| pid.to_string());
    let runs: [&[&str]; 4] = [
        &["snap", "--no-php", "-d", "100ms"],
        &["groups"],
        &["groups", "--explain", &first],
        &["groups", "--explain", &second],
    ];
    for run in runs {
        for format in ["table", "json"] {
            let text = tusktop(&careless, &[run, &["--format", format]].concat());
            assert_eq!(seen(&text), [""; 0], "{run:?} {format}: {text}");
            assert!(text.contains("***"), "{run:?} {format}: {text}");
        }
    }
    let text = tusktop(&careless, &["snap", "--no-php", "-d", "100ms", "--format", "json"]);
    let expected = "--password=*** --token *** mysql://***@db:3306/shop PGPASSWORD=*** --page=7 ***";
    assert!(text.contains(expected), "{text}");
    let recorded = recording(&careless, "masked.tusk", &[]);
    assert!(recorded.contains(expected), "{recorded}");
    assert_eq!(seen(&recorded), [""; 0]);
}

#[test]
fn who_asks_for_secrets_sees_them() {
    let careless = careless();
    let [first, second] = careless.pids.map(|pid| pid.to_string());
    let text = tusktop(&careless, &["snap", "--no-php", "-d", "100ms", "--format", "json", "--show-secrets"]);
    assert_eq!(seen(&text), SECRETS);
    assert_eq!(seen(&recording(&careless, "shown.tusk", &["--show-secrets"])), SECRETS);
    let config = careless.folder.join("config.toml");
    fs::write(&config, "show_secrets = true\n").unwrap();
    let config = config.to_str().unwrap();
    let explained =
        |pid: &str| tusktop(&careless, &["groups", "--explain", pid, "--format", "json", "--config", config]);
    assert_eq!(seen(&(explained(&first) + &explained(&second))), SECRETS);
}
