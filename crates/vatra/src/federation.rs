//! Setting up a federation as files: members, nodes, charters and whole labs.
//!
//! Nothing here talks to a running node. Secrets are written once, to new files with mode 0600; what
//! is handed to others is text that a person can read before trusting it.

mod charter_draft;
mod lab;
mod member;
mod node;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

pub(crate) use self::charter_draft::{CharterDraft, is_draft};
pub(crate) use self::lab::{LabPlan, Topology};
pub(crate) use self::member::{MemberKeys, PublicMember, fingerprint_of};
pub(crate) use self::node::{NodePlan, PeerAddition, add_peer, add_peers, certificate_text, read_certificate};

/// Makes a directory and its parents, open to its owner only; an existing one is kept as it is.
fn create_private_dir(dir: &Path) -> anyhow::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(|| dir.display().to_string())
}

/// Refuses if any of these files exists, before anything is written.
fn refuse_existing(paths: &[PathBuf]) -> anyhow::Result<()> {
    for path in paths {
        let exists = path.try_exists().with_context(|| path.display().to_string())?;
        anyhow::ensure!(!exists, "{} exists already; nothing was written", path.display());
    }
    Ok(())
}

/// Replaces a file in one step, so that a crash leaves the old or the new content.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mode = fs::metadata(path).map_or(0o644, |metadata| {
        use std::os::unix::fs::MetadataExt;
        metadata.mode() & 0o777
    });
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests;
