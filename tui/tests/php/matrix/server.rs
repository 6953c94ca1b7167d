//! The servers of the rows: how each is started, and in which order it is observed.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::observe::{Expected, Seen, observe, observe_script};
use super::{Release, Sapi, Variant};
use crate::servers::{
    Apache, FpmOptions, PhpCgi, PhpCli, PhpFpm, PhpServer, Pool, Request, Response, Root, copies, newest,
    php_fpm::extension_dir,
};
use crate::watch::Watch;

/// The pool of php-fpm: no other server on the machine has one of this name.
pub const POOL: &str = "matrix";
const WORKERS: u32 = 2;

/// A server of any kind.
pub enum Server {
    Fpm(PhpFpm),
    BuiltIn(PhpServer),
    Cgi(PhpCgi),
    Apache(Apache),
}

impl Server {
    pub fn send(&self, request: &Request) -> Response {
        match self {
            Self::Fpm(fpm) => fpm.send(POOL, request),
            Self::BuiltIn(server) => server.send(request),
            Self::Cgi(cgi) => cgi.send(request),
            Self::Apache(apache) => apache.send(request),
        }
    }

    /// The processes that serve.
    pub fn workers(&self) -> Vec<u32> {
        match self {
            Self::Fpm(fpm) => fpm.workers(POOL),
            Self::BuiltIn(server) => vec![server.pid()],
            Self::Cgi(cgi) => cgi.workers(),
            Self::Apache(apache) => apache.workers(),
        }
    }

    /// Its folder, with a slash at the end.
    pub fn site(&self) -> String {
        let root = match self {
            Self::Fpm(fpm) => fpm.site().document_root(),
            Self::BuiltIn(server) => server.document_root(),
            Self::Cgi(cgi) => cgi.site().document_root(),
            Self::Apache(apache) => apache.site().document_root(),
        };
        format!("{}/", root.display())
    }
}

/// Everything below `/tmp` that tests make; each looks at its own part of it.
fn watch() -> Watch {
    Watch::start(997, Path::new("/tmp/tusktop-"))
}

/// Starts what the row says, and looks at it.
pub fn row(release: &Release, sapi: Sapi, variant: Variant) -> Seen {
    let root = release.root(variant);
    let ini = ini(&root, variant);
    let options: Vec<String> = php_options(&root, variant, &ini);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let expected = Expected {
        version: Some(release.version),
        probes: release.probes,
        opcache: variant != Variant::NoOpcache,
        jit: variant == Variant::Jit,
        preloaded: variant == Variant::Preload,
        beside_another: variant == Variant::TwoMasters,
        sapi,
    };
    let server = match sapi {
        Sapi::Fpm => return fpm(&root, variant, ini, &expected),
        Sapi::Cli => {
            let mut watch = watch();
            let start = |script: &str, arguments: &[&str]| PhpCli::start_in(&root, &options, script, arguments);
            return observe_script(&mut watch, start, &expected);
        }
        Sapi::BuiltIn => Server::BuiltIn(PhpServer::start_in(&root, &options)),
        Sapi::Cgi => Server::Cgi(PhpCgi::start_in(&root, WORKERS as usize, &options)),
        Sapi::Apache => Server::Apache(Apache::start_in(&root, WORKERS, variant != Variant::NoOpcache, &ini)),
    };
    observe(&mut watch(), &server, &expected)
}

fn fpm(root: &Root, variant: Variant, ini: Vec<(String, String)>, expected: &Expected) -> Seen {
    let name = newest(root.outside(Path::new("/usr/sbin")), "php-fpm", "", "php-fpm");
    let installed = Path::new("/usr/sbin").join(name.file_name().unwrap());
    let copy = Copy::new(root);
    let binary = match variant {
        Variant::Stripped => {
            copies::stripped(&root.outside(&installed), &root.outside(&copy.path));
            copy.path.clone()
        }
        Variant::Replaced => {
            fs::copy(root.outside(&installed), root.outside(&copy.path)).unwrap();
            copy.path.clone()
        }
        _ => installed.clone(),
    };
    let pools = vec![Pool::new(POOL, WORKERS)];
    let options = FpmOptions {
        root: root.clone(),
        binary,
        pools: pools.clone(),
        ini,
        opcache: expected.opcache,
        env: Vec::new(),
    };
    let fpm = PhpFpm::start(options);
    match variant {
        Variant::TwoMasters => {
            let other = Server::Fpm(PhpFpm::start(FpmOptions { pools, ..FpmOptions::default() }));
            let (fpm, mut watch) = (Server::Fpm(fpm), watch());
            observe(&mut watch, &other, &Expected { version: None, probes: true, ..*expected });
            observe(&mut watch, &fpm, expected)
        }
        Variant::Replaced => {
            let (mut server, mut watch) = (Server::Fpm(fpm), watch());
            observe(&mut watch, &server, expected);
            // As a package manager does it: the new file is beside the old one until it takes its name.
            let new = copy.path.with_extension("new");
            copies::stripped(&root.outside(&installed), &root.outside(&new));
            fs::rename(root.outside(&new), root.outside(&copy.path)).unwrap();
            let Server::Fpm(fpm) = &mut server else { unreachable!("it is php-fpm") };
            let old = fpm.workers(POOL);
            // What is in the place of a program is looked at once a tick, so that its first requests are seen.
            watch.read();
            fpm.reload();
            assert!(fpm.workers(POOL).iter().all(|pid| !old.contains(pid)));
            watch.finished.clear();
            watch.stacks.clear();
            watch.failures.clear();
            observe(&mut watch, &server, expected)
        }
        _ => observe(&mut watch(), &Server::Fpm(fpm), expected),
    }
}

/// A place for a copy of php-fpm, inside of the root.
struct Copy {
    path: PathBuf,
    _folder: TempDir,
}

impl Copy {
    fn new(root: &Root) -> Self {
        let folder = tempfile::Builder::new().prefix("tusktop-copy-").tempdir_in(root.temporary()).unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        Self { path: Path::new("/tmp").join(folder.path().file_name().unwrap()).join("php-fpm"), _folder: folder }
    }
}

/// Lines of `php.ini` that make the variant.
fn ini(root: &Root, variant: Variant) -> Vec<(String, String)> {
    let lines: &[(&str, &str)] = match variant {
        Variant::Jit => &[("opcache.jit", "tracing"), ("opcache.jit_buffer_size", "64M")],
        Variant::Preload => {
            // The folder of the server is not known yet.
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/php/scripts/preload.php");
            fs::copy(script, root.outside(Path::new("/tmp/tusktop-preload.php"))).unwrap();
            &[("opcache.preload", "/tmp/tusktop-preload.php"), ("opcache.preload_user", "nobody")]
        }
        _ => &[],
    };
    lines.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The same for programs that are told on their command line and read no file.
fn php_options(root: &Root, variant: Variant, ini: &[(String, String)]) -> Vec<String> {
    let mut settings = Vec::new();
    if variant != Variant::NoOpcache {
        let extensions = extension_dir(root, Path::new("/usr/bin/php"));
        if root.outside(&extensions.join("opcache.so")).exists() {
            settings.push("zend_extension=opcache".to_owned());
        }
        settings.extend(["opcache.enable_cli=1", "opcache.file_update_protection=0"].map(str::to_owned));
    }
    settings.extend(ini.iter().map(|(key, value)| format!("{key}={value}")));
    settings.into_iter().flat_map(|setting| ["-d".to_owned(), setting]).collect()
}
