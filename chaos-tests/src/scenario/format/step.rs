//! One `[[step]]`: when it happens, and what.

use std::collections::BTreeMap;

use crate::scenario::format::choice::{LINKS_EXPECTED, Links, NODES_EXPECTED, Nodes};
use crate::scenario::format::compare::{CONDITION_EXPECTED, Condition};
use crate::scenario::format::error::{FileError, Problem};
use crate::scenario::format::line::LineChange;
use crate::scenario::format::quantity::{Between, Bytes, Offset, Share, Span};
use crate::scenario::format::section::Section;
use crate::scenario::format::verbs::{Kind, Lasting, Parameter, ROWS, Verb};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Line of the file; 0 if it comes from none.
    pub line: usize,
    /// When it happens.
    pub when: When,
    /// How long it lasts, if it ends by itself.
    pub lasts: Option<Between<Span>>,
    /// What happens.
    pub action: Action,
}

/// When a step happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// Once.
    At(Between<Span>),
    /// Again and again.
    Every {
        /// From here.
        from: Span,
        /// Until here.
        to: Span,
        /// Time from one to the next, drawn each time.
        every: Between<Span>,
    },
    /// Once, as soon as something is so.
    Once(Condition),
}

/// A verb with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The verb.
    pub verb: Verb,
    /// Its arguments, by key.
    pub arguments: BTreeMap<&'static str, Argument>,
    /// What lines become, of `set`.
    pub line: Option<LineChange>,
}

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the kinds of verbs.rs")]
pub enum Argument {
    Nodes(Nodes),
    Links(Links),
    Groups(Vec<Nodes>),
    Span(Between<Span>),
    Offset(Offset),
    Share(Share),
    Bytes(Bytes),
    Count(u64),
    Word(&'static str),
    Label(String),
    Flag(bool),
}

impl Action {
    /// A verb without arguments.
    #[must_use]
    pub fn new(verb: Verb) -> Action {
        Action { verb, arguments: BTreeMap::new(), line: None }
    }

    /// With one more argument.
    #[must_use]
    pub fn with(mut self, key: &'static str, argument: Argument) -> Action {
        self.arguments.insert(key, argument);
        self
    }

    /// The nodes of an argument.
    #[must_use]
    pub fn nodes(&self, key: &str) -> Option<&Nodes> {
        self.arguments
            .get(key)
            .and_then(|argument| if let Argument::Nodes(nodes) = argument { Some(nodes) } else { None })
    }

    /// The links of an argument.
    #[must_use]
    pub fn links(&self, key: &str) -> Option<&Links> {
        self.arguments
            .get(key)
            .and_then(|argument| if let Argument::Links(links) = argument { Some(links) } else { None })
    }

    /// The groups of an argument.
    #[must_use]
    pub fn groups(&self, key: &str) -> &[Nodes] {
        match self.arguments.get(key) {
            Some(Argument::Groups(groups)) => groups,
            _ => &[],
        }
    }

    /// The time of an argument; the shortest one, if it has not been drawn.
    #[must_use]
    pub fn span(&self, key: &str) -> Option<Span> {
        self.spans(key).map(|range| range.low)
    }

    /// The times of an argument.
    #[must_use]
    pub fn spans(&self, key: &str) -> Option<Between<Span>> {
        self.arguments
            .get(key)
            .and_then(|argument| if let Argument::Span(range) = argument { Some(*range) } else { None })
    }

    /// The offset of an argument.
    #[must_use]
    pub fn offset(&self, key: &str) -> Option<Offset> {
        self.arguments
            .get(key)
            .and_then(|argument| if let Argument::Offset(offset) = argument { Some(*offset) } else { None })
    }

    /// The share of an argument.
    #[must_use]
    pub fn share(&self, key: &str) -> Option<Share> {
        self.arguments
            .get(key)
            .and_then(|argument| if let Argument::Share(share) = argument { Some(*share) } else { None })
    }

    /// The number of an argument.
    #[must_use]
    pub fn count(&self, key: &str) -> Option<u64> {
        self.arguments
            .get(key)
            .and_then(|argument| if let Argument::Count(count) = argument { Some(*count) } else { None })
    }

    /// The word of an argument.
    #[must_use]
    pub fn word(&self, key: &str) -> Option<&'static str> {
        self.arguments
            .get(key)
            .and_then(|argument| if let Argument::Word(word) = argument { Some(*word) } else { None })
    }

    /// The label of an argument.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.arguments
            .get(key)
            .and_then(|argument| if let Argument::Label(label) = argument { Some(&**label) } else { None })
    }
}

