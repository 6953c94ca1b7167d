//! Snapshots for tests: small ones built piece by piece, and a whole server from a file.

use std::sync::Arc;

use jiff::Timestamp;
use tusktop::model::{
    Cost, DiskRates, Drops, Function, FunctionKey, FunctionKind, Group, Host, Level, Memory, Notice, NoticeKind,
    Process, SCHEMA, Snapshot, System, Tier, TierStatus, pool_of_title,
};

/// A server with a shop on php-fpm, its database and the usual daemons.
pub fn web01() -> Snapshot {
    let snapshot = Snapshot::read(include_bytes!("../fixtures/web01.json"));
    let mut snapshot: Snapshot = snapshot.expect("the fixture is a snapshot of this schema");
    // It was written before processes had their pool.
    for process in &mut snapshot.processes {
        process.pool = pool_of_title(&process.cmdline).map(Arc::from);
    }
    snapshot
}

/// A snapshot of an idle machine without groups, processes and PHP.
pub fn empty() -> Snapshot {
    Snapshot {
        schema: SCHEMA,
        at: "2026-11-22T14:05:33Z".parse().expect("a time"),
        interval_ms: 1000,
        host: Host { name: "quiet".into(), kernel: "6.1.0".into(), cpus: 2, memory_bytes: 4 << 30, uptime_s: 90 },
        system: System { memory_available_bytes: Some(3 << 30), ..System::default() },
        memory: None,
        groups: Vec::new(),
        processes: Vec::new(),
        cgroups: Vec::new(),
        php: Arc::default(),
        pool_events: Vec::new(),
        drops: Drops::default(),
        cost: Cost::default(),
        notices: Vec::new(),
    }
}

/// Adds a group with one process per size (RSS in bytes), and says its index.
pub fn add_group(snapshot: &mut Snapshot, name: &str, sizes: &[u64]) -> usize {
    let index = snapshot.groups.len();
    snapshot.groups.push(Group::empty(name.into(), "test".into()));
    for &size in sizes {
        let pid = 100 + snapshot.processes.len() as u32;
        let process = Process {
            pid,
            ppid: 1,
            started_at: Some(Timestamp::UNIX_EPOCH),
            start_ticks: Some(0),
            comm: name.into(),
            cmdline: format!("/usr/bin/{name} --serve").into(),
            user: "root".into(),
            group: index,
            pool: None,
            state: 'S',
            threads: 1,
            cpu_ratio: None,
            disk: DiskRates::default(),
            memory: Memory { rss_bytes: Some(size), ..Memory::default() },
            pss_unknown: None,
            unit: None,
            container: None,
            cgroup: None,
        };
        snapshot.groups[index].add(&process);
        snapshot.processes.push(process);
    }
    index
}

/// A server without PHP.
pub fn without_php() -> Snapshot {
    let mut snapshot = web01();
    snapshot.groups.retain(|group| !group.name.starts_with("php"));
    snapshot.processes.retain(|process| !process.comm.starts_with("php"));
    let old = web01().groups;
    for process in &mut snapshot.processes {
        let name = old[process.group].name.clone();
        process.group = snapshot.groups.iter().position(|group| group.name == name).expect("its group was kept");
    }
    snapshot.php = Arc::default();
    snapshot.notices.clear();
    snapshot
}

/// A server whose PHP may not be observed.
pub fn php_without_permission() -> Snapshot {
    let mut snapshot = web01();
    let mut php = (*snapshot.php).clone();
    for target in &mut php.targets {
        for tier in [Tier::Requests, Tier::Sampling] {
            target.tiers[tier] = TierStatus::unavailable("not root");
        }
    }
    (php.functions, php.stacks, php.routes, php.requests) = Default::default();
    (php.exceptions, php.errors, php.compiles) = Default::default();
    snapshot.php = Arc::new(php);
    snapshot.notices = vec![Notice {
        level: Level::Warning,
        kind: NoticeKind::Other,
        text: "PHP is seen but cannot be observed: no permission to load BPF programs".into(),
        hint: "sudo tusktop".into(),
    }];
    snapshot
}

