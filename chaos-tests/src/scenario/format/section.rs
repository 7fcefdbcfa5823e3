//! Reading a table of a scenario file key by key: what is not asked for is an error that names it.

use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::scenario::format::error::{FileError, Problem, nearest};
use crate::scenario::format::quantity::{Between, Misread, Quantity};

/// A file, for telling lines from places in it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'s> {
    /// Its name.
    pub name: &'s str,
    /// Its text.
    pub text: &'s str,
}

impl Source<'_> {
    /// The line of a byte, from 1.
    #[must_use]
    pub fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().iter().take(at);
        before.filter(|byte| **byte == b'\n').count() + 1
    }
}

/// A table that is being read.
pub struct Section<'s> {
    source: Source<'s>,
    path: String,
    line: usize,
    entries: Vec<Entry<'s>>,
    known: Vec<&'static str>,
}

struct Entry<'s> {
    key: &'s str,
    line: usize,
    value: &'s DeValue<'s>,
    is_taken: bool,
}

/// A value with its place, for errors that are found later.
#[derive(Clone, Copy)]
pub struct Found<'s> {
    /// The value.
    pub value: &'s DeValue<'s>,
    /// Its line.
    pub line: usize,
}

impl<'s> Section<'s> {
    /// A table; `path` names it in errors and is empty for the whole file.
    #[must_use]
    pub fn new(source: Source<'s>, path: &str, line: usize, table: &'s DeTable<'s>) -> Section<'s> {
        let entry = |(key, value): (&'s Spanned<std::borrow::Cow<'s, str>>, &'s Spanned<DeValue<'s>>)| Entry {
            key: key.get_ref(),
            line: source.line(key.span().start),
            value: value.get_ref(),
            is_taken: false,
        };
        let mut entries: Vec<Entry<'s>> = table.iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.line);
        Section { source, path: path.to_owned(), line, entries, known: Vec::new() }
    }

    /// The line that the table begins in.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// An error about a key of this table.
    #[must_use]
    pub fn error(&self, key: &str, line: usize, problem: Problem) -> FileError {
        let key = match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        };
        FileError { file: self.source.name.to_owned(), line, key, problem: Box::new(problem) }
    }

    /// An error about a key that was found in this table.
    #[must_use]
    pub fn error_at(&self, key: &str, problem: Problem) -> FileError {
        let found = self.entries.iter().find(|entry| entry.key == key);
        self.error(key, found.map_or(self.line, |entry| entry.line), problem)
    }

