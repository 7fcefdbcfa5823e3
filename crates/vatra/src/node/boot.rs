//! Opening a node's store and finding out which life it is in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use vatra_model::certificate::NodeCertificate;
use vatra_model::charter::Charter;
use vatra_model::codec;
use vatra_model::limits::STRAYS_MAX;
use vatra_model::view::Digest;
use vatra_model::{AudienceId, Head, Hlc, Incarnation, LogId, Seq, WallMs};
use vatra_replica::{AheadRow, LogRow, Restored, RestoredLog};
use vatra_store::{
    Commit, Fence, FenceState, MemoryDisk, MetaKey, OpenOptions, PAGE_ROWS_MAX, PageLimits, Reader, Store,
};
use vatra_stream::StoreId;

use crate::config::{EngineKind, NodeConfig};
use crate::node::clock::wall;
use crate::node::lives::{self, Life, Order};
use crate::node::packing::unpack_header;
use crate::node::strays;

/// The life of the store and its starts.
const LIFE: MetaKey = MetaKey::INCARNATION;
/// What changes with every commit: digest, stamp, counts.
pub(crate) const STATE: MetaKey = MetaKey::new("state");

/// What every commit renews.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub(crate) struct StateRow {
    /// Digest over all views.
    pub(crate) digest: [u8; 32],
    /// The highest stamp given or seen.
    pub(crate) hlc: Hlc,
    /// Alerts shown.
    pub(crate) alerts: u64,
    /// Contacts shown.
    pub(crate) contacts: u64,
}

/// Which life of the store this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub(crate) struct LifeRow {
    pub(crate) incarnation: Incarnation,
    pub(crate) opened: WallMs,
    pub(crate) boot: u64,
}

/// An opened node.
pub(crate) struct Booted {
    pub(crate) store: Store,
    pub(crate) fence: Fence,
    pub(crate) store_id: StoreId,
    pub(crate) restored: Restored,
    pub(crate) charter: Charter,
    pub(crate) state: StateRow,
    /// Why a new life was begun, if one was.
    pub(crate) new_life: Option<&'static str>,
}

/// Opens the store, or makes a new one, and notes the start in it.
pub(crate) fn boot(config: &NodeConfig) -> anyhow::Result<Booted> {
    let mut store = open(config)?;
    let mut fence = Fence::load(&fence_path(config)).context("the node cannot tell how far it has written")?;
    let reader = store.reader();
    let mut commit = Commit::default();
    let state = match reader.meta(STATE)? {
        Some(bytes) => codec::decode(&bytes, "the store's state")?,
        None => StateRow::default(),
    };
    let stored = restore_logs(&reader)?;
    let (life, new_life) = match Order::read(&reader)? {
        Some(order) => (first_life()?, Some(order.reason())),
        None => next_life(&reader, &fence, &stored, config.certificate.certificate())?,
    };
    let store_id = match reader.meta(MetaKey::STORE_ID)? {
        Some(bytes) if new_life.is_none() => {
            StoreId(bytes.try_into().ok().context("the store's id is damaged; run `vatra fsck`")?)
        }
        // In a new life positions go on from an old copy: cursors of before must not be taken for ours.
        _ => {
            let id = StoreId(random()?);
            commit.meta.push((MetaKey::STORE_ID, id.0.to_vec()));
            id
        }
    };
    commit.meta.push((LIFE, codec::encode(&life)));
    Order::carried_out(&mut commit);
    let noted = Life { incarnation: life.incarnation, opened: life.opened, reason: new_life.map(str::to_owned) };
    lives::note(&mut commit, lives::read(&reader)?, noted);
    let charter = newest_charter(&reader, &config.charter)?;
    commit.meta.push((MetaKey::CHARTER, charter.encode()));
    // A full disk does not keep a node from serving what it holds; the start is then not noted. The fence must
    // never know of a start that the store does not, or the store would be taken for an old copy.
    let noted = store.commit(&commit).map_err(anyhow::Error::new);
    let noted = noted.and_then(|()| Ok(fence.begin(life.incarnation, life.boot)?));
    if let Err(error) = noted {
        tracing::error!(error = format!("{error:#}"), "the start could not be noted");
    }
    let restored = Restored {
        incarnation: life.incarnation,
        opened: life.opened,
        boot: life.boot,
        hlc: state.hlc,
        logs: stored.logs,
    };
    Ok(Booted { store, fence, store_id, restored, charter, state, new_life })
}

