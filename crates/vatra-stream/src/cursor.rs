//! Places in a store's stream, as subscribers keep them.
//!
//! A cursor `<store id>.<position>` is valid in the store that gave it. A portable cursor `p1.<frontier>` names
//! what its holder has, log by log, and is meant for any node; its format is fixed here, resuming from it is not
//! supported yet and says so.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use thiserror::Error;
use vatra_model::{LogId, Position};

/// Longest text of a cursor; what HTTP lets through in a header is of the same order.
pub const CURSOR_BYTES_MAX: usize = 16 * 1024;
/// What a portable cursor of this version begins with.
const PORTABLE_PREFIX: &str = "p1.";
/// Bytes of one log in a portable cursor: its id and its height, little-endian.
const PORTABLE_LOG_BYTES: usize = LogId::LEN + 8;

/// Names one store for as long as it lives. A store that was restored or copied gets another one, because its
/// positions mean something else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub [u8; 16]);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}

/// Everything up to and including a position of one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The store whose position it is.
    pub store: StoreId,
    /// The last position behind the holder.
    pub position: Position,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.store, self.position)
    }
}

/// A cursor as a subscriber shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A place in one store.
    Cursor(Cursor),
    /// Contiguous entries that the holder has, by log.
    Portable(BTreeMap<LogId, u64>),
}

/// A cursor cannot be used here. Nothing is lost: the subscriber still has it and decides how to go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CursorError {
    /// The text is no cursor of this version; a retry is useless.
    #[error("a cursor is <32 hexadecimal characters>.<position>, not {found:?}")]
    Malformed {
        /// The text found, cut to 80 characters.
        found: String,
    },
    /// The cursor was given by another store, whose positions mean nothing here. Go back to that node, or begin
    /// with `from=start`.
    #[error("the cursor belongs to store {found}, this is store {ours}")]
    ForeignStore {
        /// The store of the cursor.
        found: StoreId,
        /// This store.
        ours: StoreId,
    },
    /// The cursor is ahead of the store: it was changed by hand, or the store lost its end. Begin with
    /// `from=start`.
    #[error("the cursor is at position {position}, the store ends at {last}")]
    BeyondEnd {
        /// The cursor's position.
        position: Position,
        /// The last position of the store.
        last: Position,
    },
    /// Portable cursors are understood but cannot be resumed from in this version. Begin with `from=start`.
    #[error("this version cannot resume from a portable cursor yet")]
    PortableUnsupported,
}

impl Place {
    /// The position after which a stream goes on in a store that ends at `last`.
    ///
    /// # Errors
    /// See [`CursorError`]; never answered by silence.
    pub fn resolve(&self, ours: StoreId, last: Position) -> Result<Position, CursorError> {
        match *self {
            Place::Portable(_) => Err(CursorError::PortableUnsupported),
            Place::Cursor(Cursor { store, .. }) if store != ours => {
                Err(CursorError::ForeignStore { found: store, ours })
            }
            Place::Cursor(Cursor { position, .. }) if position > last => Err(CursorError::BeyondEnd { position, last }),
            Place::Cursor(Cursor { position, .. }) => Ok(position),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Cursor(cursor) => cursor.fmt(f),
            Place::Portable(heights) => {
                let mut bytes = Vec::with_capacity(heights.len() * PORTABLE_LOG_BYTES);
                for (log, height) in heights {
                    bytes.extend_from_slice(&log.0);
                    bytes.extend_from_slice(&height.to_le_bytes());
                }
                write!(f, "{PORTABLE_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
            }
        }
    }
}

impl FromStr for Place {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Place, CursorError> {
        let malformed = || CursorError::Malformed { found: text.chars().take(80).collect() };
        if text.len() > CURSOR_BYTES_MAX {
            return Err(malformed());
        }
        let parsed = match text.strip_prefix(PORTABLE_PREFIX) {
            Some(frontier) => parse_portable(frontier).map(Place::Portable),
            None => parse_cursor(text).map(Place::Cursor),
        };
        parsed.ok_or_else(malformed)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Cursor, CursorError> {
        parse_cursor(text).ok_or_else(|| CursorError::Malformed { found: text.chars().take(80).collect() })
    }
}

fn parse_cursor(text: &str) -> Option<Cursor> {
    let (store, position) = text.split_once('.')?;
    let mut id = [0; 16];
    hex::decode_to_slice(store, &mut id).ok()?;
    // One text per cursor: no sign, no leading zero.
    let is_plain = position.bytes().all(|b| b.is_ascii_digit()) && (position == "0" || !position.starts_with('0'));
    let position = position.parse().ok().filter(|_| is_plain)?;
    Some(Cursor { store: StoreId(id), position: Position(position) })
}

fn parse_portable(text: &str) -> Option<BTreeMap<LogId, u64>> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    let (items, rest) = bytes.as_chunks::<PORTABLE_LOG_BYTES>();
    let mut heights = BTreeMap::new();
    for item in items {
        let (log, height) = item.split_at(LogId::LEN);
        let height = u64::from_le_bytes(height.try_into().ok()?);
        // Ascending, so that one frontier has one text.
        if heights.last_key_value().is_some_and(|(last, _): (&LogId, _)| last.0.as_slice() >= log) {
            return None;
        }
        heights.insert(LogId::from_slice(log)?, height);
    }
    rest.is_empty().then_some(heights)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: StoreId = StoreId([7; 16]);

