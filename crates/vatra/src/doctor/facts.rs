//! What the rules judge: plain values, gathered from a running node or from a directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vatra_api::{CutStatus, ForkStatus, MemberStatus, QuarantineStatus};
use vatra_model::certificate::NodeCertificate;
use vatra_model::{Incarnation, LogId, MemberCode, NodeKey, RecordId, WallMs};

use crate::config::NotAdmitted;

/// Everything known about a node at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// When it was looked at.
    pub(crate) at: WallMs,
    /// Key, name and member of the node.
    pub(crate) who: (NodeKey, String, MemberCode),
    /// Where its files are.
    pub(crate) place: Place,
    /// The process runs and is since when; `None` when the directory alone was looked at.
    pub(crate) running_since: Option<WallMs>,
    /// Lives of the store, the present one last.
    pub(crate) lives: Vec<Life>,
    /// Lives of this node's key that this store never began, with when the last entry that is held of each was written.
    pub(crate) lives_elsewhere: Vec<(Incarnation, WallMs)>,
    /// Of a stopped node: why its next start opens a new life, if it does.
    pub(crate) next_life: Option<String>,
    /// The store.
    pub(crate) store: StoreFacts,
    /// Forked logs.
    pub(crate) forks: Vec<ForkStatus>,
    /// Entries of revoked keys that are kept as evidence.
    pub(crate) revoked: Vec<RevokedEntries>,
    /// The members as the node sees them; empty when it does not run.
    pub(crate) members: Vec<MemberStatus>,
    /// Nodes that the configuration names as peers.
    pub(crate) peers: Vec<NodeKey>,
    /// Certificates in use: the node's own first, then those of the configured peers.
    pub(crate) certificates: Vec<NodeCertificate>,
    /// Certificates heard of meanwhile, which may be newer.
    pub(crate) heard_certificates: Vec<NodeCertificate>,
    /// Why the charter in force does not admit this node, if it does not.
    pub(crate) not_admitted: Option<NotAdmitted>,
    /// Epochs of the charter in force and of the one beside the configuration.
    pub(crate) charter_epochs: (u64, u64),
    /// The newest changes without effect.
    pub(crate) quarantine: Vec<QuarantineStatus>,
    /// Traffic since the start.
    pub(crate) traffic: Traffic,
    /// Drills under way.
    pub(crate) cuts: Vec<CutStatus>,
    /// What is odd in the configuration.
    pub(crate) warnings: Vec<String>,
}

/// Where a node's files are.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The node directory.
    pub(crate) dir: PathBuf,
    /// The store directory.
    pub(crate) store: PathBuf,
    /// The keys were made for a lab.
    pub(crate) is_lab: bool,
}

/// Entries past the last valid one of a log whose key is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RevokedEntries {
    pub(crate) log: LogId,
    /// Name and member of the node whose key it was.
    pub(crate) name: String,
    pub(crate) member: MemberCode,
    /// How many were read, strays among them.
    pub(crate) entries: u64,
    /// How many more cannot be read, and so tell nothing of what they touch.
    pub(crate) unreadable: u64,
    /// There are more entries or records than these.
    pub(crate) is_cut: bool,
    /// The records that they touch.
    pub(crate) records: Vec<RecordId>,
}

/// One life of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) incarnation: Incarnation,
    pub(crate) opened: WallMs,
    pub(crate) reason: Option<String>,
}

/// How the store is.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreFacts {
    /// Why it takes no writes, if it does not.
    pub(crate) refuses_writes: Option<String>,
    /// Since when it takes none.
    pub(crate) refuses_since: Option<WallMs>,
    /// Rows found damaged.
    pub(crate) damaged: u64,
    /// Bytes free on its disk for this process; `None` when the system does not say.
    pub(crate) free_bytes: Option<u64>,
    /// Whether there is a store at all.
    pub(crate) exists: bool,
    /// There is none, though the fence beside it tells that there was one.
    pub(crate) is_lost: bool,
    /// Stores put aside beside it, or left behind by a command that was cut short, with their bytes.
    pub(crate) old_copies: Vec<(PathBuf, u64)>,
}

/// What went through a running node since it started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    /// Items that wait for the driver.
    pub(crate) waiting: u64,
    /// What peers sent and was refused, by reason.
    pub(crate) refused: Vec<(&'static str, u64)>,
    /// Pushes left to catch-up because a queue was full.
    pub(crate) shed: u64,
    /// Pushed entries left to catch-up because their origin was too fast.
    pub(crate) throttled: u64,
    /// Changes of a newer version.
    pub(crate) newer: u64,
    /// Commits that failed.
    pub(crate) commits_failed: u64,
    /// Panics caught.
    pub(crate) panics: u64,
}

/// Bytes free for this process on the disk of a path.
pub(crate) fn space_of(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Stores beside a store that nothing uses any more, with their bytes.
pub(crate) fn old_copies(store: &Path) -> Vec<(PathBuf, u64)> {
    let (Some(parent), Some(name)) = (store.parent(), store.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let prefix = format!("{name}.");
    let Ok(listing) = fs::read_dir(parent) else { return Vec::new() };
    let beside = listing.filter_map(Result::ok).map(|item| item.path());
    let is_copy = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        path.is_dir() && name.is_some_and(|name| name.starts_with(&prefix))
    };
    let mut copies: Vec<(PathBuf, u64)> =
        beside.filter(is_copy).map(|path| (path.clone(), bytes_below(&path).unwrap_or(0))).collect();
    copies.sort();
    copies
}

fn bytes_below(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for item in fs::read_dir(dir)? {
        let item = item?;
        let metadata = item.metadata()?;
        bytes += if metadata.is_dir() { bytes_below(&item.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