/// Opens the store alone, for the node and for checks.
pub(crate) fn open(config: &NodeConfig) -> anyhow::Result<Store> {
    open_at(config, &config.store.path)
}

/// Opens a store with the engine that a node uses, wherever it is.
pub(crate) fn open_at(config: &NodeConfig, path: &Path) -> anyhow::Result<Store> {
    let options = OpenOptions {
        engine: match config.store.engine {
            EngineKind::Redb => vatra_store::EngineKind::Redb,
            EngineKind::Sled => vatra_store::EngineKind::Sled,
            EngineKind::Memory => vatra_store::EngineKind::Memory,
        },
        cache_bytes: config.store.cache_mib << 20,
    };
    if config.store.engine == EngineKind::Memory {
        return Ok(Store::open_memory(&MemoryDisk::new())?);
    }
    Ok(Store::open(path, options)?)
}

/// The fence stands beside the store directory, so that restoring the one does not restore the other.
pub(crate) fn fence_path(config: &NodeConfig) -> PathBuf {
    config.dir.join("fence")
}

/// The life of this start: the same as before, unless the store may be an old copy of itself.
fn next_life(
    reader: &Reader,
    fence: &Fence,
    stored: &StoredLogs,
    me: &NodeCertificate,
) -> anyhow::Result<(LifeRow, Option<&'static str>)> {
    let Some(life) = present_life(reader)? else {
        let lost = "the store is empty, but the fence beside it tells of an earlier one: it was lost or removed";
        return Ok((first_life()?, (*fence.state() != FenceState::Absent).then_some(lost)));
    };
    match why_a_new_life(reader, fence, stored, me, life)? {
        None => Ok((LifeRow { boot: life.boot + 1, ..life }, None)),
        Some(reason) => Ok((first_life()?, Some(reason))),
    }
}

/// The life that a store was last written in; none if it is new.
pub(crate) fn present_life(reader: &Reader) -> anyhow::Result<Option<LifeRow>> {
    let bytes = reader.meta(LIFE)?;
    Ok(bytes.map(|bytes| codec::decode(&bytes, "the store's life")).transpose()?)
}

fn first_life() -> anyhow::Result<LifeRow> {
    Ok(LifeRow { incarnation: Incarnation(u64::from_le_bytes(random()?)), opened: wall(), boot: 1 })
}

/// Why a start must open a new life instead of going on in this one, if it must.
pub(crate) fn why_a_new_life(
    reader: &Reader,
    fence: &Fence,
    stored: &StoredLogs,
    me: &NodeCertificate,
    life: LifeRow,
) -> anyhow::Result<Option<&'static str>> {
    let own_log = me.log(life.incarnation, &AudienceId::FEDERATION);
    Ok(match fence.state() {
        // Where the own log ends is not known: numbering its entries again would be a fork.
        _ if !stored.tells_end_of(&own_log) => Some("a row of a log, or one of the newest entries, is damaged"),
        FenceState::Held(mark) if mark.incarnation == life.incarnation && mark.starts <= life.boot => None,
        FenceState::Held(mark) if mark.incarnation == life.incarnation => {
            Some("the store knows of fewer starts than the fence: an old copy of it was put back")
        }
        FenceState::Held(_) => Some("the fence is of another life: the store was restored or cloned"),
        // A node that never wrote has no fence and loses nothing by going on.
        FenceState::Absent if reader.counts()?.entries == 0 => None,
        FenceState::Absent => Some("the store has entries but no fence beside it: it was copied here"),
        FenceState::Damaged { .. } => Some("the fence is damaged"),
    })
}