    fn place(position: u64, store: StoreId) -> Place {
        Place::Cursor(Cursor { store, position: Position(position) })
    }

    #[test]
    fn a_cursor_has_one_text() {
        let text = "07070707070707070707070707070707.42";
        assert_eq!(text.parse(), Ok(place(42, OURS)));
        assert_eq!(place(42, OURS).to_string(), text);
        for bad in ["", "42", "07.42", ".", "07070707070707070707070707070707.", "p1.!", "p1.AAAA"] {
            assert!(matches!(bad.parse::<Place>(), Err(CursorError::Malformed { .. })), "{bad:?} was accepted");
        }
        for position in ["+1", "-1", "01", "1 ", "18446744073709551616"] {
            let text = format!("{OURS}.{position}");
            assert!(text.parse::<Place>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_cursor_is_used_only_where_it_means_something() {
        assert_eq!(place(5, OURS).resolve(OURS, Position(5)), Ok(Position(5)));
        assert_eq!(place(0, OURS).resolve(OURS, Position(0)), Ok(Position(0)));
        assert_eq!(
            place(6, OURS).resolve(OURS, Position(5)),
            Err(CursorError::BeyondEnd { position: Position(6), last: Position(5) })
        );
        let other = StoreId([8; 16]);
        assert_eq!(
            place(1, other).resolve(OURS, Position(5)),
            Err(CursorError::ForeignStore { found: other, ours: OURS })
        );
        let portable = Place::Portable(BTreeMap::new());
        assert_eq!(portable.resolve(OURS, Position(5)), Err(CursorError::PortableUnsupported));
    }

    fn places() -> impl Strategy<Value = Place> {
        let heights = prop::collection::btree_map(any::<[u8; 16]>(), any::<u64>(), 0..8);
        prop_oneof![
            (any::<[u8; 16]>(), any::<u64>()).prop_map(|(store, position)| place(position, StoreId(store))),
            heights.prop_map(|h| Place::Portable(h.into_iter().map(|(log, height)| (LogId(log), height)).collect())),
        ]
    }

    proptest! {
        #[test]
        fn a_place_survives_its_text(place in places()) {
            prop_assert_eq!(place.to_string().parse(), Ok(place));
        }

        #[test]
        fn any_text_is_a_place_with_this_text_or_refused(text in "(p1\\.)?[0-9a-zA-Z._-]{0,60}") {
            if let Ok(place) = text.parse::<Place>() {
                prop_assert_eq!(place.to_string().to_lowercase(), text.to_lowercase());
            }
        }

        #[test]
        fn hostile_text_is_never_a_panic(text in any::<String>()) {
            let _refused_or_not = text.parse::<Place>();
        }
    }
}
