//! Compression of frames and stored entries; never signed.
//!
//! A packed value is a tag byte and the rest: 0 = as it is, 1 = zstd (RFC 8878), 2 = zstd with the
//! dictionary `alert-1`, whose id stands in the zstd frame header.

use thiserror::Error;
use zstd::bulk::{Compressor, Decompressor};

/// Dictionary trained on alert changes; its id is part of every frame that uses it.
const ALERT_1: &[u8] = include_bytes!("../dict/alert-1.zdict");

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const ZSTD_ALERT_1: u8 = 2;

/// Values shorter than this are stored as they are.
const PACK_BYTES_MIN: usize = 64;
/// Values up to this size gain from the dictionary; larger ones are their own.
const DICTIONARY_BYTES_MAX: usize = 16 * 1024;
/// Level for large values where time counts: a commit or a push waits for it.
const LEVEL_FAST: i32 = 1;
/// Level for small values, and for large ones where bytes count more than time.
const LEVEL_TIGHT: i32 = 3;

/// Bytes cannot be unpacked. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UnpackError {
    /// No bytes, or a tag of a newer version.
    #[error("the packing is unknown")]
    Tag,
    /// Damaged, or larger than the limit when unpacked.
    #[error("the packed bytes are damaged or exceed {limit} bytes")]
    Damaged {
        /// The limit in bytes.
        limit: usize,
    },
}

/// What counts more for a large value.
#[derive(Clone, Copy)]
enum Effort {
    Fast,
    Tight,
}

/// Packs and unpacks; holds its working memory, so keep one per thread.
pub struct Packer {
    compress: Compressor<'static>,
    compress_tight: Compressor<'static>,
    compress_alert: Compressor<'static>,
    decompress: Decompressor<'static>,
    decompress_alert: Decompressor<'static>,
}

impl Default for Packer {
    fn default() -> Self {
        Packer::new()
    }
}

impl Packer {
    /// A packer with its working memory (about 2 MiB).
    #[must_use]
    pub fn new() -> Packer {
        let ours = "zstd's settings and our own dictionary are valid";
        Packer {
            compress: Compressor::new(LEVEL_FAST).expect(ours),
            compress_tight: Compressor::new(LEVEL_TIGHT).expect(ours),
            compress_alert: Compressor::with_dictionary(LEVEL_TIGHT, ALERT_1).expect(ours),
            decompress: Decompressor::new().expect(ours),
            decompress_alert: Decompressor::with_dictionary(ALERT_1).expect(ours),
        }
    }

    /// The bytes packed fast; never longer than they were plus one.
    #[must_use]
    pub fn pack(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.pack_with(bytes, Effort::Fast)
    }

    /// The bytes packed as small as is worth while, for what crosses thin links in bulk.
    #[must_use]
    pub fn pack_tight(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.pack_with(bytes, Effort::Tight)
    }

    fn pack_with(&mut self, bytes: &[u8], effort: Effort) -> Vec<u8> {
        let (tag, packed) = match bytes.len() {
            0..PACK_BYTES_MIN => (PLAIN, None),
            PACK_BYTES_MIN..=DICTIONARY_BYTES_MAX => (ZSTD_ALERT_1, self.compress_alert.compress(bytes).ok()),
            _ => match effort {
                Effort::Fast => (ZSTD, self.compress.compress(bytes).ok()),
                Effort::Tight => (ZSTD, self.compress_tight.compress(bytes).ok()),
            },
        };
        match packed {
            Some(packed) if packed.len() < bytes.len() => prefixed(tag, &packed),
            _ => prefixed(PLAIN, bytes),
        }
    }

    /// The bytes that were packed, at most `limit` of them.
    ///
    /// # Errors
    /// [`UnpackError`] if they are damaged, too large, or packed in a way this version does not know.
    pub fn unpack(&mut self, packed: &[u8], limit: usize) -> Result<Vec<u8>, UnpackError> {
        let (&tag, rest) = packed.split_first().ok_or(UnpackError::Tag)?;
        let damaged = UnpackError::Damaged { limit };
        match tag {
            PLAIN if rest.len() <= limit => Ok(rest.to_vec()),
            PLAIN => Err(damaged),
            ZSTD | ZSTD_ALERT_1 => {
                let claimed = zstd::zstd_safe::get_frame_content_size(rest).ok().flatten().ok_or(damaged)?;
                let len = usize::try_from(claimed).ok().filter(|&len| len <= limit).ok_or(damaged)?;
                let decompress = if tag == ZSTD { &mut self.decompress } else { &mut self.decompress_alert };
                let bytes = decompress.decompress(rest, len).map_err(|_| damaged)?;
                if bytes.len() == len { Ok(bytes) } else { Err(damaged) }
            }
            _ => Err(UnpackError::Tag),
        }
    }
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Packer")
    }
}

fn prefixed(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 1);
    out.push(tag);
    out.extend_from_slice(bytes);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bomb_is_refused_before_it_inflates() {
        let mut packer = Packer::new();
        let bomb = packer.pack(&vec![0; 10_000_000]);
        assert!(bomb.len() < 10_000);
        assert_eq!(packer.unpack(&bomb, 1_000_000), Err(UnpackError::Damaged { limit: 1_000_000 }));
    }

    #[test]
    fn unknown_packings_are_refused() {
        assert_eq!(Packer::new().unpack(&[], 10), Err(UnpackError::Tag));
        assert_eq!(Packer::new().unpack(&[9, 1, 2], 10), Err(UnpackError::Tag));
    }

    proptest! {
        #[test]
        fn packing_is_reversible(bytes in prop::collection::vec(any::<u8>(), 0..3000), repeat in 1..20_usize) {
            let bytes = bytes.repeat(repeat);
            let mut packer = Packer::new();
            let packed = packer.pack(&bytes);
            prop_assert!(packed.len() <= bytes.len() + 1);
            prop_assert_eq!(packer.unpack(&packed, bytes.len()), Ok(bytes));
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), tag in 0..4_u8) {
            let mut framed = vec![tag];
            framed.extend(&bytes);
            let _ = Packer::new().unpack(&framed, 100_000);
        }
    }
}
