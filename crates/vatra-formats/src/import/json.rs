//! Reading foreign JSON within bounds: items of long lists one by one, scalars of any type, nesting.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::import::ImportProblem;
use crate::import::text::shown;

/// Items that one file may have.
pub const ITEMS_MAX: usize = 1_000_000;
/// How deep an item may nest.
pub const NESTING_MAX: usize = 64;

/// Elements of a list that are looked at.
pub(crate) const ELEMENTS_SEEN_MAX: usize = 100_000;

/// The items of a document, each still as JSON text.
#[derive(Debug, Default)]
pub(crate) struct Items<'a> {
    /// The items up to [`ITEMS_MAX`], or up to the place where the document broke off.
    pub(crate) items: Vec<&'a RawValue>,
    /// Items past [`ITEMS_MAX`].
    pub(crate) left_out: usize,
    /// Whether there was such a list at all.
    pub(crate) found: bool,
    /// Value of the top-level key `spec_version`.
    pub(crate) spec_version: Option<String>,
    /// Why the document could not be read to its end.
    pub(crate) broken: Option<String>,
}

impl<'a> Items<'a> {
    /// The elements of the list under `key` of the document, or of the document itself if it is a list.
    pub(crate) fn of_document(bytes: &'a [u8], key: &str) -> Items<'a> {
        let mut items = Items::default();
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let document = Document { key, items: &mut items };
        let end = document.deserialize(&mut reader).and_then(|()| reader.end());
        // Its position counts from the start of the file, so it is kept.
        items.broken = end.err().map(|error| shown(&error.to_string()));
        items
    }

    /// What is wrong with the document beyond its items, said after them.
    pub(crate) fn problem(&self, key: &str) -> Option<ImportProblem> {
        match &self.broken {
            Some(why) => Some(ImportProblem::new("", format!("cannot be read further: {why}"))),
            None if !self.found => Some(ImportProblem::new(key, "is missing")),
            None if self.left_out > 0 => {
                let detail = format!("{} more were left out, the limit is {ITEMS_MAX}", self.left_out);
                Some(ImportProblem::new(key, detail))
            }
            None => None,
        }
    }
}

struct Document<'k, 'i, 'a> {
    key: &'k str,
    items: &'i mut Items<'a>,
}

impl<'de: 'a, 'a> DeserializeSeed<'de> for Document<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de: 'a, 'a> Visitor<'de> for Document<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with {} or a list", self.key)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == self.key {
                map.next_value_seed(List { items: self.items })?;
            } else if key == "spec_version" {
                self.items.spec_version = map.next_value::<Loose<'de>>()?.0.map(Cow::into_owned);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        List { items: self.items }.visit_seq(seq)
    }
}

struct List<'i, 'a> {
    items: &'i mut Items<'a>,
}

impl<'de: 'a, 'a> DeserializeSeed<'de> for List<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de: 'a, 'a> Visitor<'de> for List<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.items.found = true;
        while self.items.items.len() < ITEMS_MAX {
            match seq.next_element::<&'a RawValue>()? {
                Some(item) => self.items.items.push(item),
                None => return Ok(()),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            self.items.left_out += 1;
        }
        Ok(())
    }
}

/// The elements of a list inside an item; an object counts as a list of one, anything else as none.
/// Also how many elements past [`ELEMENTS_SEEN_MAX`] there are.
pub(crate) fn elements<'a>(list: Option<&'a RawValue>) -> (Vec<&'a RawValue>, usize) {
    let Some(list) = list else { return (Vec::new(), 0) };
    match list.get().as_bytes().first() {
        Some(b'[') => {
            serde_json::from_str::<Elements<'a>>(list.get()).map_or((Vec::new(), 0), |e| (e.seen, e.left_out))
        }
        Some(b'{') => (vec![list], 0),
        _ => (Vec::new(), 0),
    }
}

struct Elements<'a> {
    seen: Vec<&'a RawValue>,
    left_out: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;
        impl<'de> Visitor<'de> for Bounded {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Elements<'de>, A::Error> {
                let mut elements = Elements { seen: Vec::new(), left_out: 0 };
                while elements.seen.len() < ELEMENTS_SEEN_MAX {
                    match seq.next_element()? {
                        Some(element) => elements.seen.push(element),
                        None => return Ok(elements),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    elements.left_out += 1;
                }
                Ok(elements)
            }
        }
        deserializer.deserialize_seq(Bounded)
    }
}

