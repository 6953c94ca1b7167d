//! php-fpm with pools of the test's choice.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::daemon::{Daemon, Process, descendants, title, wait_until};
use super::{PATIENCE, Request, Response, Root, Site, fastcgi, newest};

/// How a pool decides on its number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessManager {
    /// All workers at once.
    Static,
    /// One at the start, more when they are busy.
    Dynamic,
    /// None before the first request.
    Ondemand,
}

/// One pool.
#[derive(Clone, Debug)]
pub struct Pool {
    pub name: String,
    pub process_manager: ProcessManager,
    pub max_children: u32,
    /// After so many requests a worker ends and another comes; 0 is never.
    pub max_requests: u32,
    /// More lines for the pool's section.
    pub settings: Vec<(String, String)>,
}

impl Pool {
    /// A static pool of workers that stay.
    pub fn new(name: &str, max_children: u32) -> Self {
        let process_manager = ProcessManager::Static;
        Self { name: name.into(), process_manager, max_children, max_requests: 0, settings: Vec::new() }
    }
}

/// What to start. The default is the newest installed php-fpm with opcache and one pool `www` of two workers.
#[derive(Clone, Debug)]
pub struct FpmOptions {
    /// What it is started in.
    pub root: Root,
    /// The program, as it is called there.
    pub binary: PathBuf,
    pub pools: Vec<Pool>,
    /// Lines of `php.ini`; they win over those that [`Site::write_ini`] puts there.
    pub ini: Vec<(String, String)>,
    pub opcache: bool,
    /// Environment of the master, as `USE_ZEND_DTRACE=1`.
    pub env: Vec<(String, String)>,
}

impl Default for FpmOptions {
    fn default() -> Self {
        Self {
            root: Root::Here,
            binary: newest("/usr/sbin", "php-fpm", "", "php-fpm"),
            pools: vec![Pool::new("www", 2)],
            ini: Vec::new(),
            opcache: true,
            env: Vec::new(),
        }
    }
}

/// A running php-fpm. Dropping it ends the master and its workers.
#[derive(Debug)]
pub struct PhpFpm {
    daemon: Daemon,
    options: FpmOptions,
    site: Site,
}

impl PhpFpm {
    /// Starts php-fpm and waits until it says that it is ready. Workers run as `nobody`, which needs root.
    pub fn start(options: FpmOptions) -> Self {
        let site = Site::within(&options.root);
        let extensions = options.root.outside(&extension_dir(&options.root, &options.binary));
        let ini = site.write_ini(&extensions, options.opcache, &options.ini);
        let mut text = format!(
            "[global]\ndaemonize = no\nerror_log = {0}/php-fpm.log\nlog_level = notice\n",
            site.path().display()
        );
        for pool in &options.pools {
            text.push_str(&section(pool, &site));
        }
        let config = site.write("php-fpm.conf", &text);
        let daemon = Self::spawn(&options, &config, &ini, &site);
        let mut fpm = Self { daemon, options, site };
        fpm.wait_ready(1);
        fpm
    }

    fn spawn(options: &FpmOptions, config: &Path, ini: &Path, site: &Site) -> Daemon {
        let mut command = options.root.command(&options.binary);
        command.arg("--nodaemonize").arg("--allow-to-run-as-root").arg("-y").arg(config).arg("-c").arg(ini);
        command.env_remove("USE_ZEND_DTRACE").env("PHP_INI_SCAN_DIR", "").envs(options.env.iter().cloned());
        Daemon::start(command, &site.path().join("php-fpm.out"), options.root.stop(Signal::QUIT))
    }

    fn wait_ready(&mut self, times: usize) {
        let log = self.site.path().join("php-fpm.log");
        let ready = || fs::read_to_string(&log).unwrap_or_default().matches("ready to handle connections").count();
        self.daemon.wait_ready(&format!("php-fpm ready, see {}", log.display()), || ready() >= times);
        for pool in self.options.pools.iter().filter(|pool| pool.process_manager == ProcessManager::Static) {
            let (daemon, expected) = (self.daemon.pid(), pool.max_children as usize);
            wait_until(
                PATIENCE,
                || format!("{expected} workers in pool {}", pool.name),
                || workers_of(daemon, &pool.name).len() == expected,
            );
        }
    }

