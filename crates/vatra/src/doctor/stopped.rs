//! The facts of a node that does not run, from its directory: configuration, key, certificate, charter, fence, store.

use std::path::Path;

use vatra_api::Gravity::{Critical, Warning};
use vatra_api::{Diagnosis, Finding};
use vatra_store::{OpenError, StoreLock};

use super::{Facts, Place, StoreFacts, Traffic, diagnose, finding, old_copies, space_of};
use crate::config::NodeConfig;
use crate::node::{self, StoppedStore};

/// The finding of a node that runs although its directory alone was to be looked at.
pub(crate) const RUNNING: &str = "node-running";
/// The finding of a node that has its store open and does not answer.
pub(crate) const SILENT: &str = "node-silent";

/// Judges a node by its directory. `silence` is why its API was of no use; `None` if it was not asked.
///
/// # Errors
/// The configuration, a key, the certificate or the charter is not acceptable: the message says which and why.
pub(crate) fn examine(dir: &Path, silence: Option<&str>) -> anyhow::Result<Diagnosis> {
    let config = NodeConfig::load(dir)?;
    // The lock is let go of at once: opening the store takes it again.
    let is_there = StoreLock::acquire(&config.store.path).map(|lock| lock.is_some());
    let mut is_lost = false;
    let (stored, trouble) = match is_there {
        Ok(false) => match node::has_lost_store(&config) {
            Ok(has_lost) => {
                is_lost = has_lost;
                (None, None)
            }
            Err(error) => (None, Some(unreadable(dir, &format!("{error:#}")))),
        },
        Ok(true) => match node::look(&config) {
            Ok(stored) => (Some(stored), None),
            Err(error) => (None, Some(unreadable(dir, &format!("{error:#}")))),
        },
        Err(OpenError::Locked { pid, .. }) => (None, Some(held(pid, &config, silence))),
        Err(error) => (None, Some(unreadable(dir, &format!("{:#}", anyhow::Error::new(error))))),
    };
    let exists = stored.is_some() || trouble.is_some();
    let mut facts = facts(config, stored, exists);
    facts.store.is_lost = is_lost;
    let mut diagnosis = diagnose(&facts);
    if let Some(trouble) = trouble {
        let Diagnosis { node, name, member, at, mut findings, .. } = diagnosis;
        findings.insert(0, trouble);
        diagnosis = Diagnosis::new((node, name, member), at, findings);
    }
    Ok(diagnosis)
}

fn facts(config: NodeConfig, stored: Option<StoppedStore>, exists: bool) -> Facts {
    let stored = stored.unwrap_or_default();
    let own = config.certificate.certificate().clone();
    let peers = config.peers.iter().map(|peer| peer.certificate.certificate().clone());
    let configured = config.charter.current().epoch;
    Facts {
        at: node::wall(),
        who: (own.key, config.name.clone(), config.member),
        running_since: None,
        lives: stored.lives,
        lives_elsewhere: Vec::new(),
        next_life: stored.next_life,
        store: StoreFacts {
            refuses_writes: stored.refuses_writes,
            refuses_since: None,
            damaged: stored.damaged,
            free_bytes: space_of(&config.dir),
            exists,
            is_lost: false,
            old_copies: old_copies(&config.store.path),
        },
        forks: stored.forks,
        revoked: stored.revoked,
        members: Vec::new(),
        peers: config.peers.iter().map(|peer| peer.certificate.certificate().key).collect(),
        certificates: [own].into_iter().chain(peers).collect(),
        heard_certificates: stored.certificates,
        not_admitted: stored.not_admitted,
        charter_epochs: (stored.charter_epoch.unwrap_or(configured), configured),
        quarantine: Vec::new(),
        traffic: Traffic::default(),
        cuts: Vec::new(),
        warnings: config.warnings.clone(),
        place: Place {
            store: config.store.path.clone(),
            is_lab: config.key.purpose() == crate::keys::Purpose::Lab,
            dir: config.dir,
        },
    }
}

fn held(pid: Option<u32>, config: &NodeConfig, silence: Option<&str>) -> Finding {
    let process = pid.map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"));
    let Some(silence) = silence else {
        let what =
            format!("{process} has the store open, so the node runs, and its directory alone tells little of it");
        let remedy = format!("leave out --stopped: `vatra doctor --dir {}` asks the node", config.dir.display());
        return finding(Warning, RUNNING, what, remedy);
    };
    let what = format!("{process} has the store open, but the API at {} was of no use: {silence}", config.api.listen);
    let remedy = "look at the end of the node's log; if it is stuck, stop it with SIGTERM and start it again";
    finding(Critical, SILENT, what, remedy)
}

fn unreadable(dir: &Path, why: &str) -> Finding {
    let remedy = format!(
        "run `vatra fsck --dir {}`; if it does not help, put a backup in place with `vatra node restore`, or move store \
         and fence away and start empty: peers send everything again",
        dir.display()
    );
    finding(Critical, "store-unreadable", format!("the store cannot be opened: {why}"), remedy)
}