    /// The value of a key, whatever it is.
    pub fn take(&mut self, key: &'static str) -> Option<Found<'s>> {
        self.known.push(key);
        let entry = self.entries.iter_mut().find(|entry| entry.key == key)?;
        entry.is_taken = true;
        Some(Found { value: entry.value, line: entry.line })
    }

    /// Whether a key is there.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// The keys that are there, each with its value, when any key may be.
    pub fn take_all(&mut self) -> Vec<(&'s str, Found<'s>)> {
        self.entries
            .iter_mut()
            .map(|entry| {
                entry.is_taken = true;
                (entry.key, Found { value: entry.value, line: entry.line })
            })
            .collect()
    }

    /// A text.
    ///
    /// # Errors
    /// The value is no text.
    pub fn text(&mut self, key: &'static str, expected: &str) -> Result<Option<&'s str>, FileError> {
        let Some(found) = self.take(key) else { return Ok(None) };
        self.as_text(key, found, expected).map(Some)
    }

    /// A value that must be a text.
    ///
    /// # Errors
    /// The value is no text.
    pub fn as_text(&self, key: &str, found: Found<'s>, expected: &str) -> Result<&'s str, FileError> {
        match found.value {
            DeValue::String(text) => Ok(text),
            other => Err(self.wrong_type(key, found.line, other, expected)),
        }
    }

    /// A text that stands for something.
    ///
    /// # Errors
    /// The value is no text, or cannot be read.
    pub fn parsed<T: FromStr>(&mut self, key: &'static str, expected: &str) -> Result<Option<T>, FileError>
    where
        T::Err: std::fmt::Display,
    {
        let Some(found) = self.take(key) else { return Ok(None) };
        let text = self.as_text(key, found, expected)?;
        self.parse(key, found.line, text, expected).map(Some)
    }

    /// What a text stands for.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn parse<T: FromStr>(&self, key: &str, line: usize, text: &str, expected: &str) -> Result<T, FileError>
    where
        T::Err: std::fmt::Display,
    {
        text.parse().map_err(|why: T::Err| {
            let (value, why, expected) = (text.to_owned(), why.to_string(), expected.to_owned());
            self.error(key, line, Problem::BadValue { value, why, expected })
        })
    }

    /// A quantity.
    ///
    /// # Errors
    /// The value is no such quantity.
    pub fn quantity<T: Quantity>(&mut self, key: &'static str) -> Result<Option<T>, FileError> {
        self.parsed(key, T::EXPECTED)
    }

    /// A quantity or a range of them.
    ///
    /// # Errors
    /// The value is neither.
    pub fn range<T: Quantity>(&mut self, key: &'static str) -> Result<Option<Between<T>>, FileError>
    where
        Between<T>: FromStr<Err = Misread>,
    {
        self.parsed(key, &format!("{}, or a range of them (\"a..b\")", T::EXPECTED))
    }

    /// A whole number within limits.
    ///
    /// # Errors
    /// The value is no such number.
    pub fn number(&mut self, key: &'static str, least: u64, most: u64) -> Result<Option<u64>, FileError> {
        let Some(found) = self.take(key) else { return Ok(None) };
        let expected = format!("a whole number from {least} to {most}");
        let DeValue::Integer(number) = found.value else {
            return Err(self.wrong_type(key, found.line, found.value, &expected));
        };
        let value = u64::from_str_radix(number.as_str(), number.radix()).ok();
        value.filter(|value| (least..=most).contains(value)).map(Some).ok_or_else(|| {
            let (value, why) = (number.as_str().to_owned(), "it is out of bounds".to_owned());
            self.error(key, found.line, Problem::BadValue { value, why, expected })
        })
    }

    /// Yes or no.
    ///
    /// # Errors
    /// The value is neither.
    pub fn boolean(&mut self, key: &'static str) -> Result<Option<bool>, FileError> {
        let Some(found) = self.take(key) else { return Ok(None) };
        match found.value {
            DeValue::Boolean(value) => Ok(Some(*value)),
            other => Err(self.wrong_type(key, found.line, other, "true or false")),
        }
    }

    /// A list of texts.
    ///
    /// # Errors
    /// The value is no list, or something in it no text.
    pub fn texts(&mut self, key: &'static str, expected: &str) -> Result<Option<Vec<&'s str>>, FileError> {
        let Some(found) = self.take(key) else { return Ok(None) };
        self.as_texts(key, found, expected).map(Some)
    }

    /// A value that must be a list of texts.
    ///
    /// # Errors
    /// The value is no list, or something in it no text.
    pub fn as_texts(&self, key: &str, found: Found<'s>, expected: &str) -> Result<Vec<&'s str>, FileError> {
        let DeValue::Array(items) = found.value else {
            return Err(self.wrong_type(key, found.line, found.value, expected));
        };
        let text = |item: &'s Spanned<DeValue<'s>>| match item.get_ref() {
            DeValue::String(text) => Ok(&**text),
            other => Err(self.wrong_type(key, self.source.line(item.span().start), other, expected)),
        };
        items.iter().map(text).collect()
    }

    /// A table inside this one.
    ///
    /// # Errors
    /// The value is no table.
    pub fn table(&mut self, key: &'static str) -> Result<Option<Section<'s>>, FileError> {
        let Some(found) = self.take(key) else { return Ok(None) };
        self.as_table(key, found).map(Some)
    }

    /// A value that must be a table.
    ///
    /// # Errors
    /// The value is no table.
    pub fn as_table(&self, key: &str, found: Found<'s>) -> Result<Section<'s>, FileError> {
        let DeValue::Table(table) = found.value else {
            return Err(self.wrong_type(key, found.line, found.value, "a table"));
        };
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Ok(Section::new(self.source, &path, found.line, table))
    }

    /// A list of tables inside this one.
    ///
    /// # Errors
    /// The value is no list, or something in it no table.
    pub fn tables(&mut self, key: &'static str) -> Result<Vec<Section<'s>>, FileError> {
        let Some(found) = self.take(key) else { return Ok(Vec::new()) };
        let DeValue::Array(items) = found.value else {
            return Err(self.wrong_type(key, found.line, found.value, "a list of tables"));
        };
        let section = |(index, item): (usize, &'s Spanned<DeValue<'s>>)| {
            let line = self.source.line(item.span().start);
            let DeValue::Table(table) = item.get_ref() else {
                return Err(self.wrong_type(key, line, item.get_ref(), "a table"));
            };
            Ok(Section::new(self.source, &format!("{key}[{}]", index + 1), line, table))
        };
        items.iter().enumerate().map(section).collect()
    }

    /// A key that must be there.
    ///
    /// # Errors
    /// There is none.
    pub fn required<T>(&self, key: &str, value: Option<T>, expected: &str) -> Result<T, FileError> {
        value.ok_or_else(|| self.missing(key, expected))
    }

    /// A key that must be there is not; a similar one that nobody has read may be meant for it.
    #[must_use]
    pub fn missing(&self, key: &str, expected: &str) -> FileError {
        let mut unread = self.entries.iter().filter(|entry| !entry.is_taken);
        let similar = unread.find(|entry| nearest(entry.key, [key]).is_some());
        let similar = similar.map(|entry| format!("\"{}\" in line {}", entry.key, entry.line));
        self.error(key, self.line, Problem::Missing { expected: expected.to_owned(), similar })
    }

    /// One of several words.
    ///
    /// # Errors
    /// The text is none of them.
    pub fn word<T: Copy>(
        &self,
        key: &str,
        line: usize,
        text: &str,
        what: &'static str,
        words: &[(&'static str, T)],
    ) -> Result<T, FileError> {
        let found = words.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        found.ok_or_else(|| {
            let known: Vec<String> = words.iter().map(|(name, _)| (*name).to_owned()).collect();
            let nearest = nearest(text, words.iter().map(|(name, _)| *name));
            self.error(key, line, Problem::UnknownWord { found: text.to_owned(), what, nearest, known })
        })
    }

    /// Everything has been asked for.
    ///
    /// # Errors
    /// There is a key that nobody asked for.
    pub fn finish(self) -> Result<(), FileError> {
        self.must_be_known()
    }

    /// The same of a table that is still needed, to tell where something is.
    ///
    /// # Errors
    /// There is a key that nobody asked for.
    pub fn must_be_known(&self) -> Result<(), FileError> {
        let Some(stray) = self.entries.iter().find(|entry| !entry.is_taken) else { return Ok(()) };
        let nearest = nearest(stray.key, self.known.iter().copied());
        let mut known: Vec<String> = self.known.iter().map(|key| (*key).to_owned()).collect();
        known.sort();
        known.dedup();
        Err(self.error(stray.key, stray.line, Problem::UnknownKey { nearest, known }))
    }

    fn wrong_type(&self, key: &str, line: usize, found: &DeValue<'_>, expected: &str) -> FileError {
        let found = match found {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.error(key, line, Problem::WrongType { found, expected: expected.to_owned() })
    }
}
