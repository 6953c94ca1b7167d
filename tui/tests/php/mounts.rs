//! One PHP under many paths: hard links, bind mounts, and overlays as containers of one image have them.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use crate::servers::{FpmOptions, PhpFpm, alone};
use crate::watch::Watch;
use tusktop::collect::php::FailureKind;

/// php-fpm behind a script that mounts something in a name space of its own first.
fn behind_a_mount(folder: &Path, name: &str, mount: &str, binary: &Path) -> FpmOptions {
    let script = folder.join(format!("{name}.sh"));
    // The mounts go with the last process that sees them.
    let text = format!(
        "#!/bin/sh\nexec unshare --mount --propagation private sh -ec '{mount}; exec {} \"$@\"' sh \"$@\"\n",
        binary.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    FpmOptions { binary: script, ..FpmOptions::default() }
}

#[test]
#[ignore = "needs root and PHP"]
fn one_file_under_many_paths_and_mounts_counts_each_request_once() {
    let _alone = alone();
    let folder = tempfile::Builder::new().prefix("tusktop-mounts-").tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["lower", "upper-1", "work-1", "over-1", "upper-2", "work-2", "over-2", "bound"] {
        fs::create_dir(path(name)).unwrap();
    }
    let (first, link) = (path("lower").join("php-fpm"), path("lower").join("php-fpm-link"));
    fs::copy(FpmOptions::default().binary, &first).unwrap();
    fs::hard_link(&first, &link).unwrap();
    let overlay = |number: u32| {
        let layer = |name: &str| path(&format!("{name}-{number}")).display().to_string();
        let (upper, work, over) = (layer("upper"), layer("work"), layer("over"));
        let lower = path("lower").display().to_string();
        let mount = format!("mount -t overlay overlay -o lowerdir={lower},upperdir={upper},workdir={work} {over}");
        behind_a_mount(folder.path(), &format!("overlay-{number}"), &mount, &Path::new(&over).join("php-fpm"))
    };
    let bind = format!("mount --bind {} {}", path("lower").display(), path("bound").display());
    let servers: Vec<PhpFpm> = [
        FpmOptions { binary: first, ..FpmOptions::default() },
        FpmOptions { binary: link, ..FpmOptions::default() },
        behind_a_mount(folder.path(), "bind", &bind, &path("bound").join("php-fpm")),
        // As two containers of one image have it.
        overlay(1),
        overlay(2),
    ]
    .into_iter()
    .map(PhpFpm::start)
    .collect();
    let mut watch = Watch::start(0, Path::new("/"));
    let mut workers = Vec::new();
    for (number, fpm) in servers.iter().enumerate() {
        workers.extend(fpm.workers("www"));
        for _ in 0..10 {
            assert_eq!(fpm.get("www", &format!("/post/{number}")).status, 200);
            assert_eq!(fpm.get("www", &format!("/throw?server={number}")).status, 500);
        }
    }
    let of = |watch: &Watch, uri: &str| {
        watch.finished.iter().filter(|f| workers.contains(&f.request.pid) && f.request.uri == uri).count()
    };
    for number in 0..servers.len() {
        watch.until("all requests are seen", |watch| of(watch, &format!("/throw?server={number}")) >= 10);
    }
    watch.read();
    for (number, fpm) in servers.iter().enumerate() {
        let counts = (of(&watch, &format!("/post/{number}")), of(&watch, &format!("/throw?server={number}")));
        assert_eq!(counts, (10, 10), "server {number}: {}", fpm.binary().display());
        let script = fpm.site().page("index.php");
        let thrown = watch.failures.iter().filter(|f| {
            f.what.kind == FailureKind::Thrown
                && &*f.what.class == "DomainException"
                && script == Path::new(&*f.what.file)
        });
        assert_eq!(thrown.map(|f| f.count).sum::<u64>(), 10, "server {number}");
    }
    let images = watch.last.targets.iter().filter(|target| target.pids.iter().any(|pid| workers.contains(pid)));
    assert_eq!(images.count(), 1, "{:#?}", watch.last.targets.iter().map(|t| (&t.exe, &t.pids)).collect::<Vec<_>>());
}
