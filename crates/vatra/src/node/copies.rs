//! Copies of a stopped node's store: put aside as a backup, put back, or taken along to a new node.
//!
//! Whatever is copied is made durable and checked before anything is replaced, and what is replaced is kept. A store
//! that was put back or cloned carries the order to open a new incarnation, so that nothing is numbered twice.

mod files;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use vatra_model::certificate::SignedCertificate;
use vatra_model::charter::Charter;
use vatra_model::{MemberCode, NodeKey, WallMs};
use vatra_store::{Commit, MetaKey, OpenError, Reader, StoreLock};

use self::files::{FileSum, beside, copy_store, exchange, leave, named, remove_dir, sync, sync_parent};
use crate::config::{CONFIG_FILE, ConfigFile, NodeConfig, read_file};
use crate::node::boot::{self, present_life, restore_logs};
use crate::node::lives::Order;

/// What a backup says of itself.
pub(crate) const MANIFEST_FILE: &str = "backup.json";
/// The store's directory in a backup.
const BACKUP_STORE: &str = "store";
/// Largest manifest.
const MANIFEST_BYTES_MAX: usize = 1024 * 1024;
/// The manifest's version.
const MANIFEST_VERSION: u32 = 1;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    version: u32,
    /// Key of the node whose store it is, hexadecimal.
    pub(crate) node: String,
    pub(crate) name: String,
    pub(crate) member: MemberCode,
    /// Hash of the federation's founding epoch.
    federation: String,
    /// When it was made, in milliseconds since 1970.
    made_at_ms: u64,
    /// Its files with their SHA-256, by path below the store.
    files: Vec<FileSum>,
}

/// A store that was put back.
#[derive(Debug)]
pub(crate) struct Restoration {
    /// Where the store is that was in place before, if there was one.
    pub(crate) kept: Option<PathBuf>,
    /// Entries in the store now.
    pub(crate) entries: u64,
}

/// Copies a stopped node's store into a new directory, with a manifest.
///
/// # Errors
/// The node runs, has no store, the copy cannot be opened or is not of this node, or a file cannot be read or written.
/// Nothing is left at the destination, or no manifest.
pub(crate) fn back_up(config: &NodeConfig, to: &Path, now: WallMs) -> anyhow::Result<Manifest> {
    let _lock = lock(&config.store.path)?;
    ensure!(!to.try_exists().with_context(|| named(to))?, "{} exists already; nothing was written", to.display());
    let copied =
        copy_store(&config.store.path, &to.join(BACKUP_STORE)).and_then(|_| proven(config, &to.join(BACKUP_STORE)));
    let files = match copied {
        Ok(files) => files,
        Err(error) => {
            // What cannot be put back must not be taken for a backup.
            let _ = fs::remove_dir_all(to);
            return Err(error);
        }
    };
    let manifest = Manifest {
        version: MANIFEST_VERSION,
        node: hex::encode(config.certificate.certificate().key.0),
        name: config.name.clone(),
        member: config.member,
        federation: hex::encode(config.charter.founding_hash()),
        made_at_ms: now.0,
        files,
    };
    let path = to.join(MANIFEST_FILE);
    fs::write(&path, serde_json::to_vec_pretty(&manifest)?).with_context(|| named(&path))?;
    sync(&path)?;
    sync(to)?;
    Ok(manifest)
}

/// Opens a copied store as a restoration will, and leaves it as a store that nobody has open; gives its sums.
fn proven(config: &NodeConfig, copy: &Path) -> anyhow::Result<Vec<FileSum>> {
    let opened = boot::open_at(config, copy).and_then(|store| {
        let reader = store.reader();
        check_own(config, &reader)?;
        restore_logs(&reader)?;
        Ok(())
    });
    opened.map_err(|error| without_place(&error, copy)).with_context(|| {
        format!(
            "the store at {} cannot be put back from a copy, so none was kept; run `vatra fsck` on it, and copy the \
             directory by other means if it may hold alerts that others lack",
            config.store.path.display()
        )
    })?;
    leave(copy)
}

