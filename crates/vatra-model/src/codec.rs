//! The one place that encodes wire messages and stored values with bincode, always under a limit.
//!
//! bincode 2 without a limit lets ten hostile bytes ask for a terabyte; with one it refuses them.
//! Little endian, variable-length integers, trailing bytes refused; golden files pin the form.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};
use thiserror::Error;

use crate::limits::FRAME_INFLATED_BYTES_MAX;

/// Bytes are not the value they should be. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cannot decode {what}: {reason}")]
pub struct DecodeError {
    /// The kind of value that was expected.
    pub what: &'static str,
    /// What is wrong with the bytes.
    pub reason: String,
}

const CONFIG: Configuration<LittleEndian, Varint, Limit<FRAME_INFLATED_BYTES_MAX>> =
    bincode::config::standard().with_limit::<FRAME_INFLATED_BYTES_MAX>();

/// The value as bytes.
///
/// # Panics
/// If the value is larger than [`FRAME_INFLATED_BYTES_MAX`], which its builder must prevent.
#[must_use]
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    bincode::encode_to_vec(value, CONFIG).expect("our own values stay within the frame limit")
}

/// The value of these bytes; all of them must belong to it.
///
/// # Errors
/// [`DecodeError`] if they are malformed, ask for more than the limit, or go on after the value.
pub fn decode<T: Decode<()>>(bytes: &[u8], what: &'static str) -> Result<T, DecodeError> {
    let (value, used) =
        bincode::decode_from_slice(bytes, CONFIG).map_err(|error| DecodeError { what, reason: error.to_string() })?;
    if used != bytes.len() {
        return Err(DecodeError { what, reason: format!("{} bytes follow it", bytes.len() - used) });
    }
    Ok(value)
}