impl Step {
    /// Reads a table.
    ///
    /// # Errors
    /// A key is missing, unknown or cannot be read.
    pub fn read(mut section: Section<'_>) -> Result<Step, FileError> {
        let line = section.line();
        let when = read_when(&mut section)?;
        let action = read_action(&mut section)?;
        let lasts = section.range("for")?;
        let row = action.verb.row();
        match row.lasting {
            Lasting::No if lasts.is_some() => {
                let why = format!("\"{}\" is over at once and takes no \"for\"", row.name);
                return Err(section.error_at("for", Problem::Senseless(why)));
            }
            Lasting::Must if lasts.is_none() => {
                return Err(section.missing("for", &Kind::Span.expected()));
            }
            _ => {}
        }
        // A key with a slip in it is why others are missed.
        section.must_be_known()?;
        let step = Step { line, when, lasts, action };
        step.must_make_sense(&section)?;
        Ok(step)
    }

    /// Rules that the rows of verbs do not tell.
    fn must_make_sense(&self, section: &Section<'_>) -> Result<(), FileError> {
        let action = &self.action;
        let senseless = |key: &str, why: &str| Err(section.error_at(key, Problem::Senseless(why.to_owned())));
        let has = |key: &str| action.arguments.contains_key(key);
        match action.verb {
            Verb::Set if action.line == Some(LineChange::default()) => {
                senseless("link", "nothing is set: give at least one of the keys of [link.*], such as delay or loss")
            }
            Verb::Clock if [has("offset"), has("jump"), has("drift")].iter().filter(|given| **given).count() != 1 => {
                senseless("do", "\"clock\" needs exactly one of offset, jump and drift")
            }
            Verb::Disk => match action.word("fault") {
                Some("slow" | "fsync_delay") if !has("delay") => {
                    senseless("fault", "a slow disk needs \"delay\": how much longer a write takes")
                }
                Some("eio" | "flip") if !has("share") => {
                    senseless("fault", "this fault needs \"share\": how many operations it hits")
                }
                Some("full") if has("delay") || has("share") => {
                    senseless("fault", "a full disk takes neither \"delay\" nor \"share\"")
                }
                _ => Ok(()),
            },
            Verb::Partition if action.groups("groups").len() < 2 => {
                senseless("groups", "a partition needs at least two groups")
            }
            Verb::Flap if action.spans("period").is_some_and(|period| period.low < Span(10_000)) => {
                senseless("period", "a line cannot flap faster than every 10ms")
            }
            _ => Ok(()),
        }
    }
}

fn read_when(section: &mut Section<'_>) -> Result<When, FileError> {
    let line = section.line();
    let at = section.range("at")?;
    let (from, to) = (section.quantity("from")?, section.quantity("to")?);
    let every: Option<Between<Span>> = section.range("every")?;
    let condition = section.parsed("when", CONDITION_EXPECTED)?;
    let kinds = [at.is_some(), from.is_some() || to.is_some() || every.is_some(), condition.is_some()];
    if kinds.iter().filter(|given| **given).count() > 1 {
        let why = "a step happens \"at\" a time, or \"from\" .. \"to\" with \"every\", or \"when\" something is so: \
                   give one of them";
        return Err(section.error("at", line, Problem::Senseless(why.to_owned())));
    }
    if let Some(at) = at {
        return Ok(When::At(at));
    }
    if let Some(condition) = condition {
        return Ok(When::Once(condition));
    }
    let expected = "\"at\", or \"from\", \"to\" and \"every\", or \"when\"";
    let from = section.required("at", from, expected)?;
    let to = section.required("to", to, "the time of the last repetition, such as \"3m\"")?;
    let every = section.required("every", every, "the time between two repetitions, such as \"5s..9s\"")?;
    if to < from {
        return Err(section.error_at("to", Problem::Senseless("it ends before it begins".to_owned())));
    }
    if every.low < Span(1_000) {
        return Err(section.error_at("every", Problem::Senseless("steps are at least 1ms apart".to_owned())));
    }
    Ok(When::Every { from, to, every })
}

