//! Apache with mod_php: the prefork model, where each worker process runs PHP itself.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;

use rustix::process::Signal;

use super::daemon::{Daemon, Process, descendants, wait_until};
use super::nginx::group_of_nobody;
use super::php_fpm::extension_dir;
use super::{PATIENCE, Request, Response, Root, Site, free_port, newest};

const MODULES: &str = "/usr/lib/apache2/modules";

/// A running Apache. Dropping it ends it.
#[derive(Debug)]
pub struct Apache {
    daemon: Daemon,
    port: u16,
    site: Site,
}

impl Apache {
    /// Starts Apache on a free port of 127.0.0.1 with `workers` processes and the newest installed mod_php; every path
    /// that is not a file is rewritten to `/index.php`.
    pub fn start(workers: u32) -> Self {
        Self::start_in(&Root::Here, workers, true, &[])
    }

    /// The same in another root, with or without opcache and with more lines of `php.ini`.
    pub fn start_in(root: &Root, workers: u32, opcache: bool, lines: &[(String, String)]) -> Self {
        let site = Site::within(root);
        let port = free_port();
        let library = newest(root.outside(Path::new(MODULES)), "libphp", ".so", "libapache2-mod-php");
        let library = Path::new(MODULES).join(library.file_name().expect("it is a file"));
        // It has been called so since PHP 8.0.
        let module = if library.to_string_lossy().contains("libphp7") { "php7_module" } else { "php_module" };
        site.write_ini(&root.outside(&extension_dir(root, Path::new("/usr/bin/php"))), opcache, lines);
        let text = format!(
            r#"ServerRoot "{path}"
DefaultRuntimeDir "{path}"
PidFile "{path}/apache.pid"
ErrorLog "{path}/error.log"
Mutex pthread
ServerName localhost
Listen 127.0.0.1:{port}
LoadModule mpm_prefork_module {MODULES}/mod_mpm_prefork.so
LoadModule authz_core_module {MODULES}/mod_authz_core.so
LoadModule dir_module {MODULES}/mod_dir.so
LoadModule rewrite_module {MODULES}/mod_rewrite.so
LoadModule {module} {library}
PHPIniDir "{path}"
User nobody
Group {group}
StartServers {workers}
MinSpareServers {workers}
MaxSpareServers {workers}
ServerLimit {workers}
MaxRequestWorkers {workers}
KeepAlive Off
DocumentRoot "{document_root}"
<Directory "{document_root}">
    Require all granted
    DirectoryIndex index.php
    <FilesMatch "\.php$">
        SetHandler application/x-httpd-php
    </FilesMatch>
    RewriteEngine On
    RewriteBase /
    RewriteCond %{{REQUEST_FILENAME}} !-f
    RewriteRule . /index.php [L]
</Directory>
"#,
            path = site.path().display(),
            document_root = site.document_root().display(),
            library = library.display(),
            group = group_of_nobody(),
        );
        let config = site.write("apache.conf", &text);
        let mut command = root.command(Path::new("/usr/sbin/apache2"));
        command.arg("-f").arg(&config).arg("-DFOREGROUND").env("PHP_INI_SCAN_DIR", "").env_remove("USE_ZEND_DTRACE");
        let mut daemon = Daemon::start(command, &site.path().join("error.log"), Signal::TERM);
        daemon.wait_ready("apache accepts", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        let parent = daemon.pid();
        daemon.wait_ready("apache's workers", || descendants(parent).len() >= workers as usize);
        Self { daemon, port, site }
    }

    /// The pid of the parent process.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// The worker processes at this moment.
    pub fn workers(&self) -> Vec<u32> {
        descendants(self.pid()).into_iter().map(|process| process.pid).collect()
    }

    /// Asks for a graceful restart and returns the new workers, as many as there were.
    pub fn restart(&self) -> Vec<u32> {
        let old = self.workers();
        self.daemon.signal(Signal::USR1);
        let mut new = Vec::new();
        wait_until(
            PATIENCE,
            || "new workers after a graceful restart".to_owned(),
            || {
                new = self.workers();
                new.len() == old.len() && new.iter().all(|pid| !old.contains(pid))
            },
        );
        new
    }

    pub fn site(&self) -> &Site {
        &self.site
    }

    pub fn send(&self, request: &Request) -> Response {
        request.send(self.port)
    }

    pub fn get(&self, uri: &str) -> Response {
        self.send(&Request::get(uri))
    }

    /// Ends Apache. Returns the processes that had to be killed.
    pub fn stop(&mut self) -> Vec<Process> {
        self.daemon.stop()
    }
}
