//! Who takes part in a scenario, and what they do all day.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::scenario::format::choice::{NAME_BYTES_MAX, is_name};
use crate::scenario::format::error::{FileError, Problem};
use crate::scenario::format::quantity::{Between, Bytes, Misread, Pace, Share};
use crate::scenario::format::section::Section;

/// Nodes of a scenario, observers included.
pub const NODES_MAX: usize = 64;

/// Who takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// Members, one node each, in order.
    pub nodes: Vec<String>,
    /// Members that only read.
    pub observers: Vec<String>,
    /// Of the nodes, those that may turn hostile.
    pub byzantine: Vec<String>,
    /// Nodes that run another version than the present one.
    pub version: BTreeMap<String, Version>,
    /// Who is linked with whom.
    pub topology: Topology,
}

/// A version of the software.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The one that this was built from.
    Current,
    /// The one before.
    Previous,
}

/// Versions by name.
pub const VERSIONS: &[(&str, Version)] = &[("current", Version::Current), ("previous", Version::Previous)];

/// Who is linked with whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Everybody with everybody.
    Full,
    /// Each with the next.
    Line,
    /// A line whose ends meet.
    Ring,
    /// Everybody with the first.
    Star,
    /// These pairs.
    Links(Vec<(String, String)>),
}

/// What people do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// New alerts, in the whole mesh.
    pub alerts: Pace,
    /// Of what is written, edits of alerts.
    pub updates: Share,
    /// Of what is written, cancellations.
    pub retracts: Share,
    /// Of what is written, for some only.
    pub sealed: Share,
    /// Bytes of an alert's text.
    pub size: SizeLaw,
    /// Subscribers of streams.
    pub subscribers: u64,
    /// Reads, in the whole mesh.
    pub readers: Pace,
}

impl Default for Workload {
    fn default() -> Workload {
        Workload {
            alerts: Pace { count: 5, per_us: 1_000_000 },
            updates: Share(200_000),
            retracts: Share(20_000),
            sealed: Share(0),
            size: SizeLaw::Uniform(Between { low: Bytes(0), high: Bytes(300) }),
            subscribers: 0,
            readers: Pace::NEVER,
        }
    }
}

/// How sizes are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeLaw {
    /// Any as often as any other.
    Uniform(Between<Bytes>),
    /// Small ones often, large ones seldom.
    Zipf(Between<Bytes>),
}

/// What a law of sizes looks like.
const SIZE_EXPECTED: &str = "\"300B\", \"200B..4KiB\" or \"zipf 200B..16KiB\"";

impl FromStr for SizeLaw {
    type Err = Misread;

    fn from_str(text: &str) -> Result<SizeLaw, Misread> {
        match text.trim().strip_prefix("zipf ") {
            Some(rest) => rest.parse().map(SizeLaw::Zipf),
            None => text.parse().map(SizeLaw::Uniform),
        }
    }
}

impl fmt::Display for SizeLaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SizeLaw::Uniform(range) => write!(f, "{range}"),
            SizeLaw::Zipf(range) => write!(f, "zipf {range}"),
        }
    }
}

impl Mesh {
    /// Reads `[mesh]`.
    ///
    /// # Errors
    /// A key is missing, unknown or cannot be read.
    pub fn read(mut section: Section<'_>) -> Result<Mesh, FileError> {
        let nodes = read_members(&mut section)?;
        let observers = read_names(&mut section, "observers")?;
        let byzantine = read_names(&mut section, "byzantine")?;
        let mut version = BTreeMap::new();
        if let Some(mut table) = section.table("version")? {
            for (key, found) in table.take_all() {
                let text = table.as_text(key, found, "\"current\" or \"previous\"")?;
                version.insert(key.to_owned(), table.word(key, found.line, text, "version", VERSIONS)?);
            }
        }
        let topology = read_topology(&mut section)?;
        section.finish()?;
        Ok(Mesh { nodes, observers, byzantine, version, topology })
    }
}

