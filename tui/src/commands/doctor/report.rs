//! The findings as one value: `--json` prints it, and the exit code follows from it.

use std::{
    io::{self, Write},
    iter,
};

use jiff::Timestamp;
use serde::Serialize;

use super::system::{Check, PRIVILEGES, PROCESSES, State};
use crate::{
    collect::php::PhpSample,
    exit, export,
    model::{Master, Notice, Target, Tier, TierState},
    system::host_name,
};

/// Version of the JSON layout: fields are added, not renamed.
const SCHEMA: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    /// Version of the layout.
    pub schema: u32,
    /// When it was made.
    pub at: Timestamp,
    /// Version of this program.
    pub tusktop: &'static str,
    pub host: String,
    /// Everything works for every PHP in the list.
    pub complete: bool,
    /// Some PHP runs; if not, the list is of programs that are installed.
    pub running: bool,
    pub system: Vec<Check>,
    pub php: Vec<Program>,
    /// What else the collector has to say.
    pub notices: Vec<Notice>,
    #[serde(skip)]
    code: u8,
}

/// A PHP image with what works for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Program {
    pub exe: String,
    /// PHP version; `None` when it was not found in the image.
    pub version: Option<String>,
    pub sapi: String,
    /// Built for threads.
    pub zts: bool,
    /// Why nothing of it is observed; `None` when it is.
    pub not_observed: Option<String>,
    /// Names of its USDT probes.
    pub probes: Vec<String>,
    /// Exported functions that are attached to where there are no probes.
    pub functions: Vec<String>,
    /// Processes that run it.
    pub processes: usize,
    /// What can be observed.
    pub tiers: Vec<TierLine>,
    /// Processes that others were forked from.
    pub masters: Vec<Master>,
    /// Masters that are not in the list.
    pub masters_left_out: u32,
}

/// What one tier shows of an image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct TierLine {
    pub name: &'static str,
    /// State, as in a snapshot.
    pub state: TierState,
    /// It is on, or can be switched on for every process.
    pub works: bool,
    /// How it is seen; empty where there is nothing to say.
    pub how: String,
    /// Why it does not work, or not for all.
    pub reason: String,
    /// It is off until somebody asks for it.
    #[serde(skip)]
    pub on_demand: bool,
}

impl TierLine {
    /// What is on demand is missing while some process cannot be traced (`for_all` is false).
    fn new(name: &'static str, tier: Tier, target: &Target, for_all: bool) -> Self {
        let status = &target.tiers[tier];
        Self {
            name,
            state: status.state,
            works: status.state != TierState::Unavailable && (for_all || !tier.is_on_demand()),
            how: status.how(),
            reason: status.reason.clone(),
            on_demand: tier.is_on_demand(),
        }
    }
}

/// Memory, which always works, then a line for every tier; the exact tier has a second one for what it traces by line.
fn lines(target: &Target) -> Vec<TierLine> {
    let for_all = target.masters.iter().all(|master| master.dtrace == Some(true));
    let memory = TierLine {
        name: "memory",
        state: TierState::On,
        works: true,
        how: String::new(),
        reason: String::new(),
        on_demand: false,
    };
    let tiers = Tier::ALL.into_iter().map(|tier| TierLine::new(tier.name(), tier, target, for_all));
    let by_line = TierLine::new("execute", Tier::Exact, target, for_all);
    iter::once(memory).chain(tiers).chain([by_line]).collect()
}

impl Program {
    fn new(target: Target) -> Self {
        Self {
            tiers: if target.not_observed.is_some() { Vec::new() } else { lines(&target) },
            not_observed: target.not_observed.map(|why| why.to_string()),
            exe: target.exe.to_string(),
            version: target.version.as_deref().map(str::to_owned),
            sapi: target.sapi.to_string(),
            zts: target.zts,
            probes: target.probes.iter().map(|name| name.to_string()).collect(),
            functions: target.functions.iter().map(|name| name.to_string()).collect(),
            processes: target.pids.len(),
            masters: target.masters,
            masters_left_out: target.masters_left_out,
        }
    }

    fn works(&self) -> bool {
        self.tiers.iter().all(|tier| tier.works) && self.masters_left_out == 0
    }
}

impl Report {
    /// Judges what was found.
    pub(crate) fn new(at: Timestamp, system: Vec<Check>, sample: PhpSample) -> Self {
        let running = sample.targets.iter().any(|target| !target.pids.is_empty() && target.not_observed.is_none());
        let php: Vec<_> =
            sample.targets.into_iter().filter(|target| !running || !target.pids.is_empty()).map(Program::new).collect();
        let complete = system.iter().all(|check| check.state != State::Missing) && php.iter().all(Program::works);
        let missing = |name| system.iter().any(|check| check.name == name && check.state == State::Missing);
        let code = match complete {
            _ if system.is_empty() || missing(PROCESSES) => exit::NO_PROCFS,
            _ if missing(PRIVILEGES) => exit::NO_PERMISSION,
            true => exit::FINE,
            false => exit::FAILED,
        };
        Self {
            schema: SCHEMA,
            at,
            tusktop: env!("CARGO_PKG_VERSION"),
            host: host_name(),
            complete,
            running,
            system,
            php,
            notices: sample.notices,
            code,
        }
    }

