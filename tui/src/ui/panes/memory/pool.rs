//! A php-fpm pool in one line: its limit, how many workers fit, how full it is.

use jiff::Timestamp;
use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use crate::{
    model::{Bound, FitsUnknown, Pool},
    ui::{frame::Screen, paint},
    words::{pool_event, printable, units},
};

/// The pool whose workers are in a group, if they are of one pool.
pub(crate) fn of_group<'a>(screen: &'a Screen, group: &str) -> Option<&'a Pool> {
    let mut pools = screen.snapshot?.php.pools.iter().filter(|pool| pool.group.as_deref() == Some(group));
    pools.next().filter(|_| pools.next().is_none())
}

/// What is set beside what fits: `40 set, 26 fit`.
pub(crate) fn capacity(pool: &Pool) -> String {
    match pool.fits {
        None => match pool.fits_unknown {
            Some(why @ (FitsUnknown::FewRequests | FitsUnknown::OtherAllocator)) => {
                format!("{} set, {}", pool.board.max_children, why.words())
            }
            _ => format!("{} set", pool.board.max_children),
        },
        Some(fits) if fits >= pool.board.max_children => format!("{} set, all fit", pool.board.max_children),
        Some(fits) => format!("{} set, {fits} fit", pool.board.max_children),
    }
}

/// How what fits is made: `26 fit: 3.2 GiB (free, and private of 10 workers) / 126 MiB (30 MiB base + 96 MiB p95 of 41 k requests)`.
pub(crate) fn arithmetic(pool: &Pool) -> Option<String> {
    let (fits, room) = (pool.fits?, units::bytes(pool.room_bytes?));
    let workers = if pool.workers == 1 { "1 worker".to_owned() } else { format!("{} workers", pool.workers) };
    let each = match (pool.worker_bytes, pool.base_bytes, pool.request_bytes) {
        (Some(each), Some(base), Some(request)) if each == base.saturating_add(request) => format!(
            "{} ({} base + {} p95 of {} requests)",
            units::bytes(each),
            units::bytes(base),
            units::bytes(request),
            units::count(pool.requests_seen)
        ),
        (Some(each), ..) => format!("{} (private p95, more than their requests need)", units::bytes(each)),
        (None, ..) => {
            format!("{} (private p95 at rest: those that serve need more)", units::bytes(pool.private_bytes?))
        }
    };
    Some(format!("{fits} fit: {room} (free, and private of {workers}) / {each}"))
}

/// Lines for what happened to the pool, by the height of the charts with or without them.
pub(crate) fn event_lines(pool: &Pool, height: u16) -> u16 {
    let most = match height {
        18.. => 4,
        10.. => 2,
        6.. => 1,
        _ => 0,
    };
    if pool.events_since.is_none() { 0 } else { most.min(pool.events.len().max(1) as u16) }
}

/// Draws what happened to the pool, the newest first, or that nothing did.
pub(crate) fn draw_events(buffer: &mut Buffer, area: Rect, pool: &Pool, screen: &Screen) {
    let (palette, Some(since)) = (screen.palette, pool.events_since) else { return };
    let clock = |at: Timestamp, form: &str| at.to_zoned(screen.time_zone.clone()).strftime(form).to_string();
    let since = clock(since, "%H:%M");
    if pool.events.is_empty() && area.height > 0 {
        let none = format!("no worker died and the pool was not full since {since}");
        paint::put(buffer, (area.x, area.y), area.width, &none, palette.muted);
    }
    for (number, (event, y)) in pool.events.iter().zip(area.y..area.bottom()).enumerate() {
        let count = match number {
            0 => format!("   {} since {since}", units::count(pool.event_count)),
            _ => String::new(),
        };
        let x = paint::put(buffer, (area.x, y), area.width, &clock(event.at, "%H:%M:%S  "), palette.muted);
        let x = paint::put(buffer, (x, y), area.right().saturating_sub(x), &pool_event::what(event), palette.warn);
        if x + printable::width(&count) as u16 <= area.right() {
            paint::put(buffer, (x, y), area.right() - x, &count, palette.muted);
        }
    }
}

/// Draws the line; what there is no room for is left out from its end.
pub(crate) fn draw(buffer: &mut Buffer, area: Rect, pool: &Pool, screen: &Screen) {
    let palette = screen.palette;
    let too_many = pool.fits.is_some_and(|fits| fits < pool.board.max_children);
    let bound = match pool.bound {
        Some(Bound::Cgroup) if too_many => " in its cgroup",
        _ => "",
    };
    let warn_if = |wrong: bool| if wrong { palette.warn } else { palette.text };
    let mut facts: Vec<(String, Style)> = vec![
        (format!("pool {}", pool.board.name), palette.title),
        (format!("{}{bound}", capacity(pool)), warn_if(too_many)),
        (format!("{} busy", pool.board.active), warn_if(pool.board.active >= pool.board.max_children)),
    ];
    if pool.board.max_children_reached > 0 {
        facts.push((format!("full {}×", units::count(u64::from(pool.board.max_children_reached))), palette.warn));
    }
    match (pool.worker_bytes, pool.private_bytes) {
        (Some(each), _) => facts.push((format!("each {}", units::bytes(each)), palette.text)),
        (None, Some(each)) => facts.push((format!("private {} (p95)", units::bytes(each)), palette.text)),
        (None, None) => {}
    }
    if let Some(route) = pool.route.as_ref().filter(|_| too_many) {
        facts.push((format!("by {} {}", route.method, route.route), palette.text));
    }
    if let Some(shared) = pool.shared_bytes {
        facts.push((format!("shared {}", units::bytes(shared)), palette.text));
    }
    let most = pool.board.listen_queue_max.max(pool.board.listen_queue.unwrap_or(0));
    if most > 0 {
        let now = pool.board.listen_queue.map_or_else(|| "-".to_owned(), |queue| queue.to_string());
        let since = pool.board.queue_since.zip(screen.snapshot).map(|(since, snapshot)| {
            format!(" for {}", units::age(snapshot.at.duration_since(since).as_secs().unsigned_abs()))
        });
        let since = since.unwrap_or_default();
        facts.push((
            format!("queue {now}{since} (max {most})"),
            warn_if(pool.board.listen_queue.is_some_and(|n| n > 0)),
        ));
    }
    facts.push((pool.board.process_manager.name().to_owned(), palette.muted));
    let mut x = area.x;
    for (index, (fact, style)) in facts.iter().enumerate() {
        let gap = if index == 0 { 0 } else { 2 };
        if index > 1 && x + gap + printable::width(fact) as u16 > area.right() {
            break;
        }
        x = paint::put(buffer, (x + gap, area.y), area.right().saturating_sub(x + gap), fact, *style);
    }
}
