//! The facts of a running node, for the doctor's rules.

use std::path::PathBuf;

use prometheus_client::metrics::counter::Counter;
use vatra_api::{Diagnosis, Refusal};
use vatra_model::certificate::{NodeCertificate, SignedCertificate};
use vatra_model::{Incarnation, LogId, Seq, WallMs};
use vatra_replica::ReplicaStatus;
use vatra_store::Health;

use super::{NodeService, reports};
use crate::config::{NodeConfig, NotAdmitted};
use crate::doctor::{self, Facts, Life, RevokedEntries, StoreFacts, Traffic};
use crate::node::clock::wall;
use crate::node::packing::unpack_header;
use crate::node::views::Views;
use crate::node::{lives, revoked};

/// What the doctor must know of how the node was started.
pub(super) struct Place {
    dir: PathBuf,
    store: PathBuf,
    is_lab: bool,
    charter_epoch: u64,
    certificate: SignedCertificate,
    /// The node's own certificate, then those of its configured peers.
    certificates: Vec<NodeCertificate>,
    warnings: Vec<String>,
}

impl Place {
    pub(super) fn of(config: &NodeConfig) -> Place {
        let peers = config.peers.iter().map(|peer| peer.certificate.certificate().clone());
        Place {
            dir: config.dir.clone(),
            store: config.store.path.clone(),
            is_lab: config.key.purpose() == crate::keys::Purpose::Lab,
            charter_epoch: config.charter.current().epoch,
            certificate: config.certificate.clone(),
            certificates: [config.certificate.certificate().clone()].into_iter().chain(peers).collect(),
            warnings: config.warnings.clone(),
        }
    }
}

/// The logs of the node's own key, and how many entries of each are held.
pub(super) fn own_logs(replica: &ReplicaStatus) -> Vec<(LogId, u64)> {
    let own = replica.logs.iter().filter(|log| (log.origin, log.member) == (replica.node, replica.member));
    own.map(|log| (log.log, log.head.height)).collect()
}

/// Lives of the node's key.
#[derive(Default)]
pub(super) struct Lives {
    /// Those of its store.
    pub(super) here: Vec<lives::Life>,
    /// Others, with when the last entry that is held of each was written.
    elsewhere: Vec<(Incarnation, WallMs)>,
}

impl Lives {
    pub(super) fn read(views: &Views, own_logs: &[(LogId, u64)]) -> anyhow::Result<Lives> {
        let here = lives::read(&views.reader)?;
        let written = |(log, height): &(LogId, u64)| {
            let incarnation = views.origins.descriptor(log)?.incarnation;
            if here.iter().any(|life| life.incarnation == incarnation) {
                return None;
            }
            // One that cannot be read tells nothing; the store's own rules tell of damage.
            let bytes = views.reader.entry(*log, Seq(height.checked_sub(1)?)).ok()??;
            Some((incarnation, unpack_header(&bytes).ok()?.0.hlc.wall()))
        };
        let elsewhere = own_logs.iter().filter_map(written).collect();
        Ok(Lives { here, elsewhere })
    }
}

impl NodeService {
    pub(super) async fn diagnose(&self) -> Result<Diagnosis, Refusal> {
        let (replica, health) = self.replica_status().await?;
        let service = self.clone();
        let judge = move |inner: &super::Inner| {
            let lives = Lives::read(&inner.shared.views, &own_logs(&replica))?;
            let mut facts = service.facts(&replica, health, lives);
            facts.revoked = service.revoked(&replica)?;
            facts.store.old_copies = doctor::old_copies(&inner.place.store);
            Ok(doctor::diagnose(&facts))
        };
        self.read(judge).await
    }

    /// The facts that are at hand. Those that take a look through the store or the disk are left out; the rules make
    /// notes of them at most, so that the status judges as the doctor does.
    pub(super) fn facts(&self, replica: &ReplicaStatus, health: Health, lives: Lives) -> Facts {
        let inner = &self.inner;
        let (shared, place) = (&inner.shared, &inner.place);
        let trust = self.trust();
        let (elsewhere, lives) = (lives.elsewhere, lives.here.into_iter());
        let lives = lives.map(|life| Life { incarnation: life.incarnation, opened: life.opened, reason: life.reason });
        let (refuses_writes, refuses_since) = match health {
            Health::Writable => (None, None),
            Health::ReadOnly { reason, since } => (Some(reason.to_string()), Some(since)),
        };
        Facts {
            at: wall(),
            who: (replica.node, inner.name.clone(), replica.member),
            place: doctor::Place { dir: place.dir.clone(), store: place.store.clone(), is_lab: place.is_lab },
            running_since: Some(inner.started),
            lives: lives.collect(),
            lives_elsewhere: elsewhere,
            next_life: None,
            store: StoreFacts {
                refuses_writes,
                refuses_since,
                damaged: shared.views.reader.damaged_count(),
                free_bytes: doctor::space_of(&place.store),
                exists: true,
                is_lost: false,
                old_copies: Vec::new(),
            },
            forks: self.forks(replica),
            revoked: Vec::new(),
            members: self.members(replica),
            peers: inner.peers.clone(),
            certificates: place.certificates.clone(),
            heard_certificates: trust.nodes().cloned().collect(),
            not_admitted: NotAdmitted::check(trust.charter(), &place.certificate).err(),
            charter_epochs: (replica.charter_epoch, place.charter_epoch),
            quarantine: self.quarantine(),
            traffic: self.traffic(),
            cuts: inner.drills.present().into_iter().map(reports::cut_status).collect(),
            warnings: place.warnings.clone(),
        }
    }

    fn revoked(&self, replica: &ReplicaStatus) -> anyhow::Result<Vec<RevokedEntries>> {
        let views = &self.inner.shared.views;
        let logs = replica.logs.iter().filter_map(|log| Some((log.log, views.origins.descriptor(&log.log)?)));
        revoked::stored(&views.reader, self.trust().charter(), logs)
    }

    fn traffic(&self) -> Traffic {
        let metrics = &self.inner.shared.metrics;
        let count = |counter: &Counter| counter.get();
        Traffic {
            waiting: u64::try_from(metrics.waiting.get()).unwrap_or(0),
            refused: metrics.refusals(),
            shed: count(&metrics.shed),
            throttled: count(&metrics.throttled),
            newer: count(&metrics.newer),
            commits_failed: count(&metrics.commits_failed),
            panics: count(&metrics.panics),
        }
    }
}

#[cfg(test)]
mod tests {
    use vatra_model::Change;
    use vatra_store::Commit;

    use super::*;
    use crate::node::projector::tests::{Desk, UA, create};

    #[test]
    fn lives_that_the_store_never_began_are_found_with_when_they_last_wrote() {
        let mut desk = Desk::new();
        let entries: Vec<_> = (1..=2).map(|number| desk.entry(UA, &[Change::Create(create(number))])).collect();
        let (log, stamp) = (entries[1].header().log, entries[1].header().hlc.wall());
        desk.take(entries);
        let read = |desk: &Desk| Lives::read(&desk.projector.views, &[(log, 2), (LogId([9; 16]), 0)]).expect("memory");
        assert_eq!(read(&desk).elsewhere, [(Incarnation(1), stamp)]);
        let life = lives::Life { incarnation: Incarnation(1), opened: WallMs(1), reason: None };
        let mut commit = Commit::default();
        lives::note(&mut commit, Vec::new(), life);
        desk.store.commit(&commit).expect("memory has room");
        let read = read(&desk);
        assert_eq!((read.elsewhere, read.here.len()), (Vec::new(), 1));
    }
}
