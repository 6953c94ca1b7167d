//! Pools of php-fpm as a table: their settings, how full they are, and how many workers fit.

use std::io::{self, Write};

use super::{
    columns::{
        Align::{Left, Right},
        Columns,
    },
    table::{ROWS, more, name, or_dash, path, title},
};
use crate::{
    model::{Bound, FitsUnknown, Php},
    words::units,
};

/// Writes the table, where there is php-fpm.
pub(super) fn write(php: &Php, out: &mut impl Write) -> io::Result<()> {
    if php.pools.is_empty() {
        return Ok(());
    }
    let mut columns = Columns::new([
        ("POOL", Left),
        ("MASTER", Right),
        ("PM", Left),
        ("SET", Right),
        ("FIT", Right),
        ("WORKERS", Right),
        ("BUSY", Right),
        ("FULL", Right),
        ("QUEUE", Right),
        ("PRIVATE P95", Right),
        ("REQUEST P95", Right),
        ("EACH", Right),
        ("SHARED", Right),
        ("REQUESTS", Right),
        ("BOUND BY", Left),
        ("ROUTE", Left),
    ]);
    for pool in php.pools.iter().take(ROWS) {
        columns.row([
            name(&pool.board.name),
            pool.board.master.to_string(),
            pool.board.process_manager.name().to_owned(),
            pool.board.max_children.to_string(),
            match (pool.fits, pool.fits_unknown) {
                (Some(fits), _) => fits.to_string(),
                (None, Some(why @ (FitsUnknown::FewRequests | FitsUnknown::OtherAllocator))) => why.words().to_owned(),
                (None, _) => "-".to_owned(),
            },
            pool.workers.to_string(),
            pool.board.active.to_string(),
            pool.board.max_children_reached.to_string(),
            or_dash(pool.board.listen_queue, |queue| queue.to_string()),
            or_dash(pool.private_bytes, units::bytes),
            or_dash(pool.request_bytes, units::bytes),
            or_dash(pool.worker_bytes, units::bytes),
            or_dash(pool.shared_bytes, units::bytes),
            units::count(pool.board.requests),
            or_dash(pool.bound, |bound| match bound {
                Bound::Memory => "memory".to_owned(),
                Bound::Cgroup => "cgroup".to_owned(),
                Bound::Other => "?".to_owned(),
            }),
            or_dash(pool.route.as_ref(), |route| path(format!("{} {}", route.method, route.route).trim_start())),
        ]);
    }
    let rest = more(php.pools.len().saturating_sub(ROWS));
    title(
        out,
        &format!("php-fpm pools (each: what a worker is counted with; full and requests: since php-fpm started{rest})"),
    )?;
    columns.write(out)
}
