//! What was checked once in a fast world and is not checked again by every node, as the verdict would be the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use vatra_model::wire::SignedBeacon;
use vatra_model::{CheckedEntry, SignatureBytes};
use vatra_replica::{CheckedBeacon, Reject, Trust};

use crate::sim::lately::Lately;
use crate::sim::signatures::Fidelity;

/// Beacons that are remembered.
const CHECKED_BEACONS_MAX: usize = 256;
/// Entries that are remembered.
const CHECKED_ENTRIES_MAX: usize = 512;

/// Beacons that were checked, so that one that is flooded to all is decoded and verified once in a fast world.
#[derive(Default)]
pub(crate) struct CheckedBeacons {
    is_used: bool,
    checked: BTreeMap<SignatureBytes, CheckedBeacon>,
}

impl CheckedBeacons {
    pub(crate) fn new(fidelity: Fidelity) -> CheckedBeacons {
        CheckedBeacons { is_used: fidelity == Fidelity::Fast, checked: BTreeMap::new() }
    }

    /// What the trust makes of a beacon. A node that it knows has one key, so the verdict is the same as before.
    pub(crate) fn check(&mut self, trust: &Trust, signed: SignedBeacon) -> Result<Option<CheckedBeacon>, Reject> {
        let known = self.checked.get(&signed.signature);
        if let Some(known) = known.filter(|k| k.signed == signed && trust.node(&k.beacon.node).is_some()) {
            return Ok(Some(known.clone()));
        }
        let checked = trust.check_beacon(signed)?;
        if let Some(new) = checked.as_ref().filter(|_| self.is_used) {
            if self.checked.len() >= CHECKED_BEACONS_MAX {
                self.checked.clear();
            }
            self.checked.insert(new.signed.signature, new.clone());
        }
        Ok(checked)
    }
}

/// Entries that their writers signed lately. Who gets the very same one, byte for byte, shares it.
pub(crate) struct CheckedEntries {
    is_used: bool,
    lately: Lately<u64, Arc<CheckedEntry>>,
}

/// A signature in short; two of the same hide each other, and are checked then.
fn short(signature: &SignatureBytes) -> u64 {
    signature.first_chunk().copied().map_or(0, u64::from_le_bytes)
}

impl CheckedEntries {
    pub(crate) fn new(fidelity: Fidelity) -> CheckedEntries {
        CheckedEntries { is_used: fidelity == Fidelity::Fast, lately: Lately::new(CHECKED_ENTRIES_MAX) }
    }

    pub(crate) fn note(&mut self, entry: &Arc<CheckedEntry>) {
        if self.is_used {
            self.lately.insert(short(&entry.entry().signature), entry.clone());
        }
    }

    pub(crate) fn get(&self, signature: &SignatureBytes) -> Option<Arc<CheckedEntry>> {
        self.lately.get(&short(signature)).cloned()
    }
}