fn read_members(section: &mut Section<'_>) -> Result<Vec<String>, FileError> {
    const EXPECTED: &str = "a list of names such as [\"ee\", \"lv\"], or how many";
    let found = section.take("nodes");
    let found = section.required("nodes", found, EXPECTED)?;
    if let toml::de::DeValue::Integer(_) = found.value {
        let count = section.number("nodes", 1, NODES_MAX as u64)?.unwrap_or(1);
        return Ok((1..=count).map(|number| format!("n{number}")).collect());
    }
    read_names(section, "nodes")
}

fn read_names(section: &mut Section<'_>, key: &'static str) -> Result<Vec<String>, FileError> {
    let Some(found) = section.take(key) else { return Ok(Vec::new()) };
    let names = section.as_texts(key, found, "a list of names such as [\"ee\", \"lv\"]")?;
    let mut seen = BTreeSet::new();
    for name in &names {
        let bad = |why: String| {
            let expected =
                format!("a small letter, then up to {} small letters, digits and hyphens", NAME_BYTES_MAX - 1);
            Err(section.error(key, found.line, Problem::BadValue { value: (*name).to_owned(), why, expected }))
        };
        if !is_name(name) {
            return bad("it is no name for a node".to_owned());
        }
        if !seen.insert(*name) {
            return bad("it stands there twice".to_owned());
        }
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

fn read_topology(section: &mut Section<'_>) -> Result<Topology, FileError> {
    const WORDS: &[(&str, u8)] = &[("full", 0), ("line", 1), ("ring", 2), ("star", 3)];
    let named = match section.take("topology") {
        None => None,
        Some(found) => {
            let text = section.as_text("topology", found, "\"full\", \"line\", \"ring\" or \"star\"")?;
            Some(section.word("topology", found.line, text, "topology", WORDS)?)
        }
    };
    let links = section.take("links");
    match (named, links) {
        (Some(_), Some(_)) => {
            let why = "give either \"topology\" or \"links\"".to_owned();
            Err(section.error_at("links", Problem::Senseless(why)))
        }
        (None | Some(0), None) => Ok(Topology::Full),
        (Some(1), None) => Ok(Topology::Line),
        (Some(2), None) => Ok(Topology::Ring),
        (Some(_), None) => Ok(Topology::Star),
        (None, Some(found)) => {
            let expected = "a list of pairs such as [\"ee<->lv\", \"lv<->lt\"]";
            let texts = section.as_texts("links", found, expected)?;
            let pair = |text: &&str| {
                let ends = text.split_once("<->").map(|(a, b)| (a.trim().to_owned(), b.trim().to_owned()));
                ends.filter(|(a, b)| is_name(a) && is_name(b) && a != b).ok_or_else(|| {
                    let (value, why) = ((*text).to_owned(), "it names no two nodes".to_owned());
                    let expected = "a pair such as \"ee<->lv\"".to_owned();
                    section.error("links", found.line, Problem::BadValue { value, why, expected })
                })
            };
            Ok(Topology::Links(texts.iter().map(pair).collect::<Result<_, _>>()?))
        }
    }
}

impl Workload {
    /// Reads `[workload]`.
    ///
    /// # Errors
    /// A key is unknown or cannot be read.
    pub fn read(mut section: Section<'_>) -> Result<Workload, FileError> {
        let usual = Workload::default();
        let workload = Workload {
            alerts: section.quantity("alerts")?.unwrap_or(usual.alerts),
            updates: section.quantity("updates")?.unwrap_or(usual.updates),
            retracts: section.quantity("retracts")?.unwrap_or(usual.retracts),
            sealed: section.quantity("sealed")?.unwrap_or(usual.sealed),
            size: section.parsed("size", SIZE_EXPECTED)?.unwrap_or(usual.size),
            subscribers: section.number("subscribers", 0, 64)?.unwrap_or(usual.subscribers),
            readers: section.quantity("readers")?.unwrap_or(usual.readers),
        };
        if workload.updates.0 + workload.retracts.0 > 1_000_000 {
            let why = "\"updates\" and \"retracts\" are more than 100% together".to_owned();
            return Err(section.error_at("updates", Problem::Senseless(why)));
        }
        section.finish()?;
        Ok(workload)
    }
}
