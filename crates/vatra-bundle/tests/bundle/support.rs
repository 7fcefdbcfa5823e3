//! A small federation, its logs, and bundles of them.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use vatra_bundle::{BundleReader, BundleWriter, LogRange, Manifest, Part, ReadError, ReadLimits, Written};
use vatra_model::certificate::{NodeCertificate, SignedCertificate};
use vatra_model::charter::{Charter, CharterEpoch, CharterMember, MemberRole, SignedEpoch};
use vatra_model::wire::LogDescriptor;
use vatra_model::{
    AudienceId, CheckedEntry, Class, Entry, EntryDraft, EntryHash, Hlc, Incarnation, LogId, Realm, Secret, Seq, WallMs,
};

/// Reads anything that these tests write.
pub(crate) const ROOMY: ReadLimits = ReadLimits { inflated_bytes_max: 1 << 30 };

/// The root of a member, by number.
pub(crate) fn root(member: u8) -> Secret {
    Secret::from_seed(&[100 + member; 32])
}

/// The key of the node of a member.
pub(crate) fn node(member: u8) -> Secret {
    Secret::from_seed(&[member; 32])
}

fn code(member: u8) -> vatra_model::MemberCode {
    ["UA", "LT", "PL"][usize::from(member)].parse().unwrap()
}

pub(crate) fn certificate(member: u8) -> SignedCertificate {
    let certificate = NodeCertificate {
        member: code(member),
        site: "main".into(),
        node: "one".into(),
        key: node(member).node_key(),
        not_before: WallMs(0),
        serial: 1,
    };
    certificate.sign(&root(member)).unwrap()
}

fn epoch(number: u64, previous: [u8; 32], members: u8) -> CharterEpoch {
    let mut members: Vec<CharterMember> = (0..members)
        .map(|member| CharterMember {
            code: code(member),
            name: format!("member {member}"),
            role: MemberRole::Member,
            root: root(member).root_key(),
            sealing: [member; 32],
            addresses: vec![],
        })
        .collect();
    members.sort_by_key(|member| member.code);
    CharterEpoch { epoch: number, previous, federation: "test".into(), members, revocations: vec![] }
}

/// The charter of UA and LT.
pub(crate) fn charter() -> Charter {
    founded(epoch(1, [0; 32], 2))
}

/// The same members under another name: another federation.
pub(crate) fn foreign_charter() -> Charter {
    founded(CharterEpoch { federation: "elsewhere".into(), ..epoch(1, [0; 32], 2) })
}

fn founded(epoch: CharterEpoch) -> Charter {
    let mut first = SignedEpoch::draft(epoch).unwrap();
    first.sign(&root(0));
    first.sign(&root(1));
    Charter::found(first).unwrap()
}

/// The charter continued: PL joins, and whatever the test changes.
pub(crate) fn next_charter(change: impl FnOnce(&mut CharterEpoch)) -> Charter {
    let mut charter = charter();
    let mut next = epoch(2, charter.hash(), 3);
    change(&mut next);
    let mut next = SignedEpoch::draft(next).unwrap();
    next.sign(&root(0));
    next.sign(&root(1));
    charter.extend(next).unwrap();
    charter
}

pub(crate) fn descriptor(member: u8) -> LogDescriptor {
    LogDescriptor {
        certificate: certificate(member).encode().into(),
        incarnation: Incarnation(7),
        audience: AudienceId::FEDERATION,
        realm: Realm::OPS,
    }
}

pub(crate) fn log_of(member: u8) -> LogId {
    LogId::derive(code(member), &node(member).node_key(), Incarnation(7), &AudienceId::FEDERATION)
}

/// A log of a member with these changes, one entry each.
pub(crate) fn log(member: u8, texts: &[Vec<u8>]) -> Vec<Entry> {
    let mut prev = EntryHash::ZERO;
    let mut entries = Vec::new();
    for (seq, text) in (0..).zip(texts) {
        let draft = EntryDraft {
            realm: Realm::OPS,
            log: log_of(member),
            seq: Seq(seq),
            prev,
            hlc: Hlc(1000 + seq),
            class: Class::ALL[text.len() % 4],
            expires_hours: 0,
        };
        let entry = Entry::sign(&draft, vec![text.clone()], &node(member)).unwrap();
        prev = entry.hash();
        entries.push(entry.into_entry());
    }
    entries
}

/// A manifest of UA's node over these entries.
pub(crate) fn manifest(charter: &Charter, entries: &[Entry]) -> Manifest {
    let mut logs: Vec<LogRange> = Vec::new();
    for entry in entries {
        let range =
            LogRange { log: entry.header.log, from: 0, height: entry.header.seq.0 + 1, head: entry.header.hash() };
        match logs.iter_mut().find(|known| known.log == range.log) {
            Some(known) if known.height < range.height => *known = range,
            Some(_) => {}
            None => logs.push(range),
        }
    }
    logs.sort_by_key(|range| range.log);
    Manifest {
        founding: charter.founding_hash(),
        certificate: certificate(0).encode(),
        created: WallMs(1_764_000_000_000),
        charter_epoch: charter.current().epoch,
        charter_hash: Sha256::digest(charter.encode()).into(),
        software: "test".into(),
        receiver: None,
        logs,
    }
}

/// A bundle by UA's node.
pub(crate) fn bundle(charter: &Charter, entries: &[Entry]) -> (Vec<u8>, Written) {
    bundle_of(charter, &manifest(charter, entries), entries)
}

/// A bundle by UA's node under a manifest of the test's choice.
pub(crate) fn bundle_of(charter: &Charter, manifest: &Manifest, entries: &[Entry]) -> (Vec<u8>, Written) {
    let secret = node(0);
    let mut writer = BundleWriter::begin(Vec::new(), &secret, manifest, &charter.encode()).unwrap();
    for entry in entries {
        let member = u8::from(entry.header.log != log_of(0));
        writer.add(entry.clone(), &descriptor(member)).unwrap();
    }
    writer.finish().unwrap()
}

/// Reads all of a bundle.
pub(crate) fn read(bytes: &[u8], ours: Option<&Charter>) -> Result<Vec<Arc<CheckedEntry>>, ReadError> {
    read_within(bytes, ours, ROOMY)
}

pub(crate) fn read_within(
    bytes: &[u8],
    ours: Option<&Charter>,
    limits: ReadLimits,
) -> Result<Vec<Arc<CheckedEntry>>, ReadError> {
    let mut reader = BundleReader::open(bytes, ours, limits)?;
    let mut entries = Vec::new();
    while let Some(part) = reader.next_part()? {
        if let Part::Entries(chunk) = part {
            entries.extend(chunk.entries);
        }
    }
    assert_eq!(reader.entry_count(), entries.len() as u64);
    assert_eq!(reader.bytes_read(), bytes.len() as u64);
    Ok(entries)
}

pub(crate) fn texts(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| format!("change number {number}").into_bytes()).collect()
}
