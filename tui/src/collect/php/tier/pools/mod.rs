//! php-fpm's pools: their settings and how full they are, read from the master's memory, without a request, a status page or a
//! configuration file. The master keeps one small shared mapping per pool. No BPF program is needed, so this is no tier.

#[cfg(test)]
mod fuzz;
mod layout;
mod queue;
mod reading;

pub(crate) use reading::Scoreboards;
