//! The files of a store: copied durably, summed, and put in place of others.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Files of a store that belong to the process that has it open, not to the store.
const LEFT_OUT: [&str; 2] = ["LOCK", "ballast"];
/// Bytes of a file that are read at a time.
const COPY_BUFFER_BYTES: usize = 256 * 1024;
/// Files that a store may consist of.
const FILES_MAX: usize = 10_000;

/// A file of a store, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct FileSum {
    pub(super) path: PathBuf,
    bytes: u64,
    sha256: String,
}

/// Copies the files of a store, durably; gives their sums by path.
pub(super) fn copy_store(from: &Path, to: &Path) -> anyhow::Result<Vec<FileSum>> {
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

/// Takes away what a process that had the store open left in it; gives the sums of its files, which are durable.
pub(super) fn leave(store: &Path) -> anyhow::Result<Vec<FileSum>> {
    for name in LEFT_OUT {
        match fs::remove_file(store.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(|| named(store)),
            _ => {}
        }
    }
    let mut files = Vec::new();
    sums_below(store, Path::new(""), &mut files)?;
    files.sort();
    Ok(files)
}

/// Sums of the files of a store that was opened, durably.
fn sums_below(store: &Path, below: &Path, files: &mut Vec<FileSum>) -> anyhow::Result<()> {
    let dir = store.join(below);
    for item in fs::read_dir(&dir).with_context(|| named(&dir))? {
        let item = item.with_context(|| named(&dir))?;
        let path = below.join(item.file_name());
        if item.file_type().with_context(|| named(&dir))?.is_dir() {
            sums_below(store, &path, files)?;
            continue;
        }
        let file = File::open(item.path()).with_context(|| named(&item.path()))?;
        file.sync_all().with_context(|| named(&item.path()))?;
        let (bytes, sha256) = sum(&file).with_context(|| named(&item.path()))?;
        files.push(FileSum { path, bytes, sha256 });
    }
    sync(&dir)
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
pub(super) fn exchange(place: &Path, staged: &Path, aside: &Path) -> anyhow::Result<Option<PathBuf>> {
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
pub(super) fn beside(store: &Path, suffix: &str) -> PathBuf {
    let mut name = store.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    store.with_file_name(name)
}

pub(super) fn remove_dir(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).with_context(|| named(dir)),
        _ => Ok(()),
    }
}

pub(super) fn sync(path: &Path) -> anyhow::Result<()> {
    File::open(path).and_then(|file| file.sync_all()).with_context(|| named(path))
}

pub(super) fn sync_parent(path: &Path) -> anyhow::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync(parent),
        _ => sync(Path::new(".")),
    }
}

pub(super) fn named(path: &Path) -> String {
    path.display().to_string()
}
