//! What is wrong with a scenario file, and where.

use std::fmt;

/// A scenario file that is not taken. Nothing ran; its author must act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// Name of the file.
    pub file: String,
    /// Line, from 1; 0 if no line is to blame.
    pub line: usize,
    /// The key, with the tables around it; empty if no key is to blame.
    pub key: String,
    /// What is wrong.
    pub problem: Box<Problem>,
}

impl std::error::Error for FileError {}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file is no TOML.
    #[error("this is no TOML: {0}")]
    Syntax(String),
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(String),
    /// The file is of another version of the format.
    #[error("schema {found} is not known here; this version reads schema 1")]
    Schema {
        /// The version that it says.
        found: i64,
    },
    /// This version does not know the key.
    #[error("this key is not known{}; known here: {}", did_you_mean(nearest.as_deref()), known.join(", "))]
    UnknownKey {
        /// The most similar one.
        nearest: Option<String>,
        /// All known ones.
        known: Vec<String>,
    },
    /// A word that is none of those that may stand here.
    #[error("\"{found}\" is no {what}{}; known: {}", did_you_mean(nearest.as_deref()), known.join(", "))]
    UnknownWord {
        /// What stands there.
        found: String,
        /// What it should be.
        what: &'static str,
        /// The most similar one.
        nearest: Option<String>,
        /// All known ones.
        known: Vec<String>,
    },
    /// The value is of another type.
    #[error("{found} stands here; {expected} is expected")]
    WrongType {
        /// What stands there.
        found: &'static str,
        /// What should.
        expected: String,
    },
    /// The value cannot be read.
    #[error("\"{value}\": {why}; {expected} is expected")]
    BadValue {
        /// The value.
        value: String,
        /// What is wrong with it.
        why: String,
        /// What should stand there.
        expected: String,
    },
    /// A key is missing.
    #[error("this key is missing; {expected} is expected{}", is_it(similar.as_deref()))]
    Missing {
        /// What should stand there.
        expected: String,
        /// A key that nobody reads and that may be meant for it, with its line.
        similar: Option<String>,
    },
    /// The file is good and makes no sense.
    #[error("{0}")]
    Senseless(String),
    /// A backend cannot do this.
    #[error("backend {backend} cannot do this: {what}{}", instead(can))]
    Unsupported {
        /// The backend.
        backend: &'static str,
        /// What it cannot do.
        what: String,
        /// Backends that can.
        can: &'static [&'static str],
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean \"{nearest}\"?")).unwrap_or_default()
}

fn instead(can: &[&str]) -> String {
    if can.is_empty() { String::new() } else { format!("; backends that can: {}", can.join(", ")) }
}

/// The word that is most like another, if any is like it at all.
#[must_use]
pub fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<String> {
    let likes = known.into_iter().map(|other| (distance(word, other), other));
    let (steps, best) = likes.min()?;
    (steps <= 2.max(word.chars().count() / 3)).then(|| best.to_owned())
}

fn is_it(similar: Option<&str>) -> String {
    similar.map_or_else(String::new, |similar| format!("; is it meant by {similar}?"))
}

/// Letters to add, drop or replace to get from one word to another.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_words_are_found() {
        let known = ["delay", "jitter", "loss"];
        assert_eq!(nearest("dealy", known), Some("delay".to_owned()));
        assert_eq!(nearest("jiter", known), Some("jitter".to_owned()));
        assert_eq!(nearest("bandwidth", known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn an_error_says_where_and_what_to_write_instead() {
        let error = FileError {
            file: "x.toml".to_owned(),
            line: 3,
            key: "link.default.dealy".to_owned(),
            problem: Box::new(Problem::UnknownKey {
                nearest: nearest("dealy", ["delay", "loss"]),
                known: vec!["delay".into()],
            }),
        };
        assert_eq!(
            error.to_string(),
            "x.toml:3: link.default.dealy: this key is not known; did you mean \"delay\"?; known here: delay"
        );
    }
}
