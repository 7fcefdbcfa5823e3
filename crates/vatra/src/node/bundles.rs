//! Entries carried by hand: bundles written from the store, bundles taken in, receipts.
//!
//! Everything here blocks and runs off the runtime's threads. What is taken in goes to the driver like a peer's
//! entries do; nothing here writes the store.

mod export;
mod import;
mod spool;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use tokio::sync::{Semaphore, oneshot};
use vatra_api::{Refusal, RefusalKind};
use vatra_bundle::{Intake, Receipt};
use vatra_model::certificate::SignedCertificate;
use vatra_model::{MemberCode, Secret};
use vatra_replica::Trust;

use crate::config::NodeConfig;
use crate::node::clock::wall;
use crate::node::driver::{Holdings, Item, Shared};
use crate::node::mailbox::{Urgency, Weight};
use crate::node::service::stopping;

/// Name of the file beside the store that holds a bundle while it is checked and applied.
const SPOOL_FILE: &str = "bundle.spool";
/// How much larger than the largest bundle its entries may be, unpacked: texts that repeat pack well, and a bound
/// keeps a member's bundle from keeping a processor busy for hours.
const INFLATION_MAX: u64 = 64;

/// What carrying entries by hand takes.
pub(crate) struct Bundles {
    shared: Arc<Shared>,
    secret: Secret,
    certificate: SignedCertificate,
    spool: PathBuf,
    bytes_max: u64,
    /// One import at a time.
    place: Semaphore,
}

impl Bundles {
    pub(crate) fn new(shared: Arc<Shared>, config: &NodeConfig) -> Bundles {
        Bundles {
            shared,
            secret: config.key.secret(),
            certificate: config.certificate.clone(),
            spool: config.dir.join(SPOOL_FILE),
            bytes_max: config.limits.bundle_bytes(),
            place: Semaphore::new(1),
        }
    }

    /// This node's word on how far it holds the logs, after an import or just so.
    pub(crate) fn receipt(&self, intake: Option<Intake>) -> Result<Vec<u8>, Refusal> {
        let receipt = Receipt {
            founding: self.trust().charter().founding_hash(),
            certificate: self.certificate.encode(),
            given: wall(),
            frontier: self.holdings(None)?.frontier,
            intake,
        };
        Ok(receipt.sign(&self.secret))
    }

    fn trust(&self) -> Arc<Trust> {
        self.shared.trust.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the core knows to be held, here and at a member.
    fn holdings(&self, member: Option<MemberCode>) -> Result<Holdings, Refusal> {
        let (reply, answer) = oneshot::channel();
        let item = Item::Holdings(member, reply);
        self.shared.mailbox.try_post(Urgency::Control, Weight::SMALL, item).map_err(|_| stopping())?;
        answer.blocking_recv().map_err(|_| stopping())
    }
}

/// The store, or the disk beside it, could not be read.
fn unreadable(error: &anyhow::Error) -> Refusal {
    tracing::error!(error = format!("{error:#}"), "a bundle could not be worked on");
    Refusal::new(RefusalKind::Fault, format!("the store could not be read: {error:#}"))
        .with_remedy("stop the node and run `vatra fsck`")
}

#[cfg(test)]
mod tests;
