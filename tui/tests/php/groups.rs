//! Groups of PHP on the command line: what a process runs names its group, whatever its title says.

use std::process::{Command, Stdio};

use crate::servers::{PATIENCE, PhpCli, alone, wait_until};
use tusktop::model::Snapshot;

/// The group and the command line of a process, as `tusktop snap` has them.
fn group_of(pid: u32, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tusktop"));
    command.env("HOME", "/nonexistent").env_remove("TUSKTOP_CONFIG").stdin(Stdio::null());
    let output = command.args(["snap", "--format", "json"]).args(arguments).output().unwrap();
    let snapshot = Snapshot::read(&output.stdout).unwrap();
    let process = snapshot.processes.iter().find(|process| process.pid == pid).unwrap();
    (snapshot.groups[process.group].name.to_string(), process.cmdline.to_string())
}

#[test]
#[ignore = "needs root and PHP"]
fn a_script_with_a_title_of_its_own_is_in_the_group_of_the_script() {
    let _alone = alone();
    let php = PhpCli::start("titled.php", &[]);
    wait_until(PATIENCE, || "it has its title".to_owned(), || php.output().contains("titled"));
    let title = "consumer: waiting for jobs".to_owned();
    assert_eq!(group_of(php.pid(), &[]), ("php: titled.php".to_owned(), title.clone()));
    // Without a look at its memory, it is still PHP.
    assert_eq!(group_of(php.pid(), &["--no-php"]), ("php cli".to_owned(), title));
}
