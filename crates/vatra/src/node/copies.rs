//! Copies of a stopped node's store: put aside as a backup, put back, or taken along to a new node.
//!
//! Whatever is copied is made durable and checked before anything is replaced, and what is replaced is kept. A store
//! that was put back or cloned carries the order to open a new incarnation, so that nothing is numbered twice.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vatra_model::certificate::SignedCertificate;
use vatra_model::charter::Charter;
use vatra_model::{MemberCode, NodeKey, WallMs};
use vatra_store::{Commit, MetaKey, Reader, StoreLock};

use crate::config::{CONFIG_FILE, ConfigFile, NodeConfig, read_file};
use crate::node::boot::{self, present_life, restore_logs};
use crate::node::lives::Order;

/// What a backup says of itself.
pub(crate) const MANIFEST_FILE: &str = "backup.json";
/// The store's directory in a backup.
const BACKUP_STORE: &str = "store";
/// Files of a store that belong to the process that has it open, not to the store.
const LEFT_OUT: [&str; 2] = ["LOCK", "ballast"];
/// Largest manifest.
const MANIFEST_BYTES_MAX: usize = 1024 * 1024;
/// The manifest's version.
const MANIFEST_VERSION: u32 = 1;
/// Bytes of a file that are read at a time.
const COPY_BUFFER_BYTES: usize = 256 * 1024;
/// Files that a store may consist of.
const FILES_MAX: usize = 10_000;

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

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct FileSum {
    path: PathBuf,
    bytes: u64,
    sha256: String,
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
/// The node runs, has no store, or a file cannot be read or written. An incomplete backup has no manifest.
pub(crate) fn back_up(config: &NodeConfig, to: &Path, now: WallMs) -> anyhow::Result<Manifest> {
    let _lock = lock(&config.store.path)?;
    ensure!(!to.try_exists().with_context(|| named(to))?, "{} exists already; nothing was written", to.display());
    let files = copy_store(&config.store.path, &to.join(BACKUP_STORE))?;
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
            return Err(error);
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
        ensure!(wanted == found, "{} of the backup is not as it was made: it is damaged", wanted.path.display());
    }
    let (wanted, found) = (manifest.files.len(), files.len());
    ensure!(wanted == found, "the backup has {found} files instead of {wanted}: it is damaged");
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

/// Copies the files of a store, durably; gives their sums by path.
fn copy_store(from: &Path, to: &Path) -> anyhow::Result<Vec<FileSum>> {
    let mut files = Vec::new();
    copy_below(from, to, Path::new(""), &mut files)?;
    sync_parent(to)?;
    files.sort();
    Ok(files)
}

fn copy_below(from: &Path, to: &Path, below: &Path, files: &mut Vec<FileSum>) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let target = to.join(below);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&target).with_context(|| named(&target))?;
    let source = from.join(below);
    for item in fs::read_dir(&source).with_context(|| named(&source))? {
        let item = item.with_context(|| named(&source))?;
        let below = below.join(item.file_name());
        let kind = item.file_type().with_context(|| named(&source))?;
        if kind.is_dir() {
            copy_below(from, to, &below, files)?;
        } else if kind.is_file() && !LEFT_OUT.iter().any(|name| below == Path::new(name)) {
            ensure!(files.len() < FILES_MAX, "{}: more than {FILES_MAX} files: this is no store", from.display());
            files.push(copy_file(&from.join(&below), &to.join(&below), below)?);
        }
    }
    sync(&target)
}

fn copy_file(from: &Path, to: &Path, path: PathBuf) -> anyhow::Result<FileSum> {
    let bytes = fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    let copied = File::open(to).with_context(|| named(to))?;
    copied.sync_all().with_context(|| named(to))?;
    let (hashed, sha256) = sum(&copied).with_context(|| named(to))?;
    ensure!(hashed == bytes, "{}: {hashed} bytes instead of {bytes}", to.display());
    Ok(FileSum { path, bytes, sha256 })
}

/// Bytes of a file and their SHA-256.
fn sum(mut file: &File) -> io::Result<(u64, String)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; COPY_BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok((bytes, hex::encode(hash.finalize())));
        }
        hash.update(&buffer[..length]);
        bytes += length as u64;
    }
}

/// Puts the staged store in place in one step where the file system can, and keeps what was there.
fn exchange(place: &Path, staged: &Path, aside: &Path) -> anyhow::Result<Option<PathBuf>> {
    let what = || format!("put {} in place of {}", staged.display(), place.display());
    if !place.try_exists().with_context(|| named(place))? {
        fs::rename(staged, place).with_context(what)?;
        sync_parent(place)?;
        return Ok(None);
    }
    match renameat_with(CWD, staged, CWD, place, RenameFlags::EXCHANGE) {
        Ok(()) => fs::rename(staged, aside).with_context(what)?,
        Err(_) => {
            // The file system cannot swap. A crash in between leaves the old store beside an empty place, from where
            // the command can be given again.
            fs::rename(place, aside).with_context(what)?;
            fs::rename(staged, place).with_context(what)?;
        }
    }
    sync_parent(place)?;
    Ok(Some(aside.to_owned()))
}

/// A path beside a store, named after it.
fn beside(store: &Path, suffix: &str) -> PathBuf {
    let mut name = store.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    store.with_file_name(name)
}

fn remove_dir(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).with_context(|| named(dir)),
        _ => Ok(()),
    }
}

fn sync(path: &Path) -> anyhow::Result<()> {
    File::open(path).and_then(|file| file.sync_all()).with_context(|| named(path))
}

fn sync_parent(path: &Path) -> anyhow::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync(parent),
        _ => sync(Path::new(".")),
    }
}

fn named(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;
