//! The snapshot as plain tables for a person without a screen: machine, groups, PHP, notices.

use std::{
    array,
    io::{self, Write},
};

use super::{
    columns::{
        Align::{self, Left, Right},
        Columns,
    },
    functions, pools, problems,
};
use crate::{
    model::{ForecastLimit, Group, Php, Request, Snapshot, Target, Tier, TierState, TierStatus},
    words::{
        machine_memory,
        memory::{self, Measure},
        names,
        printable::{printable, truncate_end, truncate_start},
        units,
    },
};

/// Rows of each list of PHP.
pub(super) const ROWS: usize = 20;
/// Rows of the biggest requests.
const BIGGEST: usize = 10;
/// Columns of a name, and of a path or URI.
pub(super) const NAME_COLUMNS: usize = 40;
pub(super) const PATH_COLUMNS: usize = 60;

/// Writes all tables.
///
/// # Errors
/// What `out` answers.
pub fn write(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    machine(snapshot, out)?;
    groups(snapshot, out)?;
    let php = &*snapshot.php;
    targets(php, out)?;
    pools::write(php, out)?;
    functions::write(php, out)?;
    functions::write_growth(php, out)?;
    functions::write_traced(php, out)?;
    routes(php, out)?;
    requests(snapshot, out)?;
    biggest(php, out)?;
    problems::write(snapshot, out)?;
    notices(snapshot, out)
}

fn machine(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let (host, system) = (&snapshot.host, &snapshot.system);
    let [one, five, fifteen] = system.load;
    let used = system.memory_available_bytes.map(|available| host.memory_bytes.saturating_sub(available));
    writeln!(
        out,
        "{}  Linux {}  {}",
        printable(&host.name),
        printable(&host.kernel),
        snapshot.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    )?;
    writeln!(
        out,
        "load {one:.2} {five:.2} {fifteen:.2}  cpu {} of {}  iowait {}  steal {}  memory {}  swap {}",
        or_dash(system.cpu_ratio, units::percent),
        host.cpus,
        or_dash(system.io_wait_ratio, units::percent),
        or_dash(system.steal_ratio, units::percent),
        or_dash(used, |used| units::bytes_of(used, host.memory_bytes)),
        or_dash(system.swap_used_bytes, units::bytes),
    )?;
    let sum = snapshot.memory.as_ref().map(machine_memory::sum).unwrap_or_default();
    if sum.is_empty() { Ok(()) } else { writeln!(out, "{sum}") }
}

fn groups(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let measure = Measure::of(&snapshot.processes);
    let mut columns = Columns::new([
        ("GROUP", Left),
        ("PROCS", Right),
        ("THREADS", Right),
        ("CPU", Right),
        ("MEMORY", Right),
        ("SHARE", Right),
        ("RSS", Right),
        ("PSS", Right),
        ("USS", Right),
        ("SWAP", Right),
        ("READ", Right),
        ("WRITTEN", Right),
        ("CGROUP", Right),
    ]);
    let share = |group: &Group| {
        let bytes = memory::footprint(group).filter(|_| snapshot.host.memory_bytes > 0)?;
        Some(bytes as f64 / snapshot.host.memory_bytes as f64)
    };
    for group in &snapshot.groups {
        columns.row([
            name(&group.name),
            group.processes.to_string(),
            group.threads.to_string(),
            or_dash(group.cpu_ratio, units::percent_column),
            memory::size(memory::footprint(group), measure.is_estimate(group)),
            or_dash(share(group), units::percent_column),
            or_dash(group.memory.rss_bytes, units::bytes),
            or_dash(group.memory.pss_bytes, units::bytes),
            or_dash(group.memory.uss_bytes, units::bytes),
            or_dash(group.memory.swapped_bytes(), units::bytes),
            units::bytes_rate(group.disk.read_bytes_per_s),
            units::bytes_rate(group.disk.written_bytes_per_s),
            or_dash(group.cgroup.and_then(|index| snapshot.cgroups.get(index)), |cgroup| memory::cgroup(cgroup).0),
        ]);
    }
    let estimated = if measure.is_mixed() { "; ~: RSS in part" } else { "" };
    title(
        out,
        &format!("memory by group (memory: {measure}{estimated}; share: of all memory; CPU: 100 % is one core)"),
    )?;
    columns.write(out)
}

