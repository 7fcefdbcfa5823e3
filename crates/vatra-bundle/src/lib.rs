//! Entries as a file, to be carried where no link leads.
//!
//! A bundle is one stream of framed, chained sections: a signed manifest, the charter, the entries in packed
//! chunks, a signed end. [`BundleWriter`] writes one as it goes, holding one chunk at a time; [`BundleReader`]
//! believes nothing before it was checked, and tells a bundle that was cut off, damaged, forged or made in another
//! federation. A [`Receipt`] is the way back: a signed frontier of the node that took a bundle in.
//!
//! There is no clock, disk, socket, thread or randomness in here: bytes come and go through `std::io::Read` and
//! `std::io::Write`, and time comes in as an argument. What is then done with entries, the caller decides. Every
//! byte is described in docs/protocol.md.

mod reader;
mod writer;

mod manifest;
mod receipt;
mod section;

mod cbor;
mod error;

pub use error::{ReadError, ReceiptError, maker_remedy};
pub use manifest::{BundleId, LogRange, Manifest, SOFTWARE_BYTES_MAX};
pub use reader::{BundleReader, Chunk, NamedLog, Part, ReadLimits};
pub use receipt::{Intake, RECEIPT_BYTES_MAX, RECEIPT_MAGIC, Receipt, SignedReceipt};
pub use section::{
    BUNDLE_MAGIC, CHARTER_SECTION_BYTES_MAX, CHUNK_BYTES_MAX, CHUNK_INFLATED_BYTES_MAX, FORMAT_VERSION,
    MANIFEST_BYTES_MAX, OPTIONAL_SECTION_BYTES_MAX, SECTION_FORK_PROOFS,
};
pub use writer::{BundleWriter, WriteError, Written};
