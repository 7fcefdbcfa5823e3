//! Forks: two signed headers of one log that cannot both belong to it, and what a log comes to after that.
//!
//! A log's *fork place* is the lowest place from which its entries cannot be one chain. It is a function of the set
//! of entries known, never of the order in which they came: the lowest place at which two different entries are
//! known, or the place before an entry that does not follow the one before it. What lies below is the trunk; entries
//! at and past it, of every branch, are strays.

use bincode::{Decode, Encode};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::entry::{Entry, EntryError, EntryHeader, HEADER_LEN};
use crate::ids::{EntryHash, LogId, digest16};
use crate::keys::{LABEL_ENTRY, Public, SignatureBytes};
use crate::wire::LogDescriptor;

/// A header as its origin signed it, without the changes that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct SignedHeader {
    /// The signed bytes.
    pub header: [u8; HEADER_LEN],
    /// The origin's signature over [`LABEL_ENTRY`] and them.
    pub signature: SignatureBytes,
}

impl SignedHeader {
    /// The signed header of an entry.
    #[must_use]
    pub fn of(entry: &Entry) -> SignedHeader {
        SignedHeader { header: entry.header.encode(), signature: entry.signature }
    }

    /// What the header says; believed only after [`SignedHeader::check`].
    ///
    /// # Errors
    /// [`EntryError`] if it is no header of this version.
    pub fn header(&self) -> Result<EntryHeader, EntryError> {
        EntryHeader::decode(&self.header)
    }

    /// The name of the entry.
    #[must_use]
    pub fn hash(&self) -> EntryHash {
        EntryHash(Sha256::digest(self.header).into())
    }

    /// Checks the origin's signature and gives what it covers.
    ///
    /// # Errors
    /// [`EntryError`] if it is no header, or not this origin's.
    pub fn check(&self, origin: &Public) -> Result<EntryHeader, EntryError> {
        let header = self.header()?;
        origin.verify(LABEL_ENTRY, &self.header, &self.signature)?;
        Ok(header)
    }
}

/// Proof that a log's origin signed what cannot be one chain. Anybody can check it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ForkProof {
    /// Whose log it is.
    pub log: LogDescriptor,
    /// The header of the lower place, or of the smaller hash.
    pub first: SignedHeader,
    /// The other one.
    pub second: SignedHeader,
}

/// Two headers do not prove a fork.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ForkError {
    /// One of them does not check.
    #[error("a header of a fork proof: {0}")]
    Entry(#[from] EntryError),
    /// They are of other logs than the proof's, or may well be of one chain.
    #[error("the two headers may belong to one chain")]
    NoConflict,
}

impl ForkProof {
    /// A proof of these two headers, in the one order that a proof may have.
    #[must_use]
    pub fn new(log: LogDescriptor, a: SignedHeader, b: SignedHeader) -> ForkProof {
        let place = |header: &SignedHeader| (header.header().map_or(u64::MAX, |header| header.seq.0), header.hash());
        let (first, second) = if place(&a) <= place(&b) { (a, b) } else { (b, a) };
        ForkProof { log, first, second }
    }

    /// Checks both signatures and gives the fork place: the place of the first header.
    ///
    /// # Errors
    /// [`ForkError`] if the proof proves nothing.
    pub fn check(&self, log: LogId, origin: &Public) -> Result<u64, ForkError> {
        let place = self.place(log)?;
        self.first.check(origin)?;
        self.second.check(origin)?;
        Ok(place)
    }

    /// The fork place of two headers, signatures unseen.
    ///
    /// # Errors
    /// [`ForkError`] if they contradict each other in nothing, or do not stand in order.
    pub fn place(&self, log: LogId) -> Result<u64, ForkError> {
        let (first, second) = (self.first.header()?, self.second.header()?);
        let doubled = first.seq == second.seq && self.first.hash() < self.second.hash();
        let broken = first.seq.next() == Some(second.seq) && second.prev != self.first.hash();
        if first.log != log || second.log != log || !(doubled || broken) {
            return Err(ForkError::NoConflict);
        }
        Ok(first.seq.0)
    }
}

/// What a forked log has in a frontier as its head: SHA-256 over `vatra fork v1`, log, fork place u64 LE, the hash of
/// the last contiguous entry of the trunk (zeros without any), and place u64 LE and hash of each stray in order. With
/// zeros for the trunk it names the set of strays alone.
#[must_use]
pub fn fork_head<'s>(
    log: LogId,
    place: u64,
    trunk: EntryHash,
    strays: impl IntoIterator<Item = &'s (u64, EntryHash)>,
) -> EntryHash {
    let mut hash = Sha256::new();
    hash.update(b"vatra fork v1");
    hash.update(log.0);
    hash.update(place.to_le_bytes());
    hash.update(trunk.0);
    for (seq, stray) in strays {
        hash.update(seq.to_le_bytes());
        hash.update(stray.0);
    }
    EntryHash(hash.finalize().into())
}

