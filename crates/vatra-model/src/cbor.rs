//! Small additions to minicbor: bounded text and byte strings, and the error that names where.

use minicbor::Decoder;
use minicbor::data::Type;

use crate::change::ChangeError;

/// Reads a definite-length text of at most `max` bytes.
pub(crate) fn text<'b>(d: &mut Decoder<'b>, what: &'static str, max: usize) -> Result<&'b str, ChangeError> {
    let text = d.str().map_err(|_| ChangeError::Malformed { what })?;
    if text.len() > max {
        return Err(ChangeError::TooLong { what, limit: max, found: text.len() });
    }
    Ok(text)
}

/// Reads a definite-length byte string of exactly `N` bytes.
pub(crate) fn fixed<const N: usize>(d: &mut Decoder<'_>, what: &'static str) -> Result<[u8; N], ChangeError> {
    let bytes = d.bytes().map_err(|_| ChangeError::Malformed { what })?;
    bytes.try_into().map_err(|_| ChangeError::TooLong { what, limit: N, found: bytes.len() })
}

/// Reads the length of a definite array of at most `max` items.
pub(crate) fn array(d: &mut Decoder<'_>, what: &'static str, max: usize) -> Result<usize, ChangeError> {
    let len = d.array().ok().flatten().ok_or(ChangeError::Malformed { what })?;
    bounded(len, what, max)
}

/// Reads the length of a definite map of at most `max` pairs.
pub(crate) fn map(d: &mut Decoder<'_>, what: &'static str, max: usize) -> Result<usize, ChangeError> {
    let len = d.map().ok().flatten().ok_or(ChangeError::Malformed { what })?;
    bounded(len, what, max)
}

fn bounded(len: u64, what: &'static str, max: usize) -> Result<usize, ChangeError> {
    match usize::try_from(len) {
        Ok(len) if len <= max => Ok(len),
        _ => Err(ChangeError::TooLong { what, limit: max, found: usize::try_from(len).unwrap_or(usize::MAX) }),
    }
}

/// Reads an unsigned number.
pub(crate) fn unsigned(d: &mut Decoder<'_>, what: &'static str) -> Result<u64, ChangeError> {
    d.u64().map_err(|_| ChangeError::Malformed { what })
}

/// How deep a value of a newer version may nest.
const SKIP_DEPTH_MAX: usize = 8;

/// Skips one value of any type; nesting is bounded, so that foreign bytes cannot exhaust the stack.
pub(crate) fn skip(d: &mut Decoder<'_>, what: &'static str) -> Result<(), ChangeError> {
    skip_at(d, what, SKIP_DEPTH_MAX)
}

fn skip_at(d: &mut Decoder<'_>, what: &'static str, depth: usize) -> Result<(), ChangeError> {
    let malformed = ChangeError::Malformed { what };
    let Some(depth) = depth.checked_sub(1) else { return Err(malformed) };
    match d.datatype().map_err(|_| ChangeError::Malformed { what })? {
        Type::Array => {
            for _ in 0..array(d, what, 4096)? {
                skip_at(d, what, depth)?;
            }
            Ok(())
        }
        Type::Map => {
            for _ in 0..map(d, what, 4096)? {
                skip_at(d, what, depth)?;
                skip_at(d, what, depth)?;
            }
            Ok(())
        }
        Type::ArrayIndef | Type::MapIndef | Type::BytesIndef | Type::StringIndef | Type::Tag => Err(malformed),
        _ => d.skip().map_err(|_| malformed),
    }
}