fn targets(php: &Php, out: &mut impl Write) -> io::Result<()> {
    if php.targets.is_empty() {
        return Ok(());
    }
    const FIXED: [(&str, Align); 4] = [("PHP", Left), ("VERSION", Left), ("SAPI", Left), ("PROCS", Right)];
    const COLUMNS: usize = FIXED.len() + Tier::ALL.len();
    let mut columns = Columns::<COLUMNS>::new(array::from_fn(|column| match FIXED.get(column) {
        Some((title, align)) => ((*title).to_owned(), *align),
        None => (Tier::ALL[column - FIXED.len()].name().to_ascii_uppercase(), Left),
    }));
    for target in &php.targets {
        let Target { exe, version, sapi, pids, tiers, .. } = target;
        let fixed: [String; FIXED.len()] =
            [path(exe), or_dash(version.as_deref(), str::to_owned), sapi.to_string(), pids.len().to_string()];
        columns.row(array::from_fn(|column| match fixed.get(column) {
            Some(cell) => cell.clone(),
            None => state(&tiers[Tier::ALL[column - FIXED.len()]]),
        }));
    }
    title(out, "php")?;
    columns.write(out)
}

fn routes(php: &Php, out: &mut impl Write) -> io::Result<()> {
    let mut routes: Vec<_> = php.routes.iter().filter(|route| route.requests > 0).collect();
    if routes.is_empty() {
        return Ok(());
    }
    routes.sort_by_key(|route| std::cmp::Reverse(route.requests));
    let mut columns = Columns::new([
        ("REQUESTS", Right),
        ("ERRORS", Right),
        ("P50", Right),
        ("P95", Right),
        ("P99", Right),
        ("MAX", Right),
        ("PEAK P50", Right),
        ("PEAK P95", Right),
        ("PEAK MAX", Right),
        ("LIMIT", Right),
        ("GROWTH", Right),
        ("METHOD", Left),
        ("ROUTE", Left),
        ("GROUP", Left),
    ]);
    for route in routes.iter().take(ROWS) {
        let durations = &route.duration_ms;
        columns.row([
            units::at_least(units::count(route.requests), route.requests, route.count_error),
            units::count(route.errors),
            or_dash(durations.p50, units::duration_ms),
            or_dash(durations.p95, units::duration_ms),
            or_dash(durations.p99, units::duration_ms),
            or_dash(durations.max, units::duration_ms),
            or_dash(route.memory.as_ref(), |memory| units::bytes(memory.p50_bytes)),
            or_dash(route.memory.as_ref(), |memory| units::bytes(memory.p95_bytes)),
            or_dash(route.memory.as_ref(), |memory| units::bytes(memory.max_bytes)),
            or_dash(route.memory.as_ref(), |memory| or_none(memory.limit_bytes)),
            or_dash(route.rss_growth_bytes, |growth| units::bytes(growth.unsigned_abs())),
            route.key.method.to_string(),
            path(if route.key.route.is_empty() { &route.key.script } else { &route.key.route }),
            name(&route.key.group),
        ]);
    }
    let total: u64 = routes.iter().map(|route| route.requests).fold(0, u64::saturating_add);
    title(
        out,
        &format!(
            "routes ({} requests finished; peak: memory_get_peak_usage(true); growth: of processes{})",
            units::count(total),
            more(routes.len().saturating_sub(ROWS))
        ),
    )?;
    columns.write(out)
}