/// Why a copy cannot be opened, without the place of the copy: people know where they copied from.
fn without_place(error: &anyhow::Error, copy: &Path) -> anyhow::Error {
    match error.downcast_ref::<OpenError>() {
        Some(OpenError::Engine { source, .. }) => anyhow!("{source}"),
        _ => anyhow!("{}", format!("{error:#}").replace(&named(copy), "the copy")),
    }
}

/// Puts a backup's store in place of a stopped node's. The store that was there is kept beside it.
///
/// # Errors
/// The node runs; the backup is damaged, of another node or of another federation; or a file cannot be read or
/// written. The node's store is then as it was.
pub(crate) fn put_back(config: &NodeConfig, from: &Path, now: WallMs) -> anyhow::Result<Restoration> {
    let place = &config.store.path;
    let lock = StoreLock::acquire(place).context("stop the node first")?;
    let source = find_store(from)?;
    let (mine, theirs) = (place.canonicalize().ok(), source.canonicalize().with_context(|| named(&source))?);
    ensure!(mine.as_ref() != Some(&theirs), "{} is the node's own store", source.display());
    let _source_lock = self::lock(&source)?;
    check_owner(config, from)?;
    let staged = beside(place, "restoring");
    remove_dir(&staged)?;
    let prepared = copy_store(&source, &staged).and_then(|files| {
        check_manifest(config, from, &files)?;
        prepare(config, &staged, Order::Restored, check_own)
    });
    let entries = match prepared {
        Ok(entries) => entries,
        Err(error) => {
            // What was staged is of no use; the store in place was not touched.
            let _ = fs::remove_dir_all(&staged);
            let remedy = if error.downcast_ref::<OpenError>().is_some() { UNREADABLE_REMEDY } else { "" };
            let what = format!("the backup {} was not put back, and the node's store is as it was", from.display());
            return Err(without_place(&error, &staged).context(format!("{what}{remedy}")));
        }
    };
    let kept = exchange(place, &staged, &beside(place, &format!("before-restore-{}", now.0)))?;
    drop(lock);
    Ok(Restoration { kept, entries })
}

/// Copies a stopped node's store to where a new node of the same member will look for it. Gives the newest charter
/// that the source has.
///
/// # Errors
/// The source runs or has no store, or a file cannot be read or written. Nothing is left at the destination.
pub(crate) fn take_along(source: &NodeConfig, store: &Path) -> anyhow::Result<(Charter, u64)> {
    let _lock = lock(&source.store.path)?;
    ensure!(
        !store.try_exists().with_context(|| named(store))?,
        "{} exists already; nothing was written",
        store.display()
    );
    let staged = beside(store, "cloning");
    remove_dir(&staged)?;
    let mut charter = source.charter.clone();
    let prepared = copy_store(&source.store.path, &staged).and_then(|_| {
        prepare(source, &staged, Order::Cloned, |_, reader| {
            if let Some(bytes) = reader.meta(MetaKey::CHARTER)? {
                let stored = Charter::decode(&bytes).context("the charter in the store")?;
                if stored.current().epoch > charter.current().epoch {
                    charter = stored;
                }
            }
            Ok(())
        })
    });
    let entries = match prepared {
        Ok(entries) => entries,
        Err(error) => {
            let _ = fs::remove_dir_all(&staged);
            return Err(error);
        }
    };
    fs::rename(&staged, store).with_context(|| named(store))?;
    sync_parent(store)?;
    Ok((charter, entries))
}

/// What to do about a backup that cannot be opened.
const UNREADABLE_REMEDY: &str = "; take another backup, or move the node's store and fence away and start empty: peers \
                                 send everything again";

/// Opens a copied store, has it checked and gives it its order. Says how many entries it holds.
fn prepare(
    config: &NodeConfig,
    store: &Path,
    order: Order,
    check: impl FnOnce(&NodeConfig, &Reader) -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let mut store = boot::open_at(config, store)?;
    let reader = store.reader();
    check(config, &reader)?;
    let mut commit = Commit::default();
    order.give(&mut commit);
    store.commit(&commit)?;
    Ok(reader.counts()?.entries)
}

