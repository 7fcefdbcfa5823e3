//! Mistakes that can be planted to see that the invariants catch them. They take effect in builds with the feature
//! `planted` only, which no other build has; the test `planted` runs each until its invariant reports it.

use std::sync::Arc;

use vatra_model::{NodeKey, Scheme, SignatureBytes};
use vatra_replica::{Batch, Input};

use crate::sim::signatures::KeyedHash;
use crate::sim::world::perform::lane_of;
use crate::sim::world::{Setup, World};

/// Believes every signature.
#[derive(Debug)]
struct Credulous;

impl Scheme for Credulous {
    fn sign(&self, key: &NodeKey, label: &str, bytes: &[u8]) -> SignatureBytes {
        KeyedHash.sign(key, label, bytes)
    }

    fn verifies(&self, _: &[u8; 32], _: &str, _: &[u8], _: &SignatureBytes) -> bool {
        true
    }
}

/// A mistake, and in its name what it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// A write is acknowledged when it is handed to the disk.
    AcknowledgedBeforeDurable,
    /// New entries are pushed when they are handed to the disk.
    PushedBeforeDurable,
    /// A batch that could not be written is taken for written.
    FailedWriteTakenForWritten,
    /// Signatures are not checked.
    AnySignature,
    /// The fence is not looked at when a store was put back.
    FenceIgnored,
    /// Stamps start anew after a restart.
    StampsGoBack,
    /// Whatever was asked for is answered twice.
    AnsweredTwice,
    /// A cancelled alert is active again after a restart.
    CancelForgotten,
    /// Of edits, the one that came last is shown.
    ArrivalOrderShown,
    /// Edits are shown without what they rest on.
    DepsIgnored,
    /// All classes share the lane of bulk.
    FlashBehindBulk,
    /// A link that ended is not dialled again.
    NeverRedial,
    /// Queues take whatever comes.
    UnboundedQueue,
    /// Rows are served without a look at their checksums.
    DamagedRowServed,
    /// A batch of which only a part was written is believed when its store is opened.
    TornBatchBelieved,
    /// A subscriber that comes back misses what was stored meanwhile.
    CursorSkips,
    /// A damaged frame makes the decoder panic.
    DecoderPanics,
    /// The core is not told that a batch became durable.
    DurableNeverTold,
    /// What was shown before a revocation took it back stays shown.
    RevokedStaysShown,
}

impl Setup {
    /// The same world with a mistake in it.
    #[cfg(feature = "planted")]
    #[must_use]
    pub fn with_bug(self, bug: Bug) -> Setup {
        Setup { planted: Some(bug), ..self }
    }

    /// Whether a mistake was planted; never, without the feature.
    #[must_use]
    pub fn is_planted(&self, bug: Bug) -> bool {
        cfg!(feature = "planted") && self.planted == Some(bug)
    }

    /// What nodes sign with.
    #[must_use]
    pub fn scheme(&self) -> vatra_model::Injected {
        if self.is_planted(Bug::AnySignature) { Some(Arc::new(Credulous)) } else { self.fidelity.scheme() }
    }

    pub(crate) fn planted_in_views(&self) -> Option<Bug> {
        let of_views = [Bug::CancelForgotten, Bug::ArrivalOrderShown, Bug::DepsIgnored];
        of_views.into_iter().find(|bug| self.is_planted(*bug))
    }
}

impl World {
    /// Mistakes of whoever writes a batch, planted to be caught.
    pub(crate) fn spoil_write(&mut self, index: usize, batch: &Batch) {
        if self.is_planted(Bug::AcknowledgedBeforeDurable) {
            // What was acknowledged before is written out, so that one batch is being written at a time.
            drop(self.nodes[index].disk.sync());
            self.inbox.push_back((index, Input::Persisted { batch: batch.id }));
        }
        if self.is_planted(Bug::PushedBeforeDurable) {
            for peer in self.peers_of(index) {
                for entry in &batch.entries {
                    let lane = lane_of(entry.header().class);
                    self.send_entries(index, peer, None, lane, std::slice::from_ref(entry));
                }
            }
        }
    }

    /// Whether a mistake was planted; never, without the feature.
    #[must_use]
    pub fn is_planted(&self, bug: Bug) -> bool {
        self.setup.is_planted(bug)
    }
}