fn requests(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let (php, now) = (&*snapshot.php, snapshot.at);
    let mut running: Vec<&Request> = php.requests.iter().filter(|request| !request.finished).collect();
    if running.is_empty() {
        return Ok(());
    }
    running.sort_by(|a, b| b.duration_ms.total_cmp(&a.duration_ms));
    let mut columns = Columns::new([
        ("PID", Right),
        ("SINCE", Right),
        ("MEMORY", Right),
        ("PEAK", Right),
        ("LIMIT", Right),
        ("GROWTH", Right),
        ("RSS GROWTH", Right),
        ("LIMIT REACHED IN", Left),
        ("METHOD", Left),
        ("URI", Left),
        ("GROUP", Left),
        ("WAITS IN", Left),
    ]);
    for request in running.iter().take(ROWS) {
        let route = php.routes.get(request.route);
        let script = || route.map_or_else(String::new, |route| path(&route.key.script));
        columns.row([
            request.pid.to_string(),
            format!("{}{}", if request.start_known { "" } else { "≥ " }, units::duration_ms(request.duration_ms)),
            or_dash(request.memory_bytes, units::bytes),
            or_dash(request.memory_peak_bytes, units::bytes),
            or_dash(request.memory_peak_bytes, |_| or_none(request.memory_limit_bytes)),
            or_dash(request.growth_bytes_per_minute, memory::per_minute),
            or_dash(request.rss_growth_bytes_per_minute, memory::per_minute),
            or_dash(snapshot.forecast(request), |forecast| {
                let of = if forecast.limit == ForecastLimit::Php { "memory_limit" } else { "cgroup" };
                format!("{} ({of})", units::age(forecast.seconds))
            }),
            request.method.to_string(),
            if request.uri.is_empty() { script() } else { truncate_end(&request.uri, PATH_COLUMNS).into_owned() },
            route.map_or_else(String::new, |route| name(&route.key.group)),
            or_dash(request.waiting.as_ref(), |waiting| name(&names::waiting(waiting, now))),
        ]);
    }
    title(out, &format!("running requests ({}{})", running.len(), more(running.len().saturating_sub(ROWS))))?;
    columns.write(out)
}

/// The finished requests that had the most memory.
fn biggest(php: &Php, out: &mut impl Write) -> io::Result<()> {
    let known = php.requests.iter().filter(|request| request.finished);
    let mut biggest: Vec<(u64, &Request)> = known.filter_map(|r| Some((r.memory_peak_bytes?, r))).collect();
    if biggest.is_empty() {
        return Ok(());
    }
    biggest.sort_by_key(|(peak, _)| std::cmp::Reverse(*peak));
    let mut columns = Columns::new([
        ("PEAK", Right),
        ("LIMIT", Right),
        ("TIME", Right),
        ("STATUS", Right),
        ("PID", Right),
        ("METHOD", Left),
        ("URI", Left),
        ("GROUP", Left),
    ]);
    for (peak, request) in biggest.iter().take(BIGGEST) {
        let route = php.routes.get(request.route);
        let script = || route.map_or_else(String::new, |route| path(&route.key.script));
        columns.row([
            units::bytes(*peak),
            or_none(request.memory_limit_bytes),
            units::duration_ms(request.duration_ms),
            or_dash(request.status, |status| status.to_string()),
            request.pid.to_string(),
            request.method.to_string(),
            if request.uri.is_empty() { script() } else { truncate_end(&request.uri, PATH_COLUMNS).into_owned() },
            route.map_or_else(String::new, |route| name(&route.key.group)),
        ]);
    }
    title(out, "biggest requests (peak: memory_get_peak_usage(true))")?;
    columns.write(out)
}

fn notices(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    if snapshot.notices.is_empty() {
        return Ok(());
    }
    title(out, "notices")?;
    for notice in &snapshot.notices {
        let level = names::level(notice.level);
        writeln!(out, "{level}: {}", printable(&notice.text))?;
        if !notice.hint.is_empty() {
            writeln!(out, "  {}", printable(&notice.hint))?;
        }
    }
    Ok(())
}

pub(super) fn title(out: &mut impl Write, text: &str) -> io::Result<()> {
    writeln!(out, "\n{text}")
}

pub(super) fn more(left: usize) -> String {
    if left == 0 { String::new() } else { format!(", {left} more rows not shown") }
}

pub(super) fn or_dash<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".into(), text)
}

fn or_none(limit_bytes: Option<u64>) -> String {
    limit_bytes.map_or_else(|| "none".into(), units::bytes)
}

pub(super) fn name(text: &str) -> String {
    truncate_end(text, NAME_COLUMNS).into_owned()
}

/// The end of a path says more than its start.
pub(super) fn path(text: &str) -> String {
    truncate_start(text, PATH_COLUMNS).into_owned()
}

/// The state of a tier, which may be on and yet not show all.
fn state(status: &TierStatus) -> String {
    match (status.state, &*status.reason) {
        (TierState::On, "") => "on".into(),
        (TierState::On, limit) => format!("on: {limit}"),
        (TierState::Resting, reason) => format!("resting: {reason}"),
        (TierState::Off, _) => "off".into(),
        (TierState::Other, _) => "?".into(),
        (TierState::Unavailable, "") => "no".into(),
        // The whole of a long one is in the notices.
        (TierState::Unavailable, reason) => name(&format!("no: {reason}")),
    }
}
