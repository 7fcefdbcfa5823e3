//! Files that are whole or not there: written under another name, flushed to the disk, then renamed.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A path with something added to its last part.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

/// A file that is being written.
pub(super) struct NewFile {
    path: PathBuf,
    part: PathBuf,
    file: File,
    is_kept: bool,
}

impl NewFile {
    /// Begins a file; what an earlier attempt left is replaced.
    pub(super) fn begin(path: &Path) -> anyhow::Result<NewFile> {
        let part = with_suffix(path, ".part");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let file = options.open(&part).with_context(|| part.display().to_string())?;
        Ok(NewFile { path: path.to_owned(), part, file, is_kept: false })
    }

    /// Makes the file durable under its own name.
    pub(super) fn keep(mut self) -> anyhow::Result<()> {
        let shown = self.path.display().to_string();
        self.file.sync_all().with_context(|| shown.clone())?;
        fs::rename(&self.part, &self.path).with_context(|| shown.clone())?;
        self.is_kept = true;
        let dir = match self.path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        // Not every file system, as on a memory stick, lets a folder be flushed.
        match File::open(dir).and_then(|dir| dir.sync_all()) {
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(error).context(shown),
            _ => Ok(()),
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // What is left of it is no bundle; an error leaves it under the name of a part.
            let _ = fs::remove_file(&self.part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bundle");
        let names = || {
            let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|item| item.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let mut file = NewFile::begin(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(names(), ["a.bundle.part"]);
        drop(file);
        assert!(names().is_empty(), "what was given up is gone");
        let mut file = NewFile::begin(&path).unwrap();
        file.write_all(b"whole").unwrap();
        file.keep().unwrap();
        assert_eq!(names(), ["a.bundle"]);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }
}
