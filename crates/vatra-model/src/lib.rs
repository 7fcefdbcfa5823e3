//! Values, bytes and signatures of the alert mesh.
//!
//! Everything that nodes exchange, sign or store is defined here, and nothing here does IO: no clock,
//! disk, socket, thread or randomness. What a function needs comes in as an argument.

pub mod ids;

pub mod class;
pub mod time;

pub mod keys;

pub mod certificate;
pub mod charter;

pub mod change;
pub mod entry;
pub mod limits;

pub mod schema;

pub mod draft;
pub mod view;

pub mod fork;
pub mod frontier;
pub mod wire;

pub mod codec;
pub mod pack;

mod cbor;

pub use change::{Change, ChangeError, Create, Edit, Naming, Op, RecordKind, SectionId, Value, record_id};
pub use class::Class;
pub use entry::{CheckedEntry, Entry, EntryDraft, EntryError, EntryHeader, Slot};
pub use fork::{ForkProof, SignedHeader};
pub use frontier::{Frontier, Head};
pub use ids::{
    AudienceId, ChangeId, EntryHash, Incarnation, LogId, MemberCode, NodeKey, Position, Realm, RecordId, RootKey, Seq,
};
pub use keys::{Injected, Public, Scheme, Secret, SignatureBytes, VerifyError};
pub use time::{Hlc, MonoMs, WallMs};
