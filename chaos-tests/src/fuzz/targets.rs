//! What must hold of any bytes, format by format.

use std::fmt;
use std::str::FromStr;

use rand::RngExt;
use rand::rngs::StdRng;
use vatra_bundle::{BundleReader, Part, ReadLimits, SignedReceipt};
use vatra_model::certificate::SignedCertificate;
use vatra_model::change::Change;
use vatra_model::charter::{Charter, SignedEpoch};
use vatra_model::entry::HEADER_LEN;
use vatra_model::limits::{
    CHANGE_BYTES_MAX, CHANGE_DEPS_MAX, CHANGE_OPS_MAX, ENTRY_CHANGES_MAX, FRAME_ENTRIES_MAX, FRAME_INFLATED_BYTES_MAX,
};
use vatra_model::pack::Packer;
use vatra_model::wire::{Beacon, Message, SignedBeacon};
use vatra_model::{ChangeId, Entry, EntryHeader, Hlc, Public, SectionId, codec};
use vatra_record::{Applied, AuthoredChange, Record};
use vatra_replica::{Heard, Trust};

use super::seeds;

/// A decoder of bytes from outside, with what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// An entry: header, signature, changes.
    Entry,
    /// A frame of a link.
    Frame,
    /// A change, applied to a record.
    Change,
    /// A charter, a certificate.
    Charter,
    /// A node's announcement.
    Beacon,
    /// Entries as a file, and its receipt.
    Bundle,
    /// A record as a node keeps it, damaged on its disk.
    Saved,
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 7] =
        [Target::Entry, Target::Frame, Target::Change, Target::Charter, Target::Beacon, Target::Bundle, Target::Saved];

    /// Its name, and that of its folder in the corpus.
    pub fn name(self) -> &'static str {
        match self {
            Target::Entry => "entry",
            Target::Frame => "frame",
            Target::Change => "change",
            Target::Charter => "charter",
            Target::Beacon => "beacon",
            Target::Bundle => "bundle",
            Target::Saved => "saved",
        }
    }

    /// Good inputs.
    pub fn seeds(self) -> Vec<Vec<u8>> {
        match self {
            Target::Entry => vec![entry_bytes(0, &seeds::changes()), entry_bytes(3, &seeds::changes()[2..4])],
            Target::Frame => {
                seeds::messages().iter().map(|message| Packer::new().pack(&codec::encode(message))).collect()
            }
            Target::Change => seeds::changes().iter().map(Change::encode).collect(),
            Target::Charter => vec![
                seeds::charter(1).encode(),
                seeds::charter(3).encode(),
                seeds::certificate().encode(),
                seeds::charter(1).epochs()[0].encode(),
            ],
            Target::Beacon => seeds::beacon_bodies(),
            Target::Bundle => vec![seeds::bundle(), seeds::receipt()],
            Target::Saved => vec![record_of(&[]).save(), record_of(&seeds::changes()).save()],
        }
    }

    /// Puts a changed inside back into what holds it, now and then, so that the checks behind are reached.
    pub(super) fn dress(self, random: &mut StdRng, bytes: Vec<u8>) -> Vec<u8> {
        if self != Target::Frame || random.random_range(0..4) == 0 {
            return bytes;
        }
        // Mutated packed bytes seldom unpack; pack a mutated inside instead.
        match Packer::new().unpack(&bytes, FRAME_INFLATED_BYTES_MAX) {
            Ok(plain) => Packer::new().pack(&super::mutate::mutate(random, &[plain])),
            Err(_) => Packer::new().pack(&bytes),
        }
    }

    /// Tries an input.
    ///
    /// # Panics
    /// If something does not hold.
    pub fn run(self, bytes: &[u8]) {
        match self {
            Target::Entry => entry(bytes),
            Target::Frame => frame(bytes),
            Target::Change => change(bytes),
            Target::Charter => charter(bytes),
            Target::Beacon => beacon(bytes),
            Target::Bundle => bundle(bytes),
            Target::Saved => saved(bytes),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(name: &str) -> Result<Target, String> {
        let known = Target::ALL.into_iter().find(|target| target.name() == name);
        known
            .ok_or_else(|| format!("there is no target {name}; known are {}", Target::ALL.map(Target::name).join(", ")))
    }
}

fn entry_bytes(seq: u64, changes: &[Change]) -> Vec<u8> {
    let entry = seeds::entry(seq, changes.iter().map(Change::encode).collect()).expect("a small entry");
    let entry = entry.entry();
    [&entry.header.encode()[..], &entry.signature, &entry.encode_changes()].concat()
}

fn entry(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else { return };
    let Ok(header) = EntryHeader::decode(head) else { return };
    assert_eq!(header.encode(), *head, "a header has one form");
    let Some((signature, rest)) = rest.split_first_chunk::<64>() else { return };
    let Ok(changes) = Entry::decode_changes(rest, header.change_count) else { return };
    let entry = Entry { header, signature: *signature, changes };
    assert_eq!(entry.encode_changes(), rest, "changes have one form");
    let public = Public::new(&seeds::node().node_key().0).expect("a good key");
    if let Ok(checked) = entry.check(&public) {
        assert!(checked.entry().changes.len() <= ENTRY_CHANGES_MAX);
        // Nobody but the key's holder signs: this is one of the seeds, with parts erased at most.
        let good = Target::Entry.seeds();
        assert!(good.iter().any(|good| good[..HEADER_LEN] == *head), "a forged entry passed");
    }
    // What a member with a key may sign goes on to the record.
    for slot in checked_changes(rest, header.change_count) {
        change(&slot);
    }
}

fn checked_changes(bytes: &[u8], count: u16) -> Vec<Vec<u8>> {
    let slots = Entry::decode_changes(bytes, count).unwrap_or_default();
    slots.iter().take(8).filter_map(|slot| slot.bytes().map(<[u8]>::to_vec)).collect()
}

fn frame(bytes: &[u8]) {
    let mut packer = Packer::new();
    let Ok(plain) = packer.unpack(bytes, FRAME_INFLATED_BYTES_MAX) else { return };
    assert!(plain.len() <= FRAME_INFLATED_BYTES_MAX);
    let Ok(message) = codec::decode::<Message>(&plain, "a message") else { return };
    assert_eq!(codec::decode::<Message>(&codec::encode(&message), "a message").as_ref(), Ok(&message));
    if message.check().is_err() {
        return;
    }
    match message {
        Message::Entries(frame) => {
            let trust = Trust::new(seeds::charter(1));
            let mut heard = Heard::default();
            if let Ok(received) = heard.open(&trust, frame) {
                assert!(received.entries.len() <= FRAME_ENTRIES_MAX);
            }
        }
        Message::Charter { bytes } => charter(&bytes),
        Message::Beacon(signed) => beacon(&signed.body),
        Message::Hello(hello) => certificate(&hello.certificate),
        _ => {}
    }
}

fn change(bytes: &[u8]) {
    let Ok(change) = Change::decode(bytes) else { return };
    assert!(bytes.len() <= CHANGE_BYTES_MAX);
    let known = !matches!(&change, Change::Unknown { .. });
    let ops = match &change {
        Change::Create(create) => &create.ops[..],
        Change::Edit(edit) => {
            assert!(edit.deps.len() <= CHANGE_DEPS_MAX);
            &edit.ops[..]
        }
        Change::Open(_) | Change::Unknown { .. } => &[],
    };
    assert!(ops.len() <= CHANGE_OPS_MAX);
    let newer = ops.iter().any(|op| matches!(op, vatra_model::Op::Unknown { .. }));
    if known && !newer {
        assert_eq!(Change::decode(&change.encode()).as_ref(), Ok(&change), "what was read is written the same");
    }
    let record = record_of(std::slice::from_ref(&change));
    let loaded = Record::load(&record.save()).expect("a record is read as it was saved");
    assert_eq!(loaded.view(), record.view());
    assert_eq!(loaded.derived_hashes(), record.derived_hashes());
}

/// The alert of the seeds with these changes of it.
fn record_of(changes: &[Change]) -> Record {
    let mut record = Record::new(seeds::record());
    let first = seeds::first_change();
    for (number, change) in std::iter::once(&first).chain(changes).enumerate() {
        let id = ChangeId([u8::try_from(number + 1).unwrap_or(u8::MAX); 16]);
        let (author, origin) = (seeds::member(), seeds::node().node_key());
        let authored = AuthoredChange { id, author, origin, hlc: Hlc(1_000 + number as u64), change };
        let verdict = record.apply(authored);
        if number == 0 {
            assert_eq!(verdict, Applied::Applied);
        }
        if verdict == Applied::Applied {
            assert_eq!(record.apply(authored), Applied::Duplicate, "a change counts once");
        }
    }
    let _ = (record.view(), record.history(), record.deps_for_edit(SectionId::Core));
    record
}

fn charter(bytes: &[u8]) {
    if let Ok(charter) = Charter::decode(bytes) {
        let again = Charter::decode(&charter.encode()).expect("a charter is read as it was written");
        assert_eq!((again.hash(), again.founding_hash()), (charter.hash(), charter.founding_hash()));
    }
    if let Ok(epoch) = SignedEpoch::decode(bytes) {
        assert_eq!(SignedEpoch::decode(&epoch.encode()).as_ref(), Ok(&epoch));
    }
    certificate(bytes);
}

fn certificate(bytes: &[u8]) {
    let Ok(certificate) = SignedCertificate::decode(bytes) else { return };
    assert_eq!(SignedCertificate::decode(&certificate.encode()).as_ref(), Ok(&certificate));
    // A forged certificate must not be admitted; the seeds' is.
    let admitted = seeds::charter(1).admit(&certificate).is_ok();
    assert!(!admitted || certificate == seeds::certificate(), "a forged certificate was admitted");
}

fn beacon(bytes: &[u8]) {
    let Ok(beacon) = codec::decode::<Beacon>(bytes, "a beacon") else { return };
    assert_eq!(codec::decode::<Beacon>(&codec::encode(&beacon), "a beacon").as_ref(), Ok(&beacon));
    let signed = SignedBeacon::sign(&beacon, &seeds::node());
    let trust = Trust::new(seeds::charter(1));
    if let Ok(Some(_)) = trust.check_beacon(signed) {
        assert_eq!(beacon.node, seeds::node().node_key(), "a beacon speaks for its own node alone");
    }
}

fn bundle(bytes: &[u8]) {
    const INFLATED_BYTES_MAX: u64 = 16 << 20;
    let ours = seeds::charter(1);
    let limits = ReadLimits { inflated_bytes_max: INFLATED_BYTES_MAX };
    if let Ok(mut reader) = BundleReader::open(bytes, Some(&ours), limits) {
        let (mut entries, mut inflated) = (0, 0);
        let whole = loop {
            match reader.next_part() {
                Ok(Some(Part::Entries(chunk))) => {
                    entries += chunk.entries.len() as u64;
                    inflated += chunk.inflated_bytes as u64;
                }
                Ok(Some(Part::Forks(_) | Part::Optional { .. })) => {}
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        assert!(inflated <= INFLATED_BYTES_MAX);
        assert!(
            !whole || (entries == reader.entry_count() && bytes.starts_with(&seeds::bundle())),
            "a forged bundle is whole"
        );
    }
    if let Ok(signed) = SignedReceipt::open(bytes) {
        assert_eq!(signed.receipt().sign(&seeds::node()), seeds::receipt(), "a forged receipt passed");
    }
}

fn saved(bytes: &[u8]) {
    let Ok(mut record) = Record::load(bytes) else { return };
    let _ = (record.view(), record.history(), record.missing());
    let change = &seeds::changes()[3];
    let (author, origin) = (seeds::member(), seeds::node().node_key());
    record.apply(AuthoredChange { id: ChangeId([0xaa; 16]), author, origin, hlc: Hlc(9), change });
    let _ = record.view();
}
