//! Entries as the store keeps them: header, signature, packed changes.

use anyhow::{Context, ensure};
use vatra_model::entry::{HEADER_LEN, SIGNED_HEADER_LEN};
use vatra_model::limits::{ENTRY_BYTES_MAX, ENTRY_CHANGES_MAX};
use vatra_model::pack::Packer;
use vatra_model::{Entry, EntryHash, EntryHeader};

/// Changes of one entry with the length before each.
const CHANGES_BYTES_MAX: usize = ENTRY_BYTES_MAX + ENTRY_CHANGES_MAX * 36;

/// The entry as a stored value.
pub(crate) fn pack_entry(packer: &mut Packer, entry: &Entry) -> Vec<u8> {
    let changes = packer.pack(&entry.encode_changes());
    let mut bytes = Vec::with_capacity(SIGNED_HEADER_LEN + changes.len());
    bytes.extend_from_slice(&entry.header.encode());
    bytes.extend_from_slice(&entry.signature);
    bytes.extend_from_slice(&changes);
    bytes
}

/// The header of a stored value and the entry's hash.
pub(crate) fn unpack_header(bytes: &[u8]) -> anyhow::Result<(EntryHeader, EntryHash)> {
    let head = bytes.first_chunk::<HEADER_LEN>().context("a stored entry is cut short")?;
    let header = EntryHeader::decode(head)?;
    Ok((header, header.hash()))
}

/// The entry of a stored value. Its signature was checked before it was stored.
pub(crate) fn unpack_entry(packer: &mut Packer, bytes: &[u8]) -> anyhow::Result<Entry> {
    ensure!(bytes.len() > SIGNED_HEADER_LEN, "a stored entry is cut short");
    let (header, _) = unpack_header(bytes)?;
    let signature = bytes[HEADER_LEN..SIGNED_HEADER_LEN].try_into().expect("64 bytes stand between");
    let changes = packer.unpack(&bytes[SIGNED_HEADER_LEN..], CHANGES_BYTES_MAX)?;
    Ok(Entry { header, signature, changes: Entry::decode_changes(&changes, header.change_count)? })
}

#[cfg(test)]
mod tests {
    use vatra_model::{Class, EntryDraft, Hlc, LogId, Realm, Secret, Seq};

    use super::*;

    #[test]
    fn entries_survive_the_store() {
        let draft = EntryDraft {
            realm: Realm::OPS,
            log: LogId([1; 16]),
            seq: Seq(0),
            prev: EntryHash::ZERO,
            hlc: Hlc(9),
            class: Class::Routine,
            expires_hours: 0,
        };
        let changes = vec![b"short".to_vec(), vec![b'x'; 5000]];
        let checked = Entry::sign(&draft, changes, &Secret::from_seed(&[1; 32])).expect("small");
        let mut packer = Packer::new();
        let bytes = pack_entry(&mut packer, checked.entry());
        assert!(bytes.len() < 600, "{} bytes", bytes.len());
        assert_eq!(unpack_entry(&mut packer, &bytes).expect("what was packed"), *checked.entry());
        assert_eq!(unpack_header(&bytes).expect("what was packed").1, checked.hash());
        assert!(unpack_entry(&mut packer, &bytes[..150]).is_err());
    }
}
