//! php-fpm's pools: what each is set to and how full it is, read from the master's memory. No request, no status page, no
//! configuration file: the master keeps one small shared mapping for each pool. It needs no BPF program, so it is no tier.

mod layout;
mod reading;

pub(crate) use reading::Scoreboards;
