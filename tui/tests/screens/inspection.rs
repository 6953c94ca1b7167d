//! A close look at a php-fpm worker, as the collector would have it.

use std::{sync::Arc, time::Duration};

use tusktop::model::{
    CgroupLimit, CgroupLimits, Inspection, Limit, MappingKind, MappingSum, Mappings, OpenFiles, ProcessKey, Unit,
};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

fn sum(count: u64, [size, rss, pss, uss]: [u64; 4]) -> MappingSum {
    MappingSum { count, size, rss, pss, uss, swap: 0 }
}

fn limit(name: &str, soft: Option<u64>, hard: Option<u64>, unit: Unit) -> Limit {
    Limit { name: name.into(), soft, hard, unit }
}

/// The worker.
pub fn worker(process: ProcessKey) -> Inspection {
    let at = "2026-11-22T14:05:33Z".parse().expect("a time");
    let opcache = sum(1, [128 * MIB, 44 * MIB, 5 * MIB, 0]);
    let library = sum(4, [6 * MIB, 3 * MIB, 90 * KIB, 8 * KIB]);
    let kinds = vec![
        (MappingKind::Heap, sum(1, [3 * MIB, 2 * MIB, 1900 * KIB, 1800 * KIB])),
        (MappingKind::Anonymous, sum(17, [190 * MIB, 182 * MIB, 181 * MIB, 180 * MIB])),
        (MappingKind::Stack, sum(1, [132 * KIB, 48 * KIB, 44 * KIB, 44 * KIB])),
        (MappingKind::File, sum(131, [55 * MIB, 9 * MIB, 1200 * KIB, 80 * KIB])),
        (MappingKind::Opcache, opcache),
        (MappingKind::Special, sum(4, [36 * KIB, 4 * KIB, 0, 0])),
    ];
    let mut total = MappingSum::default();
    kinds.iter().for_each(|(_, sum)| total.add(sum));
    let zero: Arc<str> = "/dev/zero (deleted)".into();
    let shop: Arc<str> = "/system.slice/php8.2-fpm.service".into();
    Inspection {
        process,
        comm: "php-fpm8.2".into(),
        at,
        mappings_at: at,
        mappings_cost: Duration::from_millis(5),
        cost: Duration::from_millis(1),
        every: Duration::from_secs(2),
        ended: false,
        mappings: Ok(Mappings {
            kinds,
            total,
            biggest: vec![
                (zero, MappingKind::Opcache, opcache),
                ("/usr/lib/x86_64-linux-gnu/libcrypto.so.3".into(), MappingKind::File, library),
            ],
        }),
        limits: Ok(vec![
            limit("stack size", Some(8 * MIB), None, Unit::Bytes),
            limit("processes", Some(96_365), Some(96_365), Unit::Count),
            limit("open files", Some(1024), Some(524_288), Unit::Count),
            limit("address space", None, None, Unit::Bytes),
            limit("nice priority", Some(0), Some(0), Unit::Count),
        ]),
        files: Ok(OpenFiles {
            count: 19,
            files: 9,
            sockets: 6,
            pipes: 1,
            other: 3,
            complete: true,
            exact: true,
            limit: Some(1024),
        }),
        cgroup: Ok(CgroupLimits {
            path: shop.clone(),
            version: 2,
            memory: Some(1900 * MIB),
            swap: Some(0),
            tasks: Some(13),
            memory_max: Some(CgroupLimit { limit: 2048 * MIB, used: Some(1966 * MIB), at: "/system.slice".into() }),
            memory_high: None,
            swap_max: None,
            tasks_max: Some(CgroupLimit { limit: 4915, used: Some(13), at: shop }),
        }),
        oom_score: Ok(667),
        oom_score_adj: Ok(0),
        wchan: Ok(Some("skb_wait_for_more_packets".into())),
        nice: Ok(0),
        policy: Ok("normal".into()),
        switches: Ok((5562, 1934)),
        exe: Ok("/usr/sbin/php-fpm8.2".into()),
        cwd: Ok("/".into()),
        arguments: Ok(("php-fpm: pool www".into(), false)),
    }
}
