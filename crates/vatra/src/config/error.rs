//! What is wrong with a configuration, said so that it can be corrected at once.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use vatra_model::charter::CharterError;

/// A configuration that cannot be used. Nothing was changed; correct it and try again.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// The directory is no node's.
    #[error(
        "{} is not there, so this is no node directory; make one with `vatra node init`, or name another with --dir",
        file.display()
    )]
    NoNode {
        /// The configuration that it lacks.
        file: PathBuf,
    },
    /// The file cannot be read.
    #[error("{} cannot be read", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is no TOML, or has an unknown, missing or wrongly typed key.
    #[error("{}:{line}: {what}", file.display())]
    Form {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The key, its value and what is allowed.
        what: String,
    },
    /// A value that is not allowed.
    #[error("{}:{line}: {key} = {value}: {allowed}", file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The key with its section.
        key: String,
        /// The value as written, shortened.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// The charter is still being signed.
    #[error(
        "{} is a draft of a charter: once enough members have signed it, `vatra charter verify {} --out FILE` writes the \
         charter",
        file.display(),
        file.display()
    )]
    CharterDraft {
        /// The file.
        file: PathBuf,
    },
    /// The charter file does not hold.
    #[error("{} is no charter that holds", file.display())]
    Charter {
        /// The file.
        file: PathBuf,
        /// What does not hold.
        #[source]
        source: CharterError,
    },
}

/// Most characters of a value that are shown.
const VALUE_CHARS_SHOWN_MAX: usize = 60;

impl ConfigError {
    /// The error of a parser, with the key and value that its span points at.
    pub(super) fn form(file: PathBuf, text: &str, error: &toml::de::Error) -> ConfigError {
        let start = error.span().map_or(0, |span| span.start);
        let place = Place::of(text, start);
        let message = error.message().replace('\n', " ");
        // The parser names types of ours; people are told what to write.
        let message = message.replace("expected a boolean", "allowed are true and false, without quotes");
        let message = message.replace("expected a string", "a text in quotes is allowed");
        let what = match (&place.key, &place.value) {
            (Some(key), Some(value)) if !message.starts_with("unknown field") => format!("{key} = {value}: {message}"),
            (Some(key), _) => format!("{key}: {message}"),
            (None, _) if place.section.is_empty() => message,
            (None, _) => format!("[{}]: {message}", place.section),
        };
        ConfigError::Form { file, line: place.line, what }
    }
}

/// A value as written, cut to one short line.
pub(super) fn shown(value: &str) -> String {
    let mut text: String = value.trim().chars().take(VALUE_CHARS_SHOWN_MAX).map(printable).collect();
    if value.trim().chars().count() > VALUE_CHARS_SHOWN_MAX {
        text.push('…');
    }
    text
}

fn printable(character: char) -> char {
    if character.is_control() { ' ' } else { character }
}

/// Line of a byte offset, from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

/// Where in the file an offset points.
struct Place {
    line: usize,
    section: String,
    key: Option<String>,
    value: Option<String>,
}

impl Place {
    fn of(text: &str, offset: usize) -> Place {
        let line = line_of(text, offset);
        let mut section = String::new();
        let mut current = "";
        for row in text.lines().take(line) {
            current = row.trim();
            if current.starts_with('[') {
                section = current.trim_matches(|c| c == '[' || c == ']').trim().to_owned();
            }
        }
        let pair = current.split_once('=').filter(|_| !current.starts_with(['[', '#']));
        let path = |key: &str| if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
        Place { line, key: pair.map(|(key, _)| path(key.trim())), value: pair.map(|(_, value)| shown(value)), section }
    }
}
