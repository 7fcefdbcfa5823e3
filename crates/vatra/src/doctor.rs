//! What is wrong with a node and what to do: the rules, apart from how the facts are come by.
//!
//! A running node gathers its facts itself (`node::service::doctor`), a stopped one's are read from its directory
//! ([`stopped`]); the same rules then judge both. Every finding is one sentence of what is and one of what to do,
//! and what to do is a command that exists or a thing that a person can check.

mod facts;
mod here;
mod others;
mod stopped;

pub(crate) use self::facts::{Facts, Life, Place, RevokedEntries, StoreFacts, Traffic, old_copies, space_of};
pub(crate) use self::stopped::{RUNNING, SILENT, examine};

use vatra_api::{Diagnosis, Finding, Gravity};
use vatra_model::WallMs;

/// Findings that are told; a federation in great trouble has more, which say the same.
const FINDINGS_MAX: usize = 200;

/// A node that started less than this ago may still be finding its peers, and they may still be telling it what its
/// store lacks, in milliseconds.
const SETTLING_MS: u64 = 15_000;

/// Judges a node by its facts.
pub(crate) fn diagnose(facts: &Facts) -> Diagnosis {
    let mut found = Findings::default();
    here::judge(facts, &mut found);
    others::judge(facts, &mut found);
    let mut diagnosis = Diagnosis::new(facts.who.clone(), facts.at, found.0);
    let surplus = diagnosis.findings.len().saturating_sub(FINDINGS_MAX);
    if surplus > 0 {
        diagnosis.findings.truncate(FINDINGS_MAX);
        let what = format!("{surplus} more findings of the least gravity are left out");
        diagnosis.findings.push(finding(Gravity::Note, "more", what, "settle those above first"));
    }
    diagnosis
}

/// What the rules found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, finding: Finding) {
        self.0.push(finding);
    }
}

/// A finding about the node itself.
fn finding(severity: Gravity, code: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding {
        severity,
        code,
        subject: None,
        what: what.into(),
        remedy: remedy.into(),
        since: None,
        records: Vec::new(),
    }
}

/// Builders that rules chain onto a finding.
trait FindingDetail {
    fn about(self, subject: impl ToString) -> Self;
    fn since(self, since: Option<WallMs>) -> Self;
}

impl FindingDetail for Finding {
    fn about(mut self, subject: impl ToString) -> Finding {
        self.subject = Some(subject.to_string());
        self
    }

    fn since(mut self, since: Option<WallMs>) -> Finding {
        self.since = since;
        self
    }
}

#[cfg(test)]
mod tests;
