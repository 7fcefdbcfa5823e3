//! The facts of a running node, for the doctor's rules.

use std::path::PathBuf;

use prometheus_client::metrics::counter::Counter;
use vatra_api::{Diagnosis, Refusal};
use vatra_model::certificate::NodeCertificate;
use vatra_replica::ReplicaStatus;
use vatra_store::Health;

use super::{NodeService, reports};
use crate::config::NodeConfig;
use crate::doctor::{self, Facts, Life, RevokedEntries, StoreFacts, Traffic};
use crate::node::clock::wall;
use crate::node::revoked;

/// What the doctor must know of how the node was started.
pub(super) struct Place {
    dir: PathBuf,
    store: PathBuf,
    is_lab: bool,
    charter_epoch: u64,
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
            certificates: [config.certificate.certificate().clone()].into_iter().chain(peers).collect(),
            warnings: config.warnings.clone(),
        }
    }
}

impl NodeService {
    pub(super) async fn diagnose(&self) -> Result<Diagnosis, Refusal> {
        let (replica, health) = self.replica_status().await?;
        let service = self.clone();
        let facts = move |inner: &super::Inner| {
            let (shared, place) = (&inner.shared, &inner.place);
            let lives = crate::node::lives::read(&shared.views.reader)?.into_iter();
            let lives =
                lives.map(|life| Life { incarnation: life.incarnation, opened: life.opened, reason: life.reason });
            let (refuses_writes, refuses_since) = match health {
                Health::Writable => (None, None),
                Health::ReadOnly { reason, since } => (Some(reason.to_string()), Some(since)),
            };
            Ok(Facts {
                at: wall(),
                who: (replica.node, inner.name.clone(), replica.member),
                place: doctor::Place { dir: place.dir.clone(), store: place.store.clone(), is_lab: place.is_lab },
                running_since: Some(inner.started),
                lives: lives.collect(),
                next_life: None,
                store: StoreFacts {
                    refuses_writes,
                    refuses_since,
                    damaged: shared.views.reader.damaged_count(),
                    free_bytes: doctor::space_of(&place.store),
                    exists: true,
                    old_copies: doctor::old_copies(&place.store),
                },
                forks: service.forks(&replica),
                revoked: service.revoked(&replica)?,
                members: service.members(&replica),
                peers: inner.peers.clone(),
                certificates: place.certificates.clone(),
                heard_certificates: service.trust().nodes().cloned().collect(),
                charter_epochs: (replica.charter_epoch, place.charter_epoch),
                quarantine: service.quarantine(),
                traffic: service.traffic(),
                cuts: inner.drills.present().into_iter().map(reports::cut_status).collect(),
                warnings: place.warnings.clone(),
            })
        };
        Ok(doctor::diagnose(&self.read(facts).await?))
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