    /// Exit code, of [`exit`]: fine when everything works, failed when something is missing.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// Writes one line of JSON.
    ///
    /// # Errors
    /// What `out` answers.
    pub(crate) fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        export::write_line(self, out)
    }

    /// Writes it for people, 80 columns wide.
    ///
    /// # Errors
    /// What `out` answers.
    pub(crate) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        super::text::write(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SeenBy, TierStatus, Tiers};

    fn target(pids: &[u32], masters: Vec<Master>) -> Target {
        Target {
            image: Some(0),
            not_observed: None,
            exe: "/usr/sbin/php-fpm\x1b[2J".into(),
            version: Some("8.2.36".into()),
            sapi: "fpm".into(),
            zts: false,
            probes: vec!["request__startup".into()],
            functions: Vec::new(),
            pids: pids.to_vec(),
            masters,
            masters_left_out: 0,
            tiers: Tiers::new(|tier| match tier {
                Tier::Exact => TierStatus::off("on demand"),
                Tier::Sampling => TierStatus { hz: Some(99), ..TierStatus::on(SeenBy::Timer) },
                Tier::Waiting => TierStatus::on(SeenBy::SchedSwitch),
                _ => TierStatus::on(SeenBy::Usdt),
            }),
        }
    }

    fn master(pid: u32, dtrace: Option<bool>) -> Master {
        let hint = if dtrace == Some(true) { Vec::new() } else { vec!["restart it".to_owned()] };
        Master { pid, dtrace, reason: "it was started without it".into(), hint, ..Master::default() }
    }

    fn check(name: &'static str, state: State) -> Check {
        Check { name, state, found: "found".into(), hint: vec!["do this".into()] }
    }

    fn report(system: Vec<Check>, targets: Vec<Target>) -> Report {
        Report::new(Timestamp::UNIX_EPOCH, system, PhpSample { targets, ..PhpSample::default() })
    }

    fn text(report: &Report) -> String {
        let mut out = Vec::new();
        report.write_text(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_exit_code_says_whether_everything_works_for_what_runs() {
        let fine = || vec![check("kernel", State::Ok)];
        let all = report(fine(), vec![target(&[1, 2], vec![master(1, Some(true))]), target(&[], Vec::new())]);
        assert_eq!((all.code(), all.complete, all.php.len()), (0, true, 1));
        for dtrace in [Some(false), None] {
            let some = report(fine(), vec![target(&[1, 2], vec![master(1, Some(true)), master(2, dtrace)])]);
            assert_eq!((some.code(), some.complete), (1, false));
        }
        let machine = report(vec![check("uprobes", State::Missing)], Vec::new());
        assert_eq!(machine.code(), 1);
        assert_eq!(report(vec![check(PRIVILEGES, State::Missing)], Vec::new()).code(), 77);
        assert_eq!(
            report(vec![check(PRIVILEGES, State::Missing), check(PROCESSES, State::Missing)], Vec::new()).code(),
            69
        );
        assert_eq!(report(vec![check("lockdown", State::Warning)], Vec::new()).code(), 0);
        assert_eq!(report(Vec::new(), Vec::new()).code(), 69);
    }

    #[test]
    fn without_a_running_php_the_installed_ones_are_listed_and_nothing_is_missing() {
        let installed = report(vec![check("kernel", State::Ok)], vec![target(&[], Vec::new())]);
        assert_eq!((installed.running, installed.complete, installed.code()), (false, true, 0));
        assert!(text(&installed).contains("No PHP is running. The rest"), "{}", text(&installed));
        let none = report(vec![check("kernel", State::Ok)], Vec::new());
        assert!(text(&none).contains("none is in the usual folders") && none.code() == 0);
    }

    #[test]
    fn text_says_once_what_to_type_for_all_that_need_it_and_lets_nothing_through() {
        let masters = vec![master(1, Some(false)), master(2, Some(true)), master(3, Some(false))];
        let report = report(vec![check("kernel", State::Warning)], vec![target(&[1, 2, 3], masters)]);
        let text = text(&report);
        assert!(text.contains("pid 1, 3: it was started without it\n    restart it\n"), "{text}");
        assert_eq!(text.matches("restart it").count(), 1);
        assert!(text.contains("missing  exact") && text.contains("> do this") && text.contains("php-fpm·[2J"));
        assert!(text.lines().all(|line| line.chars().count() <= 80 && line == line.trim_end()));
    }

    #[test]
    fn every_tier_has_a_line_and_is_missing_where_it_is_unavailable() {
        for tier in Tier::ALL {
            let mut target = target(&[1], vec![master(1, Some(true))]);
            target.tiers[tier] = TierStatus::unavailable("the reason is here");
            let report = report(vec![check("kernel", State::Ok)], vec![target]);
            let line = report.php[0].tiers.iter().find(|line| line.name == tier.name()).unwrap();
            assert!(!line.works && !report.complete, "{line:?}");
            let text = text(&report);
            let missing = format!("  missing  {:14}the reason is here\n", tier.name());
            assert!(text.contains(&missing), "{missing:?} is not in {text}");
        }
    }
}