/// Refuses the store of another federation or node.
fn check_own(config: &NodeConfig, reader: &Reader) -> anyhow::Result<()> {
    if let Some(bytes) = reader.meta(MetaKey::CHARTER)? {
        let charter = Charter::decode(&bytes).context("the charter in the backup")?;
        ensure!(charter.founding_hash() == config.charter.founding_hash(), "the backup is of another federation");
    }
    let Some(life) = present_life(reader)? else { return Ok(()) };
    let me = config.certificate.certificate().key;
    for log in restore_logs(reader)?.logs {
        let descriptor = &log.row.descriptor;
        let Ok(signed) = SignedCertificate::decode(&descriptor.certificate) else { continue };
        let writer = signed.certificate();
        if descriptor.incarnation == life.incarnation && writer.key != me {
            bail!(
                "the backup is of node {} of {}, not of this one; `vatra node clone` takes another node's store along",
                writer.node,
                writer.member
            );
        }
    }
    Ok(())
}

/// Refuses a backup that says that it is of another node.
fn check_owner(config: &NodeConfig, from: &Path) -> anyhow::Result<()> {
    let me = config.certificate.certificate().key;
    let owner = match read_manifest(from)? {
        Some(manifest) => Some((manifest.node, manifest.name)),
        None if from.join(CONFIG_FILE).try_exists().with_context(|| named(from))? => {
            let identity = ConfigFile::read(from)?.identity()?;
            Some((key_text(&identity.certificate.certificate().key), identity.name))
        }
        None => None,
    };
    match owner {
        Some((key, name)) if key != key_text(&me) => bail!(
            "{} is of node {name} with another key; `vatra node clone` takes another node's store along",
            from.display()
        ),
        _ => Ok(()),
    }
}

fn key_text(key: &NodeKey) -> String {
    hex::encode(key.0)
}

fn check_manifest(config: &NodeConfig, from: &Path, files: &[FileSum]) -> anyhow::Result<()> {
    let Some(mut manifest) = read_manifest(from)? else { return Ok(()) };
    let federation = hex::encode(config.charter.founding_hash());
    ensure!(manifest.federation == federation, "{} is of another federation", from.display());
    manifest.files.sort();
    for (wanted, found) in manifest.files.iter().zip(files) {
        ensure!(
            wanted == found,
            "{} of the backup is not as it was made: it is damaged; take another",
            wanted.path.display()
        );
    }
    let (wanted, found) = (manifest.files.len(), files.len());
    ensure!(wanted == found, "the backup has {found} files instead of {wanted}: it is damaged; take another");
    Ok(())
}

fn read_manifest(from: &Path) -> anyhow::Result<Option<Manifest>> {
    let path = from.join(MANIFEST_FILE);
    let bytes = match read_file(&path, MANIFEST_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| named(&path)),
    };
    let manifest: Manifest = serde_json::from_slice(&bytes).with_context(|| named(&path))?;
    ensure!(
        manifest.version == MANIFEST_VERSION,
        "{}: version {} of a backup; this program reads version {MANIFEST_VERSION}",
        path.display(),
        manifest.version
    );
    Ok(Some(manifest))
}

/// The store in a backup, in a copy of a node's directory, or the directory itself.
fn find_store(from: &Path) -> anyhow::Result<PathBuf> {
    for store in [from.to_owned(), from.join(BACKUP_STORE)] {
        if store.join("FORMAT").try_exists().with_context(|| named(&store))? {
            return Ok(store);
        }
    }
    bail!("{}: there is no store in it: neither FORMAT nor {BACKUP_STORE}/FORMAT", from.display())
}

fn lock(store: &Path) -> anyhow::Result<StoreLock> {
    let lock = StoreLock::acquire(store).context("stop the node first")?;
    lock.with_context(|| format!("there is no store at {}", store.display()))
}

#[cfg(test)]
mod tests;