fn read_action(section: &mut Section<'_>) -> Result<Action, FileError> {
    let found = section.take("do");
    let found = section.required("do", found, "a verb such as \"partition\" or \"kill\"")?;
    let name = section.as_text("do", found, "a verb such as \"partition\" or \"kill\"")?;
    let words: Vec<(&'static str, Verb)> = ROWS.iter().map(|row| (row.name, row.verb)).collect();
    let verb = section.word("do", found.line, name, "verb", &words)?;
    let mut arguments = BTreeMap::new();
    for parameter in verb.row().parameters {
        match read_argument(section, parameter)? {
            Some(argument) => drop(arguments.insert(parameter.key, argument)),
            None if parameter.is_required => {
                let expected = format!("{} ({})", parameter.kind.expected(), parameter.about);
                return Err(section.missing(parameter.key, &expected));
            }
            None => {}
        }
    }
    let line = if verb == Verb::Set { Some(LineChange::read(section)?) } else { None };
    Ok(Action { verb, arguments, line })
}

fn read_argument(section: &mut Section<'_>, parameter: &Parameter) -> Result<Option<Argument>, FileError> {
    let key = parameter.key;
    Ok(match parameter.kind {
        Kind::Nodes => read_nodes(section, key)?.map(Argument::Nodes),
        Kind::Links => section.parsed(key, LINKS_EXPECTED)?.map(Argument::Links),
        Kind::Groups => read_groups(section, key)?.map(Argument::Groups),
        Kind::Span => section.range(key)?.map(Argument::Span),
        Kind::Offset => section.quantity(key)?.map(Argument::Offset),
        Kind::Share => section.quantity(key)?.map(Argument::Share),
        Kind::Bytes => section.quantity(key)?.map(Argument::Bytes),
        Kind::Count(most) => section.number(key, 1, most)?.map(Argument::Count),
        Kind::Flag => section.boolean(key)?.map(Argument::Flag),
        Kind::Word(words) => match section.take(key) {
            None => None,
            Some(found) => {
                let text = section.as_text(key, found, &parameter.kind.expected())?;
                let words: Vec<(&'static str, &'static str)> = words.iter().map(|word| (*word, *word)).collect();
                Some(Argument::Word(section.word(key, found.line, text, "word for this", &words)?))
            }
        },
        Kind::Label => match section.take(key) {
            None => None,
            Some(found) => {
                let text = section.as_text(key, found, &parameter.kind.expected())?;
                let fits =
                    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
                if !fits || text.len() > 32 {
                    let (value, why) = (text.to_owned(), "it is no such word, or longer than 32 letters".to_owned());
                    let expected = parameter.kind.expected();
                    return Err(section.error(key, found.line, Problem::BadValue { value, why, expected }));
                }
                Some(Argument::Label(text.to_owned()))
            }
        },
    })
}

/// Reads a choice of nodes: a text, or a list of names.
///
/// # Errors
/// It is neither.
pub fn read_nodes(section: &mut Section<'_>, key: &'static str) -> Result<Option<Nodes>, FileError> {
    let Some(found) = section.take(key) else { return Ok(None) };
    if let toml::de::DeValue::Array(_) = found.value {
        let names = section.as_texts(key, found, NODES_EXPECTED)?;
        return group(section, key, found.line, &names).map(Some);
    }
    let text = section.as_text(key, found, NODES_EXPECTED)?;
    section.parse(key, found.line, text, NODES_EXPECTED).map(Some)
}

fn read_groups(section: &mut Section<'_>, key: &'static str) -> Result<Option<Vec<Nodes>>, FileError> {
    let expected = Kind::Groups.expected();
    let Some(found) = section.take(key) else { return Ok(None) };
    let toml::de::DeValue::Array(items) = found.value else {
        section.as_texts(key, found, &expected)?;
        return Ok(None);
    };
    let mut groups = Vec::new();
    for item in items.iter() {
        let inner = crate::scenario::format::section::Found { value: item.get_ref(), line: found.line };
        let names = section.as_texts(key, inner, &expected)?;
        groups.push(group(section, key, found.line, &names)?);
    }
    Ok(Some(groups))
}

fn group(section: &Section<'_>, key: &str, line: usize, names: &[&str]) -> Result<Nodes, FileError> {
    if let [one] = names {
        return section.parse(key, line, one, NODES_EXPECTED);
    }
    let mut named = Vec::new();
    for name in names {
        match section.parse(key, line, name, "a node's name")? {
            Nodes::Named(mut one) => named.append(&mut one),
            other => {
                let why = format!("\"{other}\" stands for several nodes and cannot be one of a list");
                return Err(section.error(key, line, Problem::Senseless(why)));
            }
        }
    }
    if named.is_empty() {
        return Err(section.error(key, line, Problem::Senseless("the list is empty".to_owned())));
    }
    Ok(Nodes::Named(named))
}
