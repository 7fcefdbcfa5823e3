//! The scenarios that come with the program.

use std::path::Path;

use crate::scenario::format::Scenario;
use crate::scenario::format::error::{FileError, Problem};

macro_rules! library {
    ($($name:literal),+ $(,)?) => {
        /// Names and texts of the scenarios.
        pub const LIBRARY: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../scenarios/", $name, ".toml")))),+];
    };
}

library!(
    "cable-cut",
    "full-partition",
    "ring-never-healed",
    "line",
    "bridge",
    "one-way",
    "flapping",
    "swizzle",
    "satellite",
    "lossy",
    "kill-storm",
    "power-loss",
    "full-disks",
    "rollback",
    "clone",
    "wiped-disk",
    "clock-chaos",
    "cold-start",
    "newcomer",
    "revoked-key",
    "stolen-key",
    "hostile-hollow",
    "hostile-claims",
    "hostile-claims-heights",
    "hostile-lies",
    "hostile-equivocates",
    "hostile-flood",
    "version-mix",
    "sneakernet",
    "slow-disks",
    "bit-rot",
    "frozen",
    "swarm",
);

/// A scenario with where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// How it was named.
    pub name: String,
    /// What it says.
    pub scenario: Scenario,
}

/// The scenario of a file, or of the library.
///
/// # Errors
/// The file cannot be read, or is no scenario.
pub fn load(name: &str) -> Result<Loaded, FileError> {
    let plain = name.strip_suffix(".toml").unwrap_or(name);
    let own = LIBRARY.iter().find(|(own, _)| *own == plain);
    let text = match (Path::new(name).is_file(), own) {
        (false, Some((_, text))) => (*text).to_owned(),
        _ => std::fs::read_to_string(name).map_err(|error| FileError {
            file: name.to_owned(),
            line: 0,
            key: String::new(),
            problem: Box::new(Problem::Unreadable(error.to_string())),
        })?,
    };
    Ok(Loaded { name: name.to_owned(), scenario: Scenario::read(name, &text)? })
}
