//! From the settings to what is collected, for the commands that observe.

use std::{sync::Arc, time::Duration};

use crate::{
    collect::{
        php,
        proc::{self, PssOptions},
    },
    config::Settings,
    model::TraceLimits,
    rules::Rules,
    session,
};

/// For what goes on looking.
pub(super) fn going_on(settings: &Settings, rules: Arc<Rules>) -> session::Options {
    session::Options {
        interval: settings.interval,
        php: settings.php.then(|| php::Options {
            hz: settings.hz,
            owners: settings.php_owners.clone(),
            secrets: settings.secrets,
            ..php::Options::default()
        }),
        proc: processes(settings, PssOptions::default().allowance),
        rules,
    }
}

/// For what looks once.
pub(super) fn once(settings: &Settings, rules: Arc<Rules>) -> session::Options {
    // Disks and kills are known from the iterator alone, and the first pass is what the second is compared with.
    let proc = proc::Options { kernel_first: true, ..processes_once(settings) };
    session::Options { proc, ..going_on(settings, rules) }
}

/// For what looks at the processes once, and at nothing else.
pub(super) fn processes_once(settings: &Settings) -> proc::Options {
    processes(settings, PssOptions::ONCE)
}

/// How much of the machine tracing may take, and for how long.
pub(super) fn limits(settings: &Settings) -> TraceLimits {
    TraceLimits { budget: settings.budget, limit: settings.trace_limit }
}

fn processes(settings: &Settings, allowance: Duration) -> proc::Options {
    let pss = PssOptions { budget: settings.pss_budget, read_limit: settings.pss_read_limit, allowance };
    proc::Options { pss, owners: settings.php_owners.clone(), secrets: settings.secrets, ..proc::Options::default() }
}
