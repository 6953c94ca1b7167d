//! PHP on the command line, and its built-in web server.

use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;

use super::daemon::{Daemon, Process};
use super::{Request, Response, Root, Site, free_port};

fn php(root: &Root) -> Command {
    // The name that the alternatives system keeps; -n leaves the php.ini of the system out.
    let mut command = root.command(Path::new("/usr/bin/php"));
    command.args(["-n", "-d", "display_errors=0", "-d", "log_errors=1"]).env_remove("USE_ZEND_DTRACE");
    command
}

/// A script that runs on the command line. Dropping it ends it.
#[derive(Debug)]
pub struct PhpCli {
    daemon: Daemon,
    site: Site,
}

impl PhpCli {
    /// Runs a file of `tests/php/scripts` to its end.
    pub fn run(script: &str, arguments: &[&str]) -> Output {
        let site = Site::new();
        php(&Root::Here)
            .arg(site.page(script))
            .args(arguments)
            .output()
            .expect("php is installed: run `make test` as root")
    }

    /// Starts a file of `tests/php/scripts` and leaves it running.
    pub fn start(script: &str, arguments: &[&str]) -> Self {
        Self::start_with(&[], script, arguments)
    }

    /// The same with options for PHP itself, as `["-d", "memory_limit=1G"]`.
    pub fn start_with(options: &[&str], script: &str, arguments: &[&str]) -> Self {
        Self::start_in(&Root::Here, options, script, arguments)
    }

    /// The same in another root.
    pub fn start_in(root: &Root, options: &[&str], script: &str, arguments: &[&str]) -> Self {
        let site = Site::within(root);
        let mut command = php(root);
        command.args(options).arg(site.page(script)).args(arguments);
        let daemon = Daemon::start(command, &site.path().join("php.log"), Signal::TERM);
        Self { daemon, site }
    }

    /// Starts a file of `tests/php/scripts` in PHP's debugger, as `.ci/packages test` unpacks it.
    pub fn start_in_debugger(script: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/packages/usr/bin");
        let mut entries = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let debugger = entries
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("phpdbg")))
            .expect("there is a phpdbg: run `.ci/packages test`");
        let site = Site::new();
        let mut command = Command::new(debugger);
        command.args(["-n", "-qrr"]).arg(site.page(script)).env_remove("USE_ZEND_DTRACE");
        let daemon = Daemon::start(command, &site.path().join("php.log"), Signal::KILL);
        Self { daemon, site }
    }

    /// Starts a file of `tests/php/scripts` with live function probes; its first argument is a file that does not exist yet.
    pub fn start_traceable(script: &str, arguments: &[&str]) -> Self {
        let site = Site::new();
        let mut command = php(&Root::Here);
        command.env("USE_ZEND_DTRACE", "1").arg(site.page(script)).arg(site.path().join("go")).args(arguments);
        let daemon = Daemon::start(command, &site.path().join("php.log"), Signal::TERM);
        Self { daemon, site }
    }

    /// Makes the file that a script waits for.
    pub fn go(&self) {
        std::fs::write(self.site.path().join("go"), "").expect("the folder is ours");
    }

    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// The script's full path.
    pub fn page(&self, script: &str) -> PathBuf {
        self.site.page(script)
    }

    /// What the script has printed so far.
    pub fn output(&self) -> String {
        self.daemon.log()
    }

    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

/// `php -S`: one process, one request at a time. Dropping it ends it.
#[derive(Debug)]
pub struct PhpServer {
    daemon: Daemon,
    port: u16,
    site: Site,
}

impl PhpServer {
    /// Starts the server on a free port of 127.0.0.1, with `index.php` as the router of every request.
    pub fn start() -> Self {
        Self::start_in(&Root::Here, &[])
    }

    /// The same in another root, with options for PHP itself.
    pub fn start_in(root: &Root, options: &[&str]) -> Self {
        let site = Site::within(root);
        let port = free_port();
        let mut command = php(root);
        command.args(options).arg("-S").arg(format!("127.0.0.1:{port}")).arg("-t").arg(site.document_root());
        command.arg(site.page("index.php"));
        let mut daemon = Daemon::start(command, &site.path().join("php.log"), Signal::INT);
        daemon.wait_ready("php -S accepts", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        Self { daemon, port, site }
    }

    pub fn document_root(&self) -> PathBuf {
        self.site.document_root()
    }

    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    pub fn send(&self, request: &Request) -> Response {
        request.send(self.port)
    }

    pub fn get(&self, uri: &str) -> Response {
        self.send(&Request::get(uri))
    }

    /// Ends the server. Returns the processes that had to be killed.
    pub fn stop(&mut self) -> Vec<Process> {
        self.daemon.stop()
    }
}
