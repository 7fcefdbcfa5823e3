//! Who writes which log, for everyone who reads: replaced as a whole when a log is added.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use vatra_model::certificate::SignedCertificate;
use vatra_model::charter::{Charter, LogEnd};
use vatra_model::wire::LogDescriptor;
use vatra_model::{LogId, MemberCode, NodeKey};
use vatra_replica::{CheckedFork, LogRow};

/// The writer of a log.
#[derive(Clone, Debug)]
pub(crate) struct OriginInfo {
    pub(crate) member: MemberCode,
    pub(crate) node: NodeKey,
    pub(crate) descriptor: LogDescriptor,
}

/// All logs of the store.
#[derive(Default)]
pub(crate) struct Origins {
    logs: RwLock<Arc<BTreeMap<LogId, Arc<OriginInfo>>>>,
    /// Where logs are forked.
    forks: RwLock<Arc<BTreeMap<LogId, u64>>>,
    /// The charter in force, if it revokes any key.
    revoking: RwLock<Option<Arc<Charter>>>,
}

impl Origins {
    /// Adds logs; their certificates were checked before they were stored.
    pub(crate) fn add<'r>(&self, rows: impl IntoIterator<Item = (&'r LogId, &'r LogRow)>) {
        let known = self.all();
        let mut added = BTreeMap::new();
        for (log, row) in rows {
            if known.contains_key(log) {
                continue;
            }
            let Ok(signed) = SignedCertificate::decode(&row.descriptor.certificate) else { continue };
            let certificate = signed.certificate();
            let info =
                OriginInfo { member: certificate.member, node: certificate.key, descriptor: row.descriptor.clone() };
            added.insert(*log, Arc::new(info));
        }
        if !added.is_empty() {
            let mut all = (*known).clone();
            all.extend(added);
            *self.logs.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(all);
        }
    }

    /// Notes where logs are forked; of several places of one log the lowest counts.
    pub(crate) fn set_forks<'f>(&self, forks: impl IntoIterator<Item = &'f CheckedFork>) {
        let mut forks = forks.into_iter().peekable();
        if forks.peek().is_none() {
            return;
        }
        let mut all = (*self.forks()).clone();
        for fork in forks {
            let place = all.entry(fork.log).or_insert(fork.place);
            *place = (*place).min(fork.place);
        }
        *self.forks.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(all);
    }

    /// Where logs are forked.
    pub(crate) fn forks(&self) -> Arc<BTreeMap<LogId, u64>> {
        self.forks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A charter is in force: what it revokes ends the logs of these keys.
    pub(crate) fn heed(&self, charter: &Charter) {
        if charter.revokes() {
            *self.revoking.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(charter.clone()));
        }
    }

    /// Whether any log may be ended by a revocation.
    pub(crate) fn any_ended(&self) -> bool {
        self.revoking.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Where a revocation ends a log, if its key is revoked.
    pub(crate) fn end_of(&self, log: &LogId) -> Option<LogEnd> {
        let charter = self.revoking.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        charter.end_of(&self.get(log)?.node, log)
    }

    /// All logs of revoked keys, and where they end.
    pub(crate) fn ended(&self) -> Vec<(LogId, LogEnd)> {
        if !self.any_ended() {
            return Vec::new();
        }
        self.all().keys().filter_map(|log| Some((*log, self.end_of(log)?))).collect()
    }

    pub(crate) fn get(&self, log: &LogId) -> Option<Arc<OriginInfo>> {
        self.all().get(log).cloned()
    }

    pub(crate) fn descriptor(&self, log: &LogId) -> Option<LogDescriptor> {
        self.get(log).map(|info| info.descriptor.clone())
    }

    fn all(&self) -> Arc<BTreeMap<LogId, Arc<OriginInfo>>> {
        self.logs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
