//! Checks of texts and lists, and the error that says which field of a draft is wrong.

use thiserror::Error;

use crate::schema::{ELEMENTS_MAX, ID_BYTES_MAX, LANGUAGE_CHARS_MAX, LINE_CHARS_MAX, URL_BYTES_MAX};

/// A draft or patch is not acceptable. Nothing was changed; its author corrects the named field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {problem}; {remedy}")]
pub struct DraftError {
    /// Path of the field, such as `references[2].url`; empty for the whole.
    pub field: String,
    /// What is wrong, with the limit and what was found.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl DraftError {
    /// An error of a field.
    #[must_use]
    pub fn new(field: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> DraftError {
        DraftError { field: field.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// The same error, seen from the value that contains the field.
    #[must_use]
    pub fn within(mut self, outer: &str) -> DraftError {
        self.field = match self.field.is_empty() {
            true => outer.to_owned(),
            false if self.field.starts_with('[') => format!("{outer}{}", self.field),
            false => format!("{outer}.{}", self.field),
        };
        self
    }
}

/// Whether a part of a draft is acceptable.
pub type Checked = Result<(), DraftError>;

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

fn has_control(text: &str, layout_allowed: bool) -> bool {
    text.bytes().any(|byte| byte < 0x20 || byte == 0x7f)
        && text.chars().any(|c| c.is_control() && !(layout_allowed && matches!(c, '\n' | '\r' | '\t')))
}

/// One line of text: not blank, no control characters, at most [`LINE_CHARS_MAX`] characters.
pub fn line(field: &str, text: &str) -> Checked {
    if text.trim().is_empty() {
        return Err(DraftError::new(field, "is empty", "give it a text"));
    }
    // Every character takes at least one byte, so short texts need no count.
    let chars = if text.len() <= LINE_CHARS_MAX { 0 } else { text.chars().count() };
    if chars > LINE_CHARS_MAX {
        let problem = format!("has {chars} characters, the limit is {LINE_CHARS_MAX}");
        return Err(DraftError::new(field, problem, "shorten it"));
    }
    if has_control(text, false) {
        return Err(DraftError::new(field, "contains a line break or control character", "remove it"));
    }
    Ok(())
}

/// A text of several lines and at most `bytes_max` bytes.
pub fn text(field: &str, text: &str, bytes_max: usize) -> Checked {
    if text.len() > bytes_max {
        let problem = format!("has {} bytes, the limit is {bytes_max}", text.len());
        return Err(DraftError::new(field, problem, "shorten it or attach it as a file"));
    }
    if has_control(text, true) {
        return Err(DraftError::new(field, "contains a control character", "remove it"));
    }
    Ok(())
}

/// An id: 1 to [`ID_BYTES_MAX`] bytes without spaces and control characters.
pub fn id(field: &str, text: &str) -> Checked {
    token(field, text, ID_BYTES_MAX)
}

/// A URL with a scheme, at most [`URL_BYTES_MAX`] bytes, without spaces and control characters.
pub fn url(field: &str, text: &str) -> Checked {
    token(field, text, URL_BYTES_MAX)?;
    let scheme = text.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
    let known = !scheme.is_empty()
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if !known {
        let problem = format!("has no scheme: {:?}", shortened(text));
        return Err(DraftError::new(field, problem, "write a whole URL such as https://example.org/a"));
    }
    Ok(())
}

/// A text without spaces and control characters, of 1 to `bytes_max` bytes.
pub fn token(field: &str, text: &str, bytes_max: usize) -> Checked {
    if text.is_empty() || text.len() > bytes_max {
        let problem = format!("has {} bytes, allowed are 1 to {bytes_max}", text.len());
        return Err(DraftError::new(field, problem, "correct its length"));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(DraftError::new(field, "contains a space or control character", "remove it"));
    }
    Ok(())
}

/// A language tag such as `en`, `uk` or `sr-Latn` (BCP 47; its shape only).
pub fn language(field: &str, text: &str) -> Checked {
    let shaped = text.len() <= LANGUAGE_CHARS_MAX
        && text.split('-').enumerate().all(|(index, part)| {
            let letters = part.bytes().all(|b| b.is_ascii_alphanumeric());
            let length = if index == 0 { 2..=8 } else { 1..=8 };
            letters && length.contains(&part.len()) && (index > 0 || part.bytes().all(|b| b.is_ascii_alphabetic()))
        });
    if shaped {
        return Ok(());
    }
    let problem = format!("is not a language tag: {:?}", shortened(text));
    Err(DraftError::new(field, problem, "write a BCP 47 tag such as en or sr-Latn"))
}

/// A country code: two letters A-Z (ISO 3166-1 alpha-2, or `EU`).
pub fn country(field: &str, text: &str) -> Checked {
    if text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()) {
        return Ok(());
    }
    let problem = format!("is not a country code: {:?}", shortened(text));
    Err(DraftError::new(field, problem, "write two letters A-Z of ISO 3166-1, or EU"))
}

/// A classification code such as `availability:outage` (RSIT and other taxonomies).
pub fn classification(field: &str, text: &str) -> Checked {
    token(field, text, ID_BYTES_MAX)
}

/// Lower-case hexadecimal of exactly `chars` characters.
pub fn hexadecimal(field: &str, text: &str, chars: usize) -> Checked {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() == chars && text.bytes().all(hex) {
        return Ok(());
    }
    let problem = format!("is not {chars} characters of 0-9 and a-f: {:?}", shortened(text));
    Err(DraftError::new(field, problem, "write the hash in lower-case hexadecimal"))
}

/// A number within bounds.
pub fn number<T: PartialOrd + std::fmt::Display>(field: &str, number: &T, least: &T, most: &T) -> Checked {
    if number >= least && number <= most {
        return Ok(());
    }
    let problem = format!("is {number}, allowed are {least} to {most}");
    Err(DraftError::new(field, problem, "correct the number"))
}

/// A list of at most `count_max` elements.
pub fn count(field: &str, found: usize, count_max: usize) -> Checked {
    if found <= count_max {
        return Ok(());
    }
    let problem = format!("has {found} elements, the limit is {count_max}");
    Err(DraftError::new(field, problem, "shorten the list or attach it as a file"))
}

/// A list of at most [`ELEMENTS_MAX`] elements, each of which passes its check.
pub fn each<T>(field: &str, items: &[T], check: impl Fn(&T) -> Checked) -> Checked {
    each_up_to(field, items, ELEMENTS_MAX, check)
}

/// A list of at most `count_max` elements, each of which passes its check.
pub fn each_up_to<T>(field: &str, items: &[T], count_max: usize, check: impl Fn(&T) -> Checked) -> Checked {
    count(field, items.len(), count_max)?;
    for (index, item) in items.iter().enumerate() {
        check(item).map_err(|error| error.within(&format!("{field}[{index}]")))?;
    }
    Ok(())
}

/// A value that is there passes its check.
pub fn optional<T: ?Sized, V: std::ops::Deref<Target = T>>(
    value: &Option<V>,
    check: impl Fn(&T) -> Checked,
) -> Checked {
    value.as_deref().map_or(Ok(()), check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_counted_in_characters() {
        assert_eq!(line("title", &"ї".repeat(256)), Ok(()));
        let error = line("title", &"ї".repeat(257)).expect_err("one too many");
        assert_eq!(error.to_string(), "title: has 257 characters, the limit is 256; shorten it");
        for bad in ["", "  ", "a\nb", "a\u{0}b", "a\u{7f}b"] {
            assert!(line("title", bad).is_err(), "{bad:?} was accepted");
        }
        assert_eq!(text("body", "a\n\tb", 10), Ok(()));
        assert!(text("body", "a\u{1b}[2J", 10).is_err());
    }

    #[test]
    fn shapes_are_checked() {
        for (good, bad) in [("uk", "u"), ("sr-Latn", "sr_Latn"), ("en-US", "en us"), ("de-1996", "12")] {
            assert_eq!(language("lang", good), Ok(()));
            assert!(language("lang", bad).is_err(), "{bad}");
        }
        assert_eq!(url("url", "https://example.org/a?b=c"), Ok(()));
        for bad in ["example.org", "", "https://a b", ":x", "1a:x"] {
            assert!(url("url", bad).is_err(), "{bad}");
        }
        assert!(country("countries", "ua").is_err());
        assert_eq!(country("countries", "EU"), Ok(()));
    }

    #[test]
    fn errors_name_the_whole_path() {
        let error = each("references", &["https://a", "b"], |text| url("url", text)).expect_err("no scheme");
        assert_eq!(error.field, "references[1].url");
        assert_eq!(error.within("records[3]").field, "records[3].references[1].url");
    }
}
