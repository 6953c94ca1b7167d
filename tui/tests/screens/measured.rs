//! A snapshot with what is known of memory beside RSS: PSS of all processes but one, and cgroups.

use tusktop::model::{Cgroup, Group, PssUnknown, Snapshot};

/// PHP workers share two thirds, others a tenth; the database would be too expensive to read. One cgroup is nearly full.
pub fn measured(mut snapshot: Snapshot) -> Snapshot {
    let cgroup = |path: &str, used: u64, limit: Option<u64>| Cgroup {
        path: path.into(),
        version: 2,
        memory_current_bytes: Some(used << 20),
        memory_max_bytes: limit.map(|mib| mib << 20),
        memory_available_bytes: limit.map(|mib| (mib - used) << 20),
        unlimited: limit.is_none(),
        growth_bytes_per_minute: None,
        limit_is_high: false,
        parts: None,
        events: None,
    };
    snapshot.cgroups = vec![
        cgroup("/system.slice/php8.2-fpm.service", 1930, Some(2048)),
        cgroup("/system.slice/mariadb.service", 1300, None),
        cgroup("/system.slice/nginx.service", 96, Some(512)),
    ];
    for process in &mut snapshot.processes {
        let rss = process.memory.rss_bytes.unwrap_or(0);
        let (pss, uss) =
            if process.comm.starts_with("php") { (rss / 2, rss / 3) } else { (rss / 20 * 19, rss / 10 * 9) };
        process.cgroup = ["php", "mariadb", "nginx"].iter().position(|name| process.comm.starts_with(name));
        if process.comm.starts_with("mariadb") {
            process.pss_unknown = Some(PssUnknown::TooExpensive);
            continue;
        }
        process.memory.pss_bytes = Some(pss);
        process.memory.uss_bytes = Some(uss);
        process.memory.shared_bytes = Some(rss - uss);
        process.memory.pss_age_ms = Some(u64::from(process.pid % 5) * 1000 + 200);
    }
    regroup(&mut snapshot);
    snapshot
}

/// Makes the sums of groups again.
pub fn regroup(snapshot: &mut Snapshot) {
    for (index, group) in snapshot.groups.iter_mut().enumerate() {
        let cpu_ratio = group.cpu_ratio;
        *group = Group::empty(group.name.clone(), group.rule.clone());
        snapshot.processes.iter().filter(|process| process.group == index).for_each(|process| group.add(process));
        group.cpu_ratio = cpu_ratio;
    }
}
