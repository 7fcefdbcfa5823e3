//! Where the `vatra` binary is.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Names the binary to run, instead of the one beside this program.
pub const BINARY_VARIABLE: &str = "VATRA_BIN";

/// The binary named by `VATRA_BIN`, else the one that cargo put beside this program.
pub fn find() -> anyhow::Result<PathBuf> {
    if let Some(named) = env::var_os(BINARY_VARIABLE) {
        let path = PathBuf::from(named);
        if path.is_file() {
            return Ok(path);
        }
        bail!("{BINARY_VARIABLE} names {}, which is no file", path.display());
    }
    let program = env::current_exe().context("find this program")?;
    let profile = profile_dir(&program).with_context(|| format!("no folder above {}", program.display()))?;
    let path = profile.join("vatra");
    if path.is_file() {
        return Ok(path);
    }
    let release = if profile.ends_with("release") { " --release" } else { "" };
    bail!(
        "no vatra binary at {}: build it with `cargo build -p vatra{release}`, or name one in {BINARY_VARIABLE}",
        path.display()
    )
}

/// Test programs lie in `deps` below their profile's folder, the other ones in it.
fn profile_dir(program: &Path) -> Option<&Path> {
    let dir = program.parent()?;
    if dir.ends_with("deps") { dir.parent() } else { Some(dir) }
}

/// Whether the binary was built for speed, as far as its place tells.
pub fn is_release(binary: &Path) -> bool {
    binary.parent().is_some_and(|dir| dir.ends_with("release"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_programs_find_the_same_folder() {
        for program in ["/t/debug/deps/cuts-0a1b", "/t/debug/vatra-chaos"] {
            assert_eq!(profile_dir(Path::new(program)), Some(Path::new("/t/debug")));
        }
        assert!(is_release(Path::new("/t/release/vatra")));
        assert!(!is_release(Path::new("/t/debug/vatra")));
    }
}
