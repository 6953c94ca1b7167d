//! php-cgi as a FastCGI server of its own, as lighttpd and spawn-fcgi run it.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::daemon::{Daemon, descendants};
use super::{Request, Response, Root, Site, fastcgi};

/// A running php-cgi with its children. Dropping it ends them.
#[derive(Debug)]
pub struct PhpCgi {
    daemon: Daemon,
    site: Site,
}

impl PhpCgi {
    /// Starts php-cgi with so many children on a unix socket.
    pub fn start_in(root: &Root, children: usize, options: &[&str]) -> Self {
        let site = Site::within(root);
        let socket = Self::socket_of(&site);
        let mut command = root.command(Path::new("/usr/bin/php-cgi"));
        command.args(["-n", "-d", "display_errors=0", "-d", "log_errors=1"]).args(options).arg("-b").arg(&socket);
        command.env("PHP_FCGI_CHILDREN", children.to_string()).env_remove("USE_ZEND_DTRACE");
        let mut daemon = Daemon::start(command, &site.path().join("php-cgi.log"), Signal::TERM);
        let parent = daemon.pid();
        daemon.wait_ready("php-cgi and its children", || socket.exists() && descendants(parent).len() == children);
        Self { daemon, site }
    }

    fn socket_of(site: &Site) -> PathBuf {
        site.path().join("php-cgi.sock")
    }

    /// The children at this moment.
    pub fn workers(&self) -> Vec<u32> {
        descendants(self.daemon.pid()).into_iter().map(|process| process.pid).collect()
    }

    pub fn site(&self) -> &Site {
        &self.site
    }

    pub fn send(&self, request: &Request) -> Response {
        fastcgi::send(&Self::socket_of(&self.site), &self.site.document_root(), request)
    }
}
