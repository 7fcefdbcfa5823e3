//! Numbers of the keys of a change and its operations; docs/protocol.md tells what stands under each.

pub(super) const TYPE_CREATE: u64 = 1;
pub(super) const TYPE_EDIT: u64 = 2;
pub(super) const TYPE_OPEN: u64 = 3;

pub(super) const KEY_TYPE: u64 = 0;
pub(super) const KEY_KIND: u64 = 1;
pub(super) const KEY_WRITERS: u64 = 2;
pub(super) const KEY_NONCE: u64 = 3;
pub(super) const KEY_EXTERNAL: u64 = 4;
pub(super) const KEY_OPS: u64 = 5;
pub(super) const KEY_RECORD: u64 = 6;
pub(super) const KEY_SECTION: u64 = 7;
pub(super) const KEY_DEPS: u64 = 8;
pub(super) const KEY_CERTIFICATE: u64 = 9;
pub(super) const KEY_INCARNATION: u64 = 10;
pub(super) const KEY_AUDIENCE: u64 = 11;
pub(super) const KEY_PREVIOUS: u64 = 12;

pub(super) const OP_SET: u64 = 1;
pub(super) const OP_ADD: u64 = 2;
pub(super) const OP_REMOVE: u64 = 3;