/// Reads one item; the problem names what is wrong with it.
pub(crate) fn read<'a, T: Deserialize<'a>>(item: &'a str) -> Result<T, ImportProblem> {
    if is_too_deep(item.as_bytes()) {
        return Err(ImportProblem::new("", format!("nests deeper than {NESTING_MAX} levels")));
    }
    serde_json::from_str(item).map_err(|error| unreadable(&error))
}

/// The problem of JSON that cannot be read. Positions are left out: they count from the item's start.
pub(crate) fn unreadable(error: &serde_json::Error) -> ImportProblem {
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    ImportProblem::new("", shown(what))
}

/// Whether brackets nest deeper than [`NESTING_MAX`]; strings are skipped.
pub(crate) fn is_too_deep(json: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > NESTING_MAX {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// A scalar as text: MISP writes numbers and booleans now as such, now as strings. `None` for anything else.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Loose<'a>(pub(crate) Option<Cow<'a, str>>);

impl Loose<'_> {
    /// The text, trimmed, unless there is none.
    pub(crate) fn text(&self) -> Option<&str> {
        self.0.as_deref().map(str::trim).filter(|text| !text.is_empty())
    }

    /// The text as a number.
    pub(crate) fn number(&self) -> Option<u64> {
        self.text()?.parse().ok()
    }

    /// Whether it says yes.
    pub(crate) fn is_true(&self) -> bool {
        matches!(self.text(), Some("true" | "1"))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Loose<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl<'de> Visitor<'de> for Scalar {
            type Value = Loose<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Loose<'de>, E> {
                Ok(Loose(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Loose<'de>, E> {
                Ok(Loose(Some(Cow::Owned(text.to_owned()))))
            }

            fn visit_bool<E: de::Error>(self, yes: bool) -> Result<Loose<'de>, E> {
                Ok(Loose(Some(Cow::Borrowed(if yes { "true" } else { "false" }))))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Loose<'de>, E> {
                Ok(Loose(Some(Cow::Owned(number.to_string()))))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Loose<'de>, E> {
                Ok(Loose(Some(Cow::Owned(number.to_string()))))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Loose<'de>, E> {
                Ok(Loose(Some(Cow::Owned(number.to_string()))))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Loose<'de>, E> {
                Ok(Loose(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Loose(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Loose<'de>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Loose(None))
            }
        }
        deserializer.deserialize_any(Scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_before_a_break_are_kept() {
        let items = Items::of_document(br#"{"count": 9, "list": [{"a": 1}, [2], {"b": "#, "list");
        assert_eq!(items.items.iter().map(|item| item.get()).collect::<Vec<_>>(), [r#"{"a": 1}"#, "[2]"]);
        assert!(items.broken.as_deref().is_some_and(|why| why.contains("line 1")), "{:?}", items.broken);
        let whole = Items::of_document(b"[1, 2]", "list");
        assert_eq!((whole.items.len(), whole.found, whole.broken), (2, true, None));
        assert!(!Items::of_document(b"{}", "list").found);
        assert!(Items::of_document(b"[1] x", "list").broken.is_some());
    }

    #[test]
    fn scalars_of_any_type_are_read_as_text() {
        let read = |json: &str| serde_json::from_str::<Loose<'_>>(json).map(|l| l.text().map(str::to_owned)).ok();
        assert_eq!(read(r#"" 4 ""#), Some(Some("4".into())));
        assert_eq!(read("4"), Some(Some("4".into())));
        assert_eq!(read("true"), Some(Some("true".into())));
        assert_eq!(read("null"), Some(None));
        assert_eq!(read(r#"{"a":[1]}"#), Some(None));
    }

    #[test]
    fn nesting_is_counted_outside_strings() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(!is_too_deep(nested(NESTING_MAX).as_bytes()));
        assert!(is_too_deep(nested(NESTING_MAX + 1).as_bytes()));
        assert!(!is_too_deep(format!("\"\\\"{}\"", "[".repeat(500)).as_bytes()));
    }
}