/// The name under which a store keeps a stray beside its log:
/// `SHA-256("vatra stray v1" || log || entry hash)[..16]`. Several strays may claim one place of the log.
#[must_use]
pub fn stray_log(log: LogId, stray: EntryHash) -> LogId {
    LogId(digest16("vatra stray v1", &[&log.0, &stray.0]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::class::Class;
    use crate::codec;
    use crate::entry::EntryDraft;
    use crate::ids::{AudienceId, Incarnation, Realm, Seq};
    use crate::keys::Secret;
    use crate::time::Hlc;

    const LOG: LogId = LogId([7; 16]);

    fn secret() -> Secret {
        Secret::from_seed(&[5; 32])
    }

    fn public() -> Public {
        Public::new(&secret().node_key().0).expect("a real key")
    }

    fn descriptor() -> LogDescriptor {
        let incarnation = Incarnation(1);
        LogDescriptor {
            certificate: [1, 2, 3].into(),
            incarnation,
            audience: AudienceId::FEDERATION,
            realm: Realm::OPS,
        }
    }

    fn entry(seq: u64, prev: EntryHash, words: &str) -> SignedHeader {
        let draft = EntryDraft {
            realm: Realm::OPS,
            log: LOG,
            seq: Seq(seq),
            prev,
            hlc: Hlc(9 + seq),
            class: Class::Routine,
            expires_hours: 0,
        };
        let entry = Entry::sign(&draft, vec![words.as_bytes().to_vec()], &secret()).expect("small");
        SignedHeader::of(entry.entry())
    }

    fn proof(a: SignedHeader, b: SignedHeader) -> ForkProof {
        ForkProof::new(descriptor(), a, b)
    }

    #[test]
    fn two_entries_of_one_place_are_a_fork_there() {
        let (a, b) = (entry(3, EntryHash([1; 32]), "a"), entry(3, EntryHash([1; 32]), "b"));
        assert_eq!(proof(a, b), proof(b, a), "there is one order");
        assert_eq!(proof(a, b).check(LOG, &public()), Ok(3));
        assert_eq!(proof(a, a).check(LOG, &public()), Err(ForkError::NoConflict));
        assert_eq!(proof(a, b).check(LogId([8; 16]), &public()), Err(ForkError::NoConflict));
    }

    #[test]
    fn an_entry_that_does_not_follow_is_a_fork_before_it() {
        let first = entry(0, EntryHash::ZERO, "first");
        let stranger = entry(1, EntryHash([4; 32]), "second");
        assert_eq!(proof(stranger, first).check(LOG, &public()), Ok(0));
        let second = entry(1, first.hash(), "second");
        assert_eq!(proof(first, second).check(LOG, &public()), Err(ForkError::NoConflict));
        let far = entry(2, EntryHash([4; 32]), "third");
        assert_eq!(proof(first, far).check(LOG, &public()), Err(ForkError::NoConflict));
    }

    #[test]
    fn what_the_origin_did_not_sign_proves_nothing() {
        let (a, b) = (entry(3, EntryHash([1; 32]), "a"), entry(3, EntryHash([1; 32]), "b"));
        let other = Public::new(&Secret::from_seed(&[6; 32]).node_key().0).expect("a real key");
        assert!(matches!(proof(a, b).check(LOG, &other), Err(ForkError::Entry(EntryError::Verify(_)))));
        let turned = ForkProof { first: proof(a, b).second, second: proof(a, b).first, log: descriptor() };
        assert_eq!(turned.check(LOG, &public()), Err(ForkError::NoConflict), "one fork has one proof of two headers");
    }

    #[test]
    fn a_proof_is_golden() {
        let (a, b) = (entry(3, EntryHash([1; 32]), "a"), entry(3, EntryHash([1; 32]), "b"));
        let bytes = codec::encode(&proof(a, b));
        assert_eq!(hex::encode(&bytes), include_str!("../tests/golden/fork-proof-v1.hex").trim());
        assert_eq!(codec::decode::<ForkProof>(&bytes, "a fork proof"), Ok(proof(a, b)));
    }

    #[test]
    fn heads_and_names_are_golden() {
        let strays = [(3, EntryHash([1; 32])), (3, EntryHash([2; 32]))];
        let head = fork_head(LOG, 3, EntryHash([9; 32]), &strays);
        assert_eq!(hex::encode(head.0), "21cf644524624d512efa1f6e7e50ec8a399cca54e32763f0e52b750972d3c238");
        assert_ne!(head, fork_head(LOG, 3, EntryHash([9; 32]), &strays[..1]));
        let name = stray_log(LOG, EntryHash([1; 32]));
        assert_eq!(hex::encode(name.0), "41cde76e30b4cf1faa359e2148453dc3");
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(proof) = codec::decode::<ForkProof>(&bytes, "a fork proof") {
                let _ = proof.check(LOG, &public());
            }
        }
    }
}
