//! What a stopped node's store tells of itself. Nothing in it is changed but what opening it repairs.

use std::collections::BTreeSet;

use vatra_api::ForkStatus;
use vatra_model::certificate::{NodeCertificate, SignedCertificate};
use vatra_model::charter::Charter;
use vatra_model::{MemberCode, NodeKey};
use vatra_replica::RestoredLog;
use vatra_store::{Fence, FenceState, Health, MetaKey, OpenError, Reader, StoreLock};

use crate::config::{EngineKind, NodeConfig, NotAdmitted};
use crate::doctor::{Life, RevokedEntries};
use crate::node::boot::{self, StoredLogs, fence_path, present_life, restore_logs, why_a_new_life};
use crate::node::lives::{self, Order};
use crate::node::revoked;

/// A store that no node has open.
#[derive(Debug, Default)]
pub(crate) struct StoppedStore {
    /// The lives of the store, the latest last.
    pub(crate) lives: Vec<Life>,
    /// Why the next start opens a new one, if it does.
    pub(crate) next_life: Option<String>,
    /// Why it takes no writes, if it does not.
    pub(crate) refuses_writes: Option<String>,
    /// Damaged rows among those that a start reads.
    pub(crate) damaged: u64,
    /// Forked logs.
    pub(crate) forks: Vec<ForkStatus>,
    /// Entries of revoked keys that keep their effect.
    pub(crate) revoked: Vec<RevokedEntries>,
    /// Epoch of the charter in the store.
    pub(crate) charter_epoch: Option<u64>,
    /// Why the charter in force does not admit the node, if it does not.
    pub(crate) not_admitted: Option<NotAdmitted>,
    /// Certificates of the nodes that wrote logs.
    pub(crate) certificates: Vec<NodeCertificate>,
}

/// Opens a stopped node's store and reads what a start would read.
///
/// # Errors
/// The store cannot be opened or read, or a node has it open.
pub(crate) fn look(config: &NodeConfig) -> anyhow::Result<StoppedStore> {
    let store = boot::open(config)?;
    let reader = store.reader();
    let fence = Fence::load(&fence_path(config))?;
    let stored = restore_logs(&reader)?;
    let charter = stored_charter(&reader)?;
    let lives = lives::read(&reader)?.into_iter();
    let logs = stored.logs.iter().filter_map(|log| {
        let (origin, descriptor) = (certificate(&log.row.descriptor.certificate)?, log.row.descriptor.clone());
        let id = origin.log(descriptor.incarnation, &descriptor.audience);
        Some((id, descriptor))
    });
    let in_force = newer(charter.as_ref(), config);
    Ok(StoppedStore {
        revoked: revoked::stored(&reader, in_force, logs)?,
        not_admitted: NotAdmitted::check(in_force, &config.certificate).err(),
        lives: lives
            .map(|life| Life { incarnation: life.incarnation, opened: life.opened, reason: life.reason })
            .collect(),
        next_life: next_life(config, &reader, &fence, &stored)?,
        refuses_writes: match store.health() {
            Health::Writable => None,
            Health::ReadOnly { reason, .. } => Some(reason.to_string()),
        },
        damaged: reader.damaged_count(),
        forks: forks(&stored.logs),
        charter_epoch: charter.map(|charter| charter.current().epoch),
        certificates: stored.logs.iter().filter_map(|log| certificate(&log.row.descriptor.certificate)).collect(),
    })
}

/// Whether the fence tells of an earlier life of a node whose store is not there.
///
/// # Errors
/// The fence is there but cannot be read.
pub(crate) fn has_lost_store(config: &NodeConfig) -> anyhow::Result<bool> {
    // A store in memory is gone after each stop, as was wanted.
    let is_kept = config.store.engine != EngineKind::Memory;
    Ok(is_kept && *Fence::load(&fence_path(config))?.state() != FenceState::Absent)
}

/// Why the charter in a stopped node's store does not admit the node, if it does not. Nothing is said of a node without
/// a store, nor of one that runs, which says it itself.
///
/// # Errors
/// The store cannot be opened or read.
pub(crate) fn not_admitted(config: &NodeConfig) -> anyhow::Result<Option<NotAdmitted>> {
    // The lock is let go of at once: opening the store takes it again.
    match StoreLock::acquire(&config.store.path).map(|lock| lock.is_some()) {
        Ok(false) | Err(OpenError::Locked { .. }) => return Ok(None),
        Ok(true) => {}
        Err(error) => return Err(error.into()),
    }
    let charter = stored_charter(&boot::open(config)?.reader())?;
    Ok(NotAdmitted::check(newer(charter.as_ref(), config), &config.certificate).err())
}

fn stored_charter(reader: &Reader) -> anyhow::Result<Option<Charter>> {
    Ok(reader.meta(MetaKey::CHARTER)?.map(|bytes| Charter::decode(&bytes)).transpose()?)
}

/// The charter that a start would go by: the one in the store if it is newer than the one beside the configuration.
fn newer<'c>(stored: Option<&'c Charter>, config: &'c NodeConfig) -> &'c Charter {
    let is_newer = |charter: &&Charter| charter.current().epoch > config.charter.current().epoch;
    stored.filter(is_newer).unwrap_or(&config.charter)
}

/// Forked logs. A fork is settled when the same node has another log that is not forked.
fn forks(logs: &[RestoredLog]) -> Vec<ForkStatus> {
    let origin = |log: &RestoredLog| certificate(&log.row.descriptor.certificate);
    let unforked = logs.iter().filter(|log| log.fork.is_none()).filter_map(origin);
    let whole: BTreeSet<(MemberCode, NodeKey)> = unforked.map(|node| (node.member, node.key)).collect();
    let fork = |log: &RestoredLog| {
        let (origin, descriptor) = (origin(log)?, &log.row.descriptor);
        let id = origin.log(descriptor.incarnation, &descriptor.audience);
        let seq = log.fork.as_ref()?.place(id).ok()?;
        let (strays, settled) = (log.strays.len() as u64, whole.contains(&(origin.member, origin.key)));
        Some(ForkStatus { log: id, node: origin.key, name: origin.node, member: origin.member, seq, strays, settled })
    };
    logs.iter().filter_map(fork).collect()
}

fn certificate(bytes: &[u8]) -> Option<NodeCertificate> {
    SignedCertificate::decode(bytes).ok().map(|signed| signed.certificate().clone())
}

fn next_life(
    config: &NodeConfig,
    reader: &Reader,
    fence: &Fence,
    stored: &StoredLogs,
) -> anyhow::Result<Option<String>> {
    if let Some(order) = Order::read(reader)? {
        return Ok(Some(order.reason().to_owned()));
    }
    let Some(life) = present_life(reader)? else { return Ok(None) };
    let me = config.certificate.certificate();
    Ok(why_a_new_life(reader, fence, stored, me, life)?.map(str::to_owned))
}