    /// The pid of the master.
    pub fn master(&self) -> u32 {
        let daemon = self.daemon.pid();
        match self.options.root {
            // What made the name spaces is the parent.
            Root::Namespaces(_) => descendants(daemon).first().map_or(daemon, |master| master.pid),
            _ => daemon,
        }
    }

    /// The workers of a pool at this moment.
    pub fn workers(&self, pool: &str) -> Vec<u32> {
        workers_of(self.daemon.pid(), pool)
    }

    /// Master and workers at this moment, to ask later whether they have gone.
    pub fn family(&self) -> Vec<Process> {
        descendants(std::process::id())
            .into_iter()
            .filter(|process| process.pid == self.master())
            .chain(descendants(self.master()))
            .collect()
    }

    pub fn site(&self) -> &Site {
        &self.site
    }

    pub fn binary(&self) -> &Path {
        &self.options.binary
    }

    /// The unix socket of a pool.
    pub fn socket(&self, pool: &str) -> PathBuf {
        self.site.path().join(format!("{pool}.sock"))
    }

    /// Sends a request straight to a pool, without a web server.
    pub fn send(&self, pool: &str, request: &Request) -> Response {
        fastcgi::send(&self.socket(pool), &self.site.document_root(), request)
    }

    /// `GET uri` by the front controller, straight to a pool.
    pub fn get(&self, pool: &str, uri: &str) -> Response {
        self.send(pool, &Request::get(uri))
    }

    /// Tells the master to reload its configuration (the same pid, new workers) and waits until it is ready.
    pub fn reload(&mut self) {
        let times = self.readies();
        self.daemon.signal(Signal::USR2);
        self.wait_ready(times + 1);
    }

    /// Ends php-fpm and starts it again on the same sockets: a new master.
    pub fn restart(&mut self) {
        self.stop();
        let times = self.readies();
        self.daemon = Self::spawn(
            &self.options,
            &self.site.path().join("php-fpm.conf"),
            &self.site.path().join("php.ini"),
            &self.site,
        );
        self.wait_ready(times + 1);
    }

    fn readies(&self) -> usize {
        let log = fs::read_to_string(self.site.path().join("php-fpm.log")).unwrap_or_default();
        log.matches("ready to handle connections").count()
    }

    /// Ends the master and its workers. Returns the processes that had to be killed.
    pub fn stop(&mut self) -> Vec<Process> {
        self.daemon.stop()
    }

    /// The log of the master, in which the workers' output is, too.
    pub fn log(&self) -> String {
        fs::read_to_string(self.site.path().join("php-fpm.log")).unwrap_or_default()
    }
}

fn workers_of(master: u32, pool: &str) -> Vec<u32> {
    let wanted = format!("php-fpm: pool {pool}");
    descendants(master).into_iter().map(|child| child.pid).filter(|&pid| title(pid) == wanted).collect()
}

fn section(pool: &Pool, site: &Site) -> String {
    let Pool { name, max_children, max_requests, .. } = pool;
    let mut text = format!(
        "\n[{name}]\nuser = nobody\nlisten = {}/{name}.sock\nlisten.mode = 0666\n\
         pm.max_children = {max_children}\npm.max_requests = {max_requests}\n\
         catch_workers_output = yes\nclear_env = no\n",
        site.path().display()
    );
    text.push_str(match pool.process_manager {
        ProcessManager::Static => "pm = static\n",
        ProcessManager::Dynamic => {
            "pm = dynamic\npm.start_servers = 1\npm.min_spare_servers = 1\npm.max_spare_servers = 1\n"
        }
        ProcessManager::Ondemand => "pm = ondemand\npm.process_idle_timeout = 60s\n",
    });
    for (key, value) in &pool.settings {
        text.push_str(&format!("{key} = {value}\n"));
    }
    text
}

/// Where this PHP looks for extensions, as it says itself: a path of its own root.
pub fn extension_dir(root: &Root, binary: &Path) -> PathBuf {
    let output = root
        .command(binary)
        .args(["-n", "-i"])
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", binary.display()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("extension_dir => "));
    let line = line.unwrap_or_else(|| panic!("{} -i names no extension_dir", binary.display()));
    PathBuf::from(line.split(" => ").next().unwrap_or_default())
}
