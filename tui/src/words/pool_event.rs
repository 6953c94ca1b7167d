//! What happened to pools, in words.

use super::units;
use crate::model::{EndedBy, PoolEvent, PoolEventKind};

/// What happened, without the pool: `worker 7 was killed by SIGSEGV in GET /a after 30.0 s`.
pub(crate) fn what(event: &PoolEvent) -> String {
    match event.kind {
        PoolEventKind::MaxChildrenReached => {
            let max = event.max_children.map_or_else(String::new, |max| format!(" ({max})"));
            format!("pm.max_children{max} reached: all workers were busy")
        }
        PoolEventKind::WorkerDied | PoolEventKind::Other => {
            let pid = event.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            format!("worker {pid} {}", how(event))
        }
    }
}

/// How a worker ended, and in which request.
pub(crate) fn how(event: &PoolEvent) -> String {
    let signal = event.signal.map(signal);
    let ended = match (event.ended_by, signal) {
        (Some(EndedBy::RequestTerminateTimeout), _) => "was ended by request_terminate_timeout".to_owned(),
        (Some(EndedBy::StopOrReload), _) => "was ended by a stop or reload of php-fpm".to_owned(),
        (_, Some(signal)) => format!("was killed by {signal}"),
        (_, None) => "ended".to_owned(),
    };
    let Some(request) = &event.request else { return ended };
    let lasted = event.duration_ms.map_or_else(String::new, |ms| format!(" after {}", units::duration_ms(ms)));
    let method = if request.method.is_empty() { String::new() } else { format!("{} ", request.method) };
    format!("{ended} in {method}{}{lasted}", request.route)
}

/// A signal in words (signal(7)); those that kill PHP have the same numbers on all architectures that tusktop runs on.
pub(crate) fn signal(number: u32) -> String {
    let name = match number {
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}
