//! What one drawing needs, computed once for all regions: the entries of the memory pane, the scope of the PHP lists, and the
//! facts that decide what keys mean.

use std::{borrow::Cow, ops::Deref, sync::Arc};

use jiff::Timestamp;

use super::{
    Input,
    pages::process,
    panes::memory::{
        entries::{self, Entries},
        target,
    },
};
use crate::{
    analysis::profile::Scope,
    model::{Exact, ExactState, Grouping, Window, WorkerKey},
    view::{Detail, Facts, Pane, Scene},
};

/// An [`Input`] with what was found in it for all regions.
#[derive(Debug)]
pub(super) struct Screen<'a> {
    input: &'a Input<'a>,
    /// What the PHP lists are about: the chosen route, else the chosen group, else everything. The flame may be about one request
    /// or worker.
    pub scope: Scope,
    /// What the memory pane shows.
    pub entries: Entries<'a>,
}

impl<'a> Deref for Screen<'a> {
    type Target = Input<'a>;

    fn deref(&self) -> &Input<'a> {
        self.input
    }
}

impl<'a> Screen<'a> {
    pub(super) fn of(input: &'a Input<'a>) -> Self {
        Self { input, scope: scope(input), entries: entries::entries(input) }
    }

    /// Whether there is any PHP to speak of.
    pub(super) fn has_php(&self) -> bool {
        self.snapshot.is_some_and(|snapshot| !snapshot.php.targets.is_empty() || !snapshot.php.workers.is_empty())
    }

    /// What keys would act on, on a screen that was drawn as `scene`.
    pub(super) fn facts(&self, scene: &Scene) -> Facts {
        Facts {
            pool: self.pool(),
            target: target::target(self, &scene.lists[Pane::Map as usize]),
            askable: process::askable(self),
            worker: self.worker(),
            tracing: is_tracing(self.exact),
        }
    }

    /// The process whose page is open, if it is a worker of PHP.
    fn worker(&self) -> Option<WorkerKey> {
        let Some((Detail::Process { key, .. }, _)) = &self.view.pane(Pane::Map).detail else { return None };
        let workers = &self.snapshot?.php.workers;
        workers.iter().any(|worker| worker.pid == key.pid).then(|| WorkerKey::of_process(key.pid))
    }

    /// The php-fpm pool of the chosen group, if it is one.
    fn pool(&self) -> Option<Arc<str>> {
        let Scope::Group(group) = &self.scope else { return None };
        let snapshot = self.snapshot?;
        let group = snapshot.groups.iter().position(|known| known.name == *group)?;
        let mut pools =
            snapshot.processes.iter().filter(|process| process.group == group).filter_map(|p| p.pool.as_ref());
        let pool = pools.next()?;
        pools.all(|other| other == pool).then(|| pool.clone())
    }

    /// What time the PHP lists are about.
    pub(super) fn window_name(&self) -> Cow<'static, str> {
        if let Some(between) = self.between {
            let clock = |at: Timestamp| at.to_zoned(self.time_zone.clone()).strftime("%H:%M:%S").to_string();
            let read = between.progress().map(|share| format!(", {:.0} % read", (share * 100.0).floor()));
            return format!("{} to {}{}", clock(between.from), clock(between.to), read.unwrap_or_default()).into();
        }
        match (self.view.window, self.adding) {
            (Window::Last, _) => "last interval".into(),
            (Window::TenSeconds, _) => "last 10 s".into(),
            (Window::Minute, _) => "last 1 m".into(),
            (Window::All, None) => "since start".into(),
            (Window::All, Some(share)) => format!("since start, {:.0} % read", (share * 100.0).floor()).into(),
        }
    }
}

/// Whether calls are being traced.
pub fn is_tracing(exact: Option<&Exact>) -> bool {
    exact.is_some_and(|exact| exact.state == ExactState::Tracing)
}

fn scope(input: &Input) -> Scope {
    if let Some(of) = input.view.flame.as_ref().and_then(|flame| flame.of.as_ref()) {
        return of.clone();
    }
    if let Some(route) = &input.view.route {
        return Scope::Route(route.clone());
    }
    let Some(snapshot) = input.snapshot else { return Scope::All };
    match input.view.group() {
        Some(group) if input.view.grouping != Grouping::Rules => {
            // PHP's lists know groups by the rules; another grouping may have one of the same name.
            let same = input.view.grouping == Grouping::Pool && input.php.routes.iter().any(|r| r.key.group == *group);
            if same { Scope::Group(group.clone()) } else { Scope::All }
        }
        Some(group) if entries::serves_php(snapshot, group) => Scope::Group(group.clone()),
        _ => Scope::All,
    }
}
