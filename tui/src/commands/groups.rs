//! `tusktop groups`: which groups there are, which rules made them, and why a process is in its group.
//! It looks once; the rules are `rules`, and how it is printed is `export`'s work.

use std::{
    io::{self, Write as _},
    sync::Arc,
};

use serde::Serialize;

use super::options;
use crate::{
    aggregate::{self, Placement},
    cli::{GroupsArgs, GroupsFormat},
    collect::proc::{self, Details, ProcError, ProcessSample},
    config::Settings,
    exit, export,
    model::Group,
    rules::{Rule, Rules, Verdict},
};

/// Why there is nothing to say.
#[derive(Debug, thiserror::Error)]
pub enum GroupsError {
    /// Processes cannot be read at all.
    #[error(transparent)]
    Proc(#[from] ProcError),
    /// The process to be explained is not there.
    #[error("there is no process {0}; it may have ended, or be hidden from this user (hidepid, see proc(5))")]
    NoProcess(u32),
}

/// All groups and all rules.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Groups, biggest memory first.
    pub groups: Vec<GroupEntry>,
    /// Rules, in the order in which they are tried.
    pub rules: Vec<RuleEntry>,
}

/// One group.
#[derive(Debug, Serialize)]
pub struct GroupEntry {
    /// Name, size and the rule that was the first to name it.
    #[serde(flatten)]
    pub group: Group,
    /// All rules that put processes here, as indexes into [`Report::rules`].
    pub rules: Vec<usize>,
    /// Its processes.
    pub pids: Vec<u32>,
    /// How many of them are here because they follow an ancestor.
    pub following: usize,
}

/// One rule.
#[derive(Debug, Serialize)]
pub struct RuleEntry {
    /// Name.
    pub name: Arc<str>,
    /// File and line, or `built-in`.
    pub origin: String,
    /// Template of the group's name.
    pub group_name: String,
    /// Conditions in words; all have to hold.
    pub conditions: Vec<String>,
    /// Whether children follow.
    pub children: bool,
    /// Processes that it put into a group.
    pub processes: usize,
}

/// Why a process is in its group.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// Process id.
    pub pid: u32,
    /// Name.
    pub comm: Arc<str>,
    /// Command line.
    pub cmdline: Arc<str>,
    /// Its group.
    pub group: Arc<str>,
    /// The rule that decided.
    pub rule: Arc<str>,
    /// The ancestor that the rule took, when this process follows it.
    pub follows: Option<Ancestor>,
    /// What each rule says, in order, to the one that decided.
    pub tried: Vec<Trial>,
}

/// The process that another one follows.
#[derive(Debug, Serialize)]
pub struct Ancestor {
    /// Process id.
    pub pid: u32,
    /// Name.
    pub comm: Arc<str>,
}

/// What one rule says of a process.
#[derive(Debug, Serialize)]
pub struct Trial {
    /// Name of the rule.
    pub rule: Arc<str>,
    /// File and line, or `built-in`.
    pub origin: String,
    /// It takes the process.
    pub takes: bool,
    /// Why it does not; the conditions that hold where it does.
    pub reason: String,
}

/// Prints the groups and the rules that made them, or why one process is in its group.
///
/// # Errors
/// [`GroupsError`], or standard output refuses.
pub fn run(settings: &Settings, rules: &Arc<Rules>, arguments: GroupsArgs) -> anyhow::Result<u8> {
    let sample = proc::once(&options::processes_once(settings))?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    match (arguments.explain, arguments.format) {
        (None, GroupsFormat::Table) => export::write_groups(&report(&sample, rules), &mut out)?,
        (None, GroupsFormat::Json) => export::write_line(&report(&sample, rules), &mut out)?,
        (Some(pid), GroupsFormat::Table) => export::write_explanation(&explain(&sample, rules, pid)?, &mut out)?,
        (Some(pid), GroupsFormat::Json) => export::write_line(&explain(&sample, rules, pid)?, &mut out)?,
    }
    out.flush()?;
    Ok(exit::FINE)
}

/// Groups what was read.
pub fn report(sample: &ProcessSample, rules: &Arc<Rules>) -> Report {
    let (groups, processes, placements) = aggregate::place(sample, Arc::clone(rules));
    let entry = |group| GroupEntry { group, rules: Vec::new(), pids: Vec::new(), following: 0 };
    let mut groups: Vec<GroupEntry> = groups.into_iter().map(entry).collect();
    let mut rules: Vec<RuleEntry> = rules.all().iter().map(rule_entry).collect();
    for (process, placement) in processes.iter().zip(&placements) {
        rules[placement.rule].processes += 1;
        let group = &mut groups[process.group];
        group.pids.push(process.pid);
        group.following += usize::from(placement.follows.is_some());
        if !group.rules.contains(&placement.rule) {
            group.rules.push(placement.rule);
        }
    }
    Report { groups, rules }
}

fn rule_entry(rule: &Rule) -> RuleEntry {
    RuleEntry {
        name: Arc::clone(rule.name()),
        origin: rule.origin().to_string(),
        group_name: rule.template().to_owned(),
        conditions: rule.conditions(),
        children: rule.has_children(),
        processes: 0,
    }
}

/// Explains the group of one process.
///
/// # Errors
/// [`GroupsError::NoProcess`] when it was not read.
pub fn explain(sample: &ProcessSample, rules: &Arc<Rules>, pid: u32) -> Result<Explanation, GroupsError> {
    let (groups, processes, placements) = aggregate::place(sample, Arc::clone(rules));
    let find = |pid: u32| processes.binary_search_by_key(&pid, |process| process.pid).ok();
    let at = find(pid).ok_or(GroupsError::NoProcess(pid))?;
    let (process, Placement { rule, follows }) = (&processes[at], placements[at]);
    // Readings and processes are in the same order.
    let details = &sample.processes[at].details;
    // One that follows was first refused by all of the user's rules.
    let tried = if follows.is_some() { rules.own() } else { rule + 1 };
    Ok(Explanation {
        pid,
        comm: Arc::clone(&process.comm),
        cmdline: Arc::clone(&process.cmdline),
        group: Arc::clone(&groups[process.group].name),
        rule: Arc::clone(rules.all()[rule].name()),
        follows: follows.and_then(find).map(|at| Ancestor { pid: processes[at].pid, comm: processes[at].comm.clone() }),
        tried: rules.all()[..tried].iter().map(|rule| trial(rule, details)).collect(),
    })
}

fn trial(rule: &Rule, details: &Details) -> Trial {
    let (takes, reason) = match rule.explain(details) {
        Verdict::Takes(_) => (true, describe(rule)),
        Verdict::Leaves(reason) => (false, reason),
    };
    Trial { rule: Arc::clone(rule.name()), origin: rule.origin().to_string(), takes, reason }
}

fn describe(rule: &Rule) -> String {
    let conditions = rule.conditions();
    if conditions.is_empty() { "it matches every process".to_owned() } else { conditions.join(", and ") }
}
