//! What arguments of verbs look like.

use crate::scenario::format::quantity::{Bytes, Offset, Quantity, Share, Span};

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nodes.
    Nodes,
    /// Links.
    Links,
    /// Groups of nodes.
    Groups,
    /// A time, or a range of which one is drawn.
    Span,
    /// A time forwards or backwards.
    Offset,
    /// A share.
    Share,
    /// A size.
    Bytes,
    /// A whole number from 1 to this.
    Count(u64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A word of the author's.
    Label,
    /// Yes or no.
    Flag,
}

impl Kind {
    /// What such an argument looks like.
    #[must_use]
    pub fn expected(self) -> String {
        match self {
            Kind::Nodes => crate::scenario::format::choice::NODES_EXPECTED.to_owned(),
            Kind::Links => crate::scenario::format::choice::LINKS_EXPECTED.to_owned(),
            Kind::Groups => "a list of lists of names, such as [[\"ee\", \"lv\"], [\"*\"]]".to_owned(),
            Kind::Span => format!("{}, or a range of them (\"a..b\")", Span::EXPECTED),
            Kind::Offset => Offset::EXPECTED.to_owned(),
            Kind::Share => Share::EXPECTED.to_owned(),
            Kind::Bytes => Bytes::EXPECTED.to_owned(),
            Kind::Count(most) => format!("a whole number from 1 to {most}"),
            Kind::Word(words) => format!("one of {}", words.join(", ")),
            Kind::Label => "a word of small letters, digits and hyphens".to_owned(),
            Kind::Flag => "true or false".to_owned(),
        }
    }
}

/// One argument of a verb.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its key.
    pub key: &'static str,
    /// What it is.
    pub kind: Kind,
    /// It must be there.
    pub is_required: bool,
    /// What it means, in words.
    pub about: &'static str,
}

pub(super) const fn must(key: &'static str, kind: Kind, about: &'static str) -> Parameter {
    Parameter { key, kind, is_required: true, about }
}

pub(super) const fn may(key: &'static str, kind: Kind, about: &'static str) -> Parameter {
    Parameter { key, kind, is_required: false, about }
}