/// The newer of the charters in the store and beside the configuration; they must be of one federation.
fn newest_charter(reader: &Reader, configured: &Charter) -> anyhow::Result<Charter> {
    let Some(bytes) = reader.meta(MetaKey::CHARTER)? else { return Ok(configured.clone()) };
    let stored = Charter::decode(&bytes).context("the charter in the store does not verify; run `vatra fsck`")?;
    if stored.founding_hash() != configured.founding_hash() {
        bail!("the charter file is of another federation than the store; put the right file beside node.toml");
    }
    Ok(if stored.current().epoch > configured.current().epoch { stored } else { configured.clone() })
}

/// The logs on disk.
pub(crate) struct StoredLogs {
    pub(crate) logs: Vec<RestoredLog>,
    /// Logs whose row cannot be read.
    damaged_rows: usize,
    /// Logs of which entries past the height in their row cannot be read.
    holed: BTreeSet<LogId>,
}

impl StoredLogs {
    /// Whether it is known how far a log goes, or that it is not there.
    pub(crate) fn tells_end_of(&self, log: &LogId) -> bool {
        self.damaged_rows == 0 && !self.holed.contains(log)
    }
}

/// All logs as the store has them, with what lies beyond their gaps.
pub(crate) fn restore_logs(reader: &Reader) -> anyhow::Result<StoredLogs> {
    let page = reader.log_rows()?;
    for damage in &page.damaged {
        tracing::error!(%damage, "a log's row is damaged; run `vatra fsck`");
    }
    let mut logs = Vec::with_capacity(page.rows.len());
    let mut holed = BTreeSet::new();
    let mut forks = strays::forks(reader)?;
    let snapshot = reader.snapshot()?;
    for (log, bytes) in page.rows {
        let mut row: LogRow = codec::decode(&bytes, "a log's row")?;
        let fork = forks.remove(&log);
        let end = fork.as_ref().map_or(u64::MAX, |fork| fork.place);
        if row.head.height > end {
            // The row is of the time before the fork was known.
            let trunk = strays::trunk_hash(&snapshot, log, end);
            row.head = trunk.map_or(Head::EMPTY, |head| Head { height: end, head });
        }
        let rows = rows_from(reader, log, row.head.height, end, &mut holed)?;
        let (mut beyond, ahead): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.seq >= end);
        if fork.is_some() {
            beyond.extend(strays::listed(reader, log)?);
        }
        logs.push(RestoredLog { row, ahead, fork: fork.map(|fork| fork.proof), strays: beyond });
    }
    Ok(StoredLogs { logs, damaged_rows: page.damaged.len(), holed })
}

/// Entries of a log in their places, from one on; at and past the fork no more than can be strays.
fn rows_from(
    reader: &Reader,
    log: LogId,
    from: u64,
    end: u64,
    holed: &mut BTreeSet<LogId>,
) -> anyhow::Result<Vec<AheadRow>> {
    let mut rows = Vec::new();
    let mut from = Seq(from);
    let mut past_end = 0;
    loop {
        let limits = PageLimits { rows_max: PAGE_ROWS_MAX, bytes_max: 16 << 20 };
        let entries = reader.entries(log, from, Seq(u64::MAX), limits)?;
        if !entries.damaged.is_empty() {
            holed.insert(log);
        }
        for entry in &entries.rows {
            let (header, hash) = unpack_header(&entry.bytes)?;
            past_end += usize::from(entry.seq.0 >= end);
            rows.push(AheadRow { seq: entry.seq.0, hash, prev: header.prev });
        }
        match entries.last.and_then(Seq::next) {
            Some(next) if entries.is_cut && past_end < STRAYS_MAX => from = next,
            _ => return Ok(rows),
        }
    }
}

/// The digest of a stored state.
pub(crate) fn digest_of(state: &StateRow) -> Digest {
    Digest(state.digest)
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    Ok(bytes)
}
