//! Secrets in the requests and messages of real PHP: masked from the collector on, unless they are asked for.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::servers::{FpmOptions, PhpFpm, Pool, Request, alone};
use crate::watch::Watch;
use tusktop::{collect::php, words::secrets::Secrets};

const SCRIPT: &str = "<?php
try {
    throw new RuntimeException('cannot reach mysql://shop:s3cr3t-url@db:3306/shop with password=s3cr3t-word');
} catch (RuntimeException) {
}
trigger_error('token: s3cr3t-token was refused', E_USER_WARNING);
if (($_GET['ms'] ?? 0) > 0) {
    usleep($_GET['ms'] * 1000);
}
";

/// What the collector says of one request: its URI and the messages.
fn observe(secrets: Secrets) -> (String, Vec<String>) {
    let fpm = PhpFpm::start(FpmOptions { pools: vec![Pool::new("www", 1)], ..FpmOptions::default() });
    fs::write(fpm.site().page("secrets.php"), SCRIPT).unwrap();
    let mut watch = Watch::start_with(php::Options { secrets, ..php::Options::default() }, fpm.site().path());
    let request = Request::get("/secrets.php?page_id=3&token=s3cr3t-parameter&route=a/b").script("secrets.php");
    assert_eq!(fpm.send("www", &request).status, 200);
    watch.until("the request has ended and both messages are there", |watch| {
        !watch.finished.is_empty() && watch.failures.len() >= 2
    });
    let mut messages: Vec<_> = watch.failures.iter().map(|failure| failure.what.message.to_string()).collect();
    messages.sort();
    (watch.finished[0].request.uri.clone(), messages)
}

#[test]
#[ignore = "needs root and PHP"]
fn parameters_and_messages_lose_their_secrets() {
    let _alone = alone();
    let (uri, messages) = observe(Secrets::Masked);
    assert_eq!(uri, "/secrets.php?page_id=3&token=***&route=a/b");
    assert_eq!(messages, ["cannot reach mysql://***@db:3306/shop with password=***", "token: *** was refused"]);
}

#[test]
#[ignore = "needs root and PHP"]
fn they_keep_them_when_that_was_asked_for() {
    let _alone = alone();
    let (uri, messages) = observe(Secrets::Shown);
    assert_eq!(uri, "/secrets.php?page_id=3&token=s3cr3t-parameter&route=a/b");
    let shown = "cannot reach mysql://shop:s3cr3t-url@db:3306/shop with password=s3cr3t-word";
    assert_eq!(messages, [shown, "token: s3cr3t-token was refused"]);
}

fn snap(script: &Path, format: &str, more: &[&str]) -> String {
    let report = script.with_extension("report");
    let output = Command::new(env!("CARGO_BIN_EXE_tusktop"))
        .env("HOME", "/nonexistent")
        .env_remove("TUSKTOP_CONFIG")
        .args(["snap", "--format", format, "-o"])
        .arg(&report)
        .args(more)
        .args(["--", "php", "-n"])
        .arg(script)
        .arg("--password=s3cr3t-option")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::read_to_string(report).unwrap()
}

#[test]
#[ignore = "needs root and PHP"]
fn the_report_on_a_command_has_no_secret_of_its_messages() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("secrets.php");
    fs::write(&script, SCRIPT).unwrap();
    for format in ["table", "json"] {
        let report = snap(&script, format, &[]);
        assert!(report.contains("***") && !report.contains("s3cr3t"), "{format}: {report}");
    }
    let report = snap(&script, "json", &["--show-secrets"]);
    assert!(["s3cr3t-url", "s3cr3t-word", "s3cr3t-token"].iter().all(|secret| report.contains(secret)), "{report}");
}
