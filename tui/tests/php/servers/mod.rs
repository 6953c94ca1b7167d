//! Real PHP servers for tests: php-fpm, nginx, Apache with mod_php, php-cgi, PHP's built-in server and the command line.
//!
//! Each one has its own configuration in a temporary folder, listens on 127.0.0.1 or on a unix socket in that folder,
//! and is ended by its own pid. Nothing of the system's services or of `/etc` is read or changed.
//!
//! ```text
//!  Request ──fastcgi──────────────> PhpFpm   (pools on unix sockets)
//!     │                               ^
//!     ├─http──> Nginx ──fastcgi───────┘
//!     ├─http──> Apache (prefork + mod_php)
//!     ├─http──> PhpServer (php -S)            PhpCli (php FILE)
//!     └─fastcgi──> PhpCgi (php-cgi -b)
//! ```
//!
//! Most of them can also be started in a root folder of another distribution, see [`Root`].

pub mod apache;
pub mod copies;
pub mod daemon;
pub mod fastcgi;
pub mod http;
pub mod load;
pub mod nginx;
pub mod php_cgi;
pub mod php_cli;
pub mod php_fpm;
pub mod root;
pub mod semaphore;
pub mod site;
mod tests;

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

pub use apache::Apache;
pub use daemon::wait_until;
pub use http::{Request, Response};
pub use load::under_load;
pub use nginx::Nginx;
pub use php_cgi::PhpCgi;
pub use php_cli::{PhpCli, PhpServer};
pub use php_fpm::{FpmOptions, PhpFpm, Pool, ProcessManager};
pub use root::Root;
pub use site::Site;

/// How long a server may take to start, to reload and to stop.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Holds the machine for one test: tests that count events or shares of CPU time must not run beside each other, in
/// this program or in another, of whatever checkout. Nor may one start a process while another copies a program: until its exec the process
/// holds the copy open for writing, and a file that is written cannot be run. Keep the value until the end of the test.
#[must_use = "the next test starts as soon as this is dropped"]
pub fn alone() -> File {
    // Only root can put anything there, as these tests need to be.
    let path = Path::new("/run/tusktop-php-servers.lock");
    let file = File::create(path).unwrap_or_else(|error| panic!("cannot create {}: {error}", path.display()));
    file.lock().unwrap_or_else(|error| panic!("cannot lock {}: {error}", path.display()));
    file
}

/// A TCP port of 127.0.0.1 that nothing listens on. It lies below the range that the kernel hands out to clients, so
/// that no connection takes it before the server does.
pub fn free_port() -> u16 {
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    (first..32_000)
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .expect("a free port between 20000 and 32000")
}

/// The newest file in `folder` whose name starts with `prefix` and ends with `suffix`, as in `php-fpm8.2`. Panics with
/// the package to install where there is none.
pub fn newest(folder: impl AsRef<Path>, prefix: &str, suffix: &str, package: &str) -> std::path::PathBuf {
    let version = |name: &str| -> Option<(u32, u32)> {
        let text = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
        if text.is_empty() {
            return Some((0, 0));
        }
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let folder = folder.as_ref();
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((version(entry.file_name().to_str()?)?, entry.path()))
        })
        .max()
        .map(|(_, path)| path)
        .unwrap_or_else(|| {
            panic!("no {prefix}*{suffix} in {}: install {package}, or run `make test` as root", folder.display())
        })
}
