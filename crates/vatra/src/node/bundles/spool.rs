//! The file that holds a bundle while it is checked and applied: bounded by the cap and by what the disk can spare.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use vatra_api::{BundleProgress, BundleStage, BundleStep, BundleUpload, Refusal, RefusalKind, bundle_too_large};

/// Space on the disk that a bundle never takes: the store goes before.
const SPARED_BYTES: u64 = 256 << 20;
/// Bytes after which the space is looked at again.
const LOOK_EVERY_BYTES: u64 = 16 << 20;

/// A received bundle; its file is gone with it.
pub(super) struct Spool {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Spool {
    /// Receives a bundle of at most `bytes_max` bytes into a file of this name, in place of one that was left over.
    pub(super) fn receive(
        path: &Path,
        bytes_max: u64,
        upload: &mut BundleUpload,
        progress: &BundleProgress,
    ) -> Result<Spool, Refusal> {
        let mut spool = Spool::create(path).map_err(|error| no_room(&error))?;
        let mut look_at = 0;
        while let Some(piece) = upload.pieces.blocking_recv() {
            let piece = piece?;
            spool.bytes += piece.len() as u64;
            if spool.bytes > bytes_max {
                return Err(bundle_too_large(bytes_max));
            }
            if spool.bytes >= look_at {
                look_at = spool.bytes + LOOK_EVERY_BYTES;
                check_space(path)?;
            }
            spool.file.write_all(&piece).map_err(|error| no_room(&anyhow::Error::new(error)))?;
            progress.send_replace(Some(BundleStep { stage: BundleStage::Receive, done: spool.bytes, total: 0 }));
        }
        Ok(spool)
    }

    fn create(path: &Path) -> anyhow::Result<Spool> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| path.display().to_string());
            }
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(path).with_context(|| path.display().to_string())?;
        Ok(Spool { path: path.to_owned(), file, bytes: 0 })
    }

    /// How long the bundle is.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bundle from its beginning.
    pub(super) fn reader(&self) -> io::Result<impl io::Read + use<>> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(BufReader::with_capacity(64 * 1024, file))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a bundle's spool file stays; the next import removes it");
        }
    }
}

fn check_space(path: &Path) -> Result<(), Refusal> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let free = match rustix::fs::statvfs(dir) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => return Err(no_room(&anyhow::Error::new(error))),
    };
    if free < SPARED_BYTES + LOOK_EVERY_BYTES {
        let detail = format!("the disk has {free} bytes left, and a bundle leaves {SPARED_BYTES} of them alone");
        return Err(Refusal::new(RefusalKind::StoreFull, detail)
            .with_limit(SPARED_BYTES)
            .with_remedy("free space on the disk of the node's directory"));
    }
    Ok(())
}

fn no_room(error: &anyhow::Error) -> Refusal {
    Refusal::new(RefusalKind::StoreFull, format!("the bundle cannot be kept while it is checked: {error:#}"))
        .with_remedy("the node's directory must be writable and have room for the bundle")
}
