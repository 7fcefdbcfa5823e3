//! Bounds on what may come from outside (`docs/protocol.md`). Sizes are bytes.

/// Stored bytes of one change.
pub const CHANGE_BYTES_MAX: usize = 64 * 1024;
/// Changes in one entry.
pub const ENTRY_CHANGES_MAX: usize = 256;
/// Stored bytes of all changes of one entry.
pub const ENTRY_BYTES_MAX: usize = 128 * 1024;
/// One frame on a link, compressed.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// One frame on a link after decompression.
pub const FRAME_INFLATED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Ops in one change.
pub const CHANGE_OPS_MAX: usize = 256;
/// Changes that one edit may rest on.
pub const CHANGE_DEPS_MAX: usize = 16;
/// Writers of one record.
pub const RECORD_WRITERS_MAX: usize = 16;
/// Name of a field or set.
pub const FIELD_NAME_BYTES_MAX: usize = 64;
/// Key of a set element.
pub const SET_KEY_BYTES_MAX: usize = 2048;
/// External id of a record, such as a STIX id.
pub const EXTERNAL_ID_BYTES_MAX: usize = 512;
/// Changes of one section of a record.
pub const SECTION_CHANGES_MAX: usize = 4096;
/// Bytes of one section of a record.
pub const SECTION_BYTES_MAX: usize = 512 * 1024;
/// Links of one node.
pub const LINKS_MAX: usize = 64;
/// Members of a federation.
pub const MEMBERS_MAX: usize = 64;
/// Logs of which a node keeps heights.
pub const LOGS_MAX: usize = 4096;
/// Logs of one node, over all lives of its store.
pub const NODE_LOGS_MAX: usize = 512;
/// Logs of all nodes of one member.
pub const MEMBER_LOGS_MAX: usize = 1024;
/// Logs that each member may have whatever the others have.
pub const MEMBER_LOGS_SHARE: usize = 32;
/// Entries at and past a log's fork place that are kept: those that came first.
pub const STRAYS_MAX: usize = 10_000;
/// Strays that one message names.
pub const MESSAGE_STRAYS_MAX: usize = 4096;
/// Strays that one request asks for.
pub const WANT_STRAYS_MAX: usize = 256;
/// Entries of one log held beyond a gap.
pub const AHEAD_ENTRIES_MAX: usize = 16_384;
/// The same of all logs of one member, beside the first [`AHEAD_FREE_MAX`] of each.
pub const MEMBER_AHEAD_MAX: usize = 65_536;
/// Entries of one log beyond a gap that are kept whatever its member has elsewhere.
pub const AHEAD_FREE_MAX: usize = 256;
/// Changes of one record that wait for others they rest on.
pub const PENDING_CHANGES_MAX: usize = 256;
/// Skew between clocks that is flagged, in milliseconds.
pub const CLOCK_SKEW_FLAG_MS: u64 = 5 * 60 * 1000;
/// Entries in one frame: as many signatures as a receiver checks in one go.
pub const FRAME_ENTRIES_MAX: usize = 4096;
/// A node's announcement, encoded.
pub const BEACON_BYTES_MAX: usize = 128 * 1024;
/// Software version in a hello.
pub const SOFTWARE_BYTES_MAX: usize = 128;