/// Names that would break a careless screen: escapes, controls, bidi overrides, zero-width, wide, combining, endless.
pub const HOSTILE: [&str; 8] = [
    "\x1b[2J\x1b]0;owned\x07\x1b[31m",
    "a\u{202e}gpj.exe\u{200b}\u{feff}",
    "日本語のプロセス名前がとても長い",
    "e\u{301}e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}",
    "👩\u{200d}👩\u{200d}👧\u{fe0f}🐘🐘🐘",
    "new\nline\ttab\rreturn\u{9b}31m\u{7f}",
    "",
    "אבג عربي لا \u{2066}x",
];

/// The server with hostile names in every place where names come from outside.
pub fn hostile() -> Snapshot {
    let mut snapshot = web01();
    let name = |i: usize| -> Arc<str> { format!("{}{}", HOSTILE[i % HOSTILE.len()], "x".repeat(i % 3 * 40)).into() };
    snapshot.host.name = HOSTILE[0].into();
    for (i, group) in snapshot.groups.iter_mut().enumerate() {
        // Names of groups are unique.
        group.name = format!("{}{i}", name(i)).into();
    }
    for (i, process) in snapshot.processes.iter_mut().enumerate() {
        (process.comm, process.cmdline, process.user) = (name(i), name(i + 1), name(i + 2));
        (process.unit, process.container) = (Some(name(i + 3)), Some(name(i + 4)));
    }
    let mut php = (*snapshot.php).clone();
    for (i, function) in php.functions.iter_mut().enumerate() {
        let key = Arc::make_mut(&mut function.key);
        (key.name, key.class, key.file) = (name(i), name(i + 1), name(i + 2));
    }
    for (i, route) in php.routes.iter_mut().enumerate() {
        let key = Arc::make_mut(&mut route.key);
        (key.route, key.method, key.script) = (name(i), name(i + 1), name(i + 2));
        key.group = snapshot.groups[i % 2].name.clone();
    }
    for (i, request) in php.requests.iter_mut().enumerate() {
        (request.uri, request.method) = (name(i), name(i + 1));
    }
    for (i, exception) in php.exceptions.iter_mut().flatten().enumerate() {
        (exception.class, exception.message, exception.file) = (name(i), name(i + 1), name(i + 2));
        (exception.caught_at, exception.script) = (name(i + 3), name(i + 4));
    }
    for (i, error) in php.errors.iter_mut().flatten().enumerate() {
        (error.level, error.message, error.file) = (name(i), name(i + 1), name(i + 2));
    }
    for (i, file) in php.compiles.iter_mut().flatten().enumerate() {
        (file.file, file.sapi) = (name(i), name(i + 1));
    }
    for target in &mut php.targets {
        target.version = Some(name(0));
        target.sapi = name(5);
    }
    snapshot.php = Arc::new(php);
    snapshot.notices = HOSTILE
        .iter()
        .map(|text| Notice {
            level: Level::Warning,
            kind: NoticeKind::Other,
            text: (*text).into(),
            hint: (*text).into(),
        })
        .collect();
    snapshot
}

/// A snapshot with many processes, functions, stacks and routes, for measuring.
pub fn busy(processes: usize, stacks: usize) -> Snapshot {
    let mut snapshot = web01();
    let pattern = snapshot.processes.clone();
    snapshot.processes =
        (0..processes).map(|i| Process { pid: 1000 + i as u32, ..pattern[i % pattern.len()].clone() }).collect();
    let mut php = (*snapshot.php).clone();
    let (first, pattern) = (php.functions.len(), php.functions[0].clone());
    php.functions.extend((0..300).map(|i| Function {
        key: Arc::new(FunctionKey {
            name: format!("function_{i}").into(),
            class: "Vendor\\Package\\Service".into(),
            file: format!("/srv/www/shop/vendor/package/src/File{}.php", i / 4).into(),
            line: 10 + i,
            kind: FunctionKind::User,
        }),
        self_samples: 1,
        total_samples: 3,
        ..pattern.clone()
    }));
    php.stacks = (0..stacks)
        .map(|i| tusktop::model::Stack {
            route: i % php.routes.len(),
            frames: (0..16).map(|depth| first + (i * 7 + depth * 13) % 300).collect(),
            samples: 1,
            wait_ns: None,
            growth_bytes: None,
            truncated: false,
        })
        .collect();
    snapshot.php = Arc::new(php);
    snapshot
}
