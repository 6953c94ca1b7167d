//! The page of a worker: what it runs, where in the code it is, what it did in the last minute, and its memory.

use super::facts::{Line, fact, heading};
use crate::{
    model::{WorkerKey, WorkerState},
    ui::{
        frame::Screen,
        panes::workers::{Lane, growth_text},
    },
    words::{memory, names, units},
};

/// What is known of a worker.
pub(super) fn facts(screen: &Screen, key: WorkerKey) -> Vec<Line> {
    let pid = key.pid;
    let gone = || vec![heading("this worker is not there at this moment; esc goes back")];
    let Some(snapshot) = screen.snapshot else { return gone() };
    let Some(lane) = Lane::of(snapshot, key) else { return gone() };
    let (worker, php) = (lane.worker, &*snapshot.php);
    let unknown = |why: &str| format!("-   {why}");
    let state = match worker.state {
        WorkerState::Running => "running a request",
        WorkerState::Idle => "idle",
        WorkerState::Unknown => "not known: requests are not observed",
    };
    let time = lane.for_ms.map_or_else(String::new, |ms| format!(" for {}", units::duration_ms(ms)));
    let mut lines = vec![fact("state", format!("{state}{time}")), fact("request", lane.what())];
    if let Some(route) = lane.request.and_then(|request| php.routes.get(request.route)) {
        lines.push(fact("route", names::route(route)));
        lines.push(fact("script", &*route.key.script));
    }
    if let Some(tid) = key.tid {
        let others = php.workers.iter().filter(|other| other.pid == pid).count();
        lines.push(fact("thread", format!("{tid}, one of {others} of process {pid} that were seen in a request")));
    }
    lines.push(fact("group", worker.group.as_deref().unwrap_or("-")));
    if let Some(waiting) = lane.request.and_then(|request| request.waiting.as_ref()) {
        let ms = (snapshot.at.duration_since(waiting.since).as_secs_f64() * 1000.0).max(0.0);
        let since = if waiting.since_known { "for" } else { "for more than" };
        let kernel = waiting.kernel.as_ref().map_or_else(String::new, |kernel| format!(" ({kernel})"));
        let name = names::function(&waiting.function);
        lines.push(fact("waits in", format!("{name}{kernel} {since} {}", units::duration_ms(ms))));
    }
    lines.push(fact(
        "requests",
        match worker.requests {
            Some(requests) => format!("{} served while it is watched", units::count(requests)),
            None => unknown("requests are not observed"),
        },
    ));
    let shares = screen.lanes.and_then(|lanes| lanes.shares(key));
    lines.push(fact(
        "last minute",
        match shares {
            Some((cpu, wait)) => {
                let idle = units::percent((1.0 - cpu - wait).max(0.0));
                format!("{} CPU, {} waiting, {idle} idle", units::percent(cpu), units::percent(wait))
            }
            None => unknown("what it did is not observed"),
        },
    ));
    let sizes = lane.process.map(|process| &process.memory);
    let bytes = |bytes: Option<u64>, why: &str| bytes.map_or_else(|| unknown(why), units::bytes);
    let private = sizes.and_then(|sizes| sizes.uss_bytes);
    if key.tid.is_some() {
        let resident = sizes.and_then(|sizes| sizes.rss_bytes);
        let of_process = bytes(resident, "the process is not in this snapshot");
        lines.push(fact("process memory", format!("{of_process} resident, which all of its threads share")));
    } else {
        lines.push(fact(
            "private memory",
            bytes(private, "PSS and USS are read one process at a time (docs/memory.md)"),
        ));
        let resident = sizes.and_then(|sizes| sizes.rss_bytes).or(worker.rss_bytes);
        lines.push(fact("resident memory", bytes(resident, "the process is not in this snapshot")));
        let growth = screen.lanes.and_then(|lanes| lanes.growth_per_request(key));
        let few = || unknown("it served less than two requests in the last minute");
        let minute = screen.lanes.and_then(|lanes| lanes.growth_per_minute(key));
        let minute = minute.map_or_else(String::new, |growth| format!(", {} a minute", growth_text(growth, "")));
        lines.push(fact("growth", growth.map_or_else(few, |growth| growth_text(growth, " a request")) + &minute));
    }
    if let Some(cgroup) = snapshot.cgroup_of(pid) {
        let growth = memory::cgroup_growth(cgroup);
        let separator = if growth.is_empty() { "" } else { ", " };
        lines.push(fact("cgroup", format!("{}{separator}{growth}", memory::cgroup(cgroup).0)));
    }
    lines.push(heading(""));
    lines.push(heading("stack of its request, the innermost function first"));
    let age = worker.stack_age_ms.filter(|age| *age >= 1_500);
    if let Some(age) = age {
        lines.push(fact(
            "seen",
            format!("{} ago; since then it was in the same wait, or was not sampled", units::duration_ms(age as f64)),
        ));
    }
    let mut any = false;
    for key in lane.stack(php) {
        any = true;
        lines.push(fact(&names::function(key), names::place_of(key)));
    }
    if !any {
        lines.push(fact(
            "-",
            match worker.state {
                WorkerState::Running => "it was not sampled yet, and no wait of it has ended",
                _ => "no request runs",
            },
        ));
    }
    lines
}
