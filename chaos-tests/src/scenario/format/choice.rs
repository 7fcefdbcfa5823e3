//! Which nodes and which links a step is about: by name, by description or by chance.

use std::fmt;
use std::str::FromStr;

/// Names of nodes are at most this long.
pub const NAME_BYTES_MAX: usize = 16;

/// Why a text chooses nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// Nothing is named.
    #[error("it is empty")]
    Empty,
    /// Something that is no name of a node.
    #[error("\"{0}\" is no name: a small letter, then up to 15 small letters, digits and hyphens")]
    NoName(String),
    /// A number of nodes that cannot be.
    #[error("\"{0}\" is no number of nodes from 1 to 64")]
    NoCount(String),
    /// A link without an arrow.
    #[error("an arrow is missing")]
    NoArrow,
    /// A link from a node to itself.
    #[error("both ends are the same")]
    Loop,
}

/// What a choice of nodes looks like.
pub const NODES_EXPECTED: &str =
    "a node's name, a list of names, \"*\", \"random\", \"random(2)\", \"minority\" or \"all but NAME\"";
/// What a choice of links looks like.
pub const LINKS_EXPECTED: &str = "\"a<->b\" (both ways), \"a->b\" (one way), \"random\" or \"*\"; an end may be \"*\"";

/// Which nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// These.
    Named(Vec<String>),
    /// All of them; among groups, all that no other group names.
    All,
    /// All but these.
    AllBut(Vec<String>),
    /// So many, by chance.
    Random(u32),
    /// Fewer than half, by chance.
    Minority,
    /// The one that leads, in a backend that has one.
    Leader,
}

/// Whether a text can name a node.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let reserved = ["random", "minority", "leader", "all", "default"];
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= NAME_BYTES_MAX
        && text.chars().all(inside)
        && !reserved.contains(&text)
}

fn name(text: &str) -> Result<String, Unclear> {
    let text = text.trim();
    if is_name(text) { Ok(text.to_owned()) } else { Err(Unclear::NoName(text.to_owned())) }
}

impl FromStr for Nodes {
    type Err = Unclear;

    fn from_str(text: &str) -> Result<Nodes, Unclear> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix("all but ") {
            return Ok(Nodes::AllBut(rest.split(',').map(name).collect::<Result<_, _>>()?));
        }
        if let Some(count) = text.strip_prefix("random(").and_then(|rest| rest.strip_suffix(')')) {
            let number = count.trim().parse().ok().filter(|number| (1..=64).contains(number));
            return number.map(Nodes::Random).ok_or_else(|| Unclear::NoCount(count.to_owned()));
        }
        match text {
            "" => Err(Unclear::Empty),
            "*" => Ok(Nodes::All),
            "random" => Ok(Nodes::Random(1)),
            "minority" => Ok(Nodes::Minority),
            "leader" => Ok(Nodes::Leader),
            other => Ok(Nodes::Named(vec![name(other)?])),
        }
    }
}

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Nodes::Named(names) => f.write_str(&names.join(",")),
            Nodes::All => f.write_str("*"),
            Nodes::AllBut(names) => write!(f, "all but {}", names.join(",")),
            Nodes::Random(1) => f.write_str("random"),
            Nodes::Random(count) => write!(f, "random({count})"),
            Nodes::Minority => f.write_str("minority"),
            Nodes::Leader => f.write_str("leader"),
        }
    }
}

/// One end of a choice of links; `None` = any node.
pub type End = Option<String>;

/// Which links, and in which direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Links {
    /// All of them, both ways.
    All,
    /// One of them by chance, both ways.
    Random,
    /// Those that match.
    Matching {
        /// The end that sends.
        from: End,
        /// The end that receives.
        to: End,
        /// The other way as well.
        both: bool,
    },
}

impl FromStr for Links {
    type Err = Unclear;

    fn from_str(text: &str) -> Result<Links, Unclear> {
        let text = text.trim();
        match text {
            "" => return Err(Unclear::Empty),
            "*" => return Ok(Links::All),
            "random" => return Ok(Links::Random),
            _ => {}
        }
        let both = text.contains("<->");
        let (from, to) = text.split_once(if both { "<->" } else { "->" }).ok_or(Unclear::NoArrow)?;
        let end = |text: &str| if text.trim() == "*" { Ok(None) } else { name(text).map(Some) };
        let (from, to) = (end(from)?, end(to)?);
        if from.is_some() && from == to {
            return Err(Unclear::Loop);
        }
        Ok(Links::Matching { from, to, both })
    }
}

impl fmt::Display for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Links::All => f.write_str("*"),
            Links::Random => f.write_str("random"),
            Links::Matching { from, to, both } => {
                let end = |end: &End| end.clone().unwrap_or_else(|| "*".to_owned());
                let arrow = if *both { "<->" } else { "->" };
                write!(f, "{}{arrow}{}", end(from), end(to))
            }
        }
    }
}

impl Links {
    /// Whether frames from one node to another go over a link that is meant; `Random` means none.
    #[must_use]
    pub fn matches(&self, sender: &str, receiver: &str) -> bool {
        let is = |end: &End, name: &str| end.as_deref().is_none_or(|end| end == name);
        match self {
            Links::All => true,
            Links::Random => false,
            Links::Matching { from, to, both } => {
                (is(from, sender) && is(to, receiver)) || (*both && is(from, receiver) && is(to, sender))
            }
        }
    }

    /// Names of the nodes that it names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let ends = match self {
            Links::Matching { from, to, .. } => [from.as_deref(), to.as_deref()],
            _ => [None, None],
        };
        ends.into_iter().flatten()
    }
}
