//! Files of /proc, made of real ones by chance.

use std::path::Path;

use super::{
    Rollup, cgroup,
    cgroup::Membership,
    cgroup_mounts::CgroupMount,
    details::command_line,
    machine::{MemoryInfo, cpu_ticks, cpus, load, oom_kills, pressure},
    stat::Stat,
};
use crate::{fuzz::Target, words::secrets::Secrets};

#[test]
fn any_stat_file_is_read_or_refused() {
    let target = Target { name: "stat", longest: 1024, memory: 1024, words: &[" (", ") ", ") R ", " -1 ", "0 "] };
    target.run(|bytes| {
        for ticks in [0, 1, 100, 1024] {
            if let Some(stat) = Stat::parse(bytes, ticks) {
                assert!(stat.comm.len() < bytes.len());
            }
        }
    });
}

#[test]
fn any_rollup_is_read_or_refused() {
    let target = Target {
        name: "smaps_rollup",
        longest: 2048,
        memory: 1024,
        words: &["Pss:", "Private_Clean:", "Private_Dirty:", "Shared_Clean:", "Shared_Dirty:", " kB\n", ":"],
    };
    target.run(|bytes| {
        let _ = Rollup::parse(bytes);
    });
}

#[test]
fn any_control_groups_are_read() {
    let target = Target {
        name: "cgroup",
        longest: 4096,
        memory: 1024,
        words: &["0::/", ".service", ".scope", "docker-", "memory:", "/lxc/", "\n", "kubepods", "name=systemd:"],
    };
    target.run(|bytes| {
        let _ = (Membership::parse(bytes), cgroup::memory(bytes), cgroup::paths(bytes).count());
    });
}

#[test]
fn any_list_of_mounts_is_read() {
    let target = Target {
        name: "mountinfo",
        longest: 4096,
        memory: 64 << 10,
        words: &[
            " - cgroup2 cgroup rw\n",
            " - cgroup cgroup rw,memory\n",
            "\\040",
            "\\777",
            "/../",
            " / /sys/fs/cgroup ",
        ],
    };
    target.run(|bytes| {
        for mount in CgroupMount::all(bytes) {
            let _ = (mount.has("memory"), mount.below(Path::new("/system.slice/a.service")));
        }
    });
}

#[test]
fn any_command_line_is_text() {
    let target = Target {
        name: "cmdline",
        longest: 4096,
        memory: 128 << 10,
        words: &["\0", " ", "php-fpm: pool ", "--password", "="],
    };
    target.run(|bytes| {
        let (exe, cmdline) = command_line(bytes, Secrets::Masked);
        assert!(exe.len() <= cmdline.len() && cmdline.len() <= 3 * bytes.len());
    });
}

#[test]
fn any_file_about_the_machine_is_read_or_refused() {
    let target = Target {
        name: "machine",
        longest: 4096,
        memory: 256 << 10,
        words: &["cpu ", "cpu0 ", "MemTotal:", "MemAvailable:", " kB\n", "some avg10=", "full avg10=", "total=", "/"],
    };
    target.run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let _ = (cpu_ticks(&text), cpus(&text), MemoryInfo::parse(&text), load(&text), pressure(&text));
        oom_kills(&text);
    });
}
