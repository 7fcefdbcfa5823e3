//! What the core wants done once its batch is durable: messages, pushes, answers, log lines.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use vatra_mesh::{Lane, SendError};
use vatra_model::wire::Message;
use vatra_model::{Class, EntryHash, LogId, NodeKey, Seq};
use vatra_replica::{Effect, Event, Input};
use vatra_store::Health;

use super::{BAN, Driver, RENEW};
use crate::node::egress::Push;
use crate::node::links::encode;
use crate::node::lives;
use crate::node::local::{LocalError, Receipt};
use crate::node::mailbox::{Source, Urgency, Weight};
use crate::node::projector::Positions;
use crate::node::strays::{headers, signed_header, stray_bytes};
use crate::node::wants::Request;

impl Driver {
    pub(super) fn perform(&mut self, effect: Effect, positions: &Positions) {
        match effect {
            Effect::Persist(_) => {}
            Effect::Send { peer, message } => self.send(peer, &message),
            Effect::Push { peers, class, entries } => self.push(peers, class, entries),
            Effect::Serve { peer, want } => self.owe(peer, want.request, Request::Range(want)),
            Effect::ServeStrays { peer, request, log, items } => {
                self.owe(peer, request, Request::Strays { request, log, items });
            }
            Effect::ServeHeader { peer, log, seq } => {
                let found = self.projector.views.reader.entry(log, Seq(seq));
                let header = found.ok().flatten().and_then(|bytes| signed_header(&bytes));
                self.send(peer, &Message::Header { log, seq, header });
            }
            Effect::Recall { log, from, count_max, stray } => self.look_up(log, (from, count_max), stray),
            Effect::Published { token, log, places } => {
                let Some((call, index)) = self.tokens.remove(&token) else { return };
                let (seq, place) = *places.first().expect("one change was published for each token");
                let result = match positions.get(&(seq, place)) {
                    Some(stored) => Ok(Receipt {
                        record: stored.record,
                        position: stored.position,
                        log,
                        seq,
                        changed: true,
                        created: stored.is_new,
                    }),
                    None => Err(LocalError::NoEffect),
                };
                self.answer(call, index, result);
            }
            Effect::Refused { token } => {
                let Some((call, index)) = self.tokens.remove(&token) else { return };
                let error = match (self.not_admitted(), self.store.health()) {
                    // The charter came between the call and its turn.
                    (Some(error), _) => LocalError::NotAdmitted(error),
                    (None, Health::ReadOnly { reason, .. }) => LocalError::read_only(reason),
                    (None, Health::Writable) => LocalError::StoreReadOnly("the last write failed".into()),
                };
                self.answer(call, index, Err(error));
            }
            Effect::Close { peer, reason } => {
                self.shared.metrics.rejected(&reason);
                tracing::warn!(peer = %peer.short(), %reason, "the link is closed");
                self.banned.insert(peer, Instant::now() + BAN);
                self.trust_changed();
            }
            Effect::TrustChanged => self.trust_changed(),
            Effect::Event(event) => self.note(event),
        }
    }

    /// A peer's request waits for its answer; one too many is told to come again.
    fn owe(&mut self, peer: NodeKey, number: u32, request: Request) {
        if !self.shared.wants.push(peer, request) {
            self.shared.metrics.shed.inc();
            self.send(peer, &Message::Done { request: number, more: true });
        }
    }

    /// Looks through a log's places in the store; the core hears of it in the next round.
    fn look_up(&mut self, log: LogId, (from, count_max): (u64, usize), stray: Option<(u64, EntryHash)>) {
        let reader = &self.projector.views.reader;
        let found = headers(reader, log, from, count_max);
        let found = found.and_then(|headers| {
            let bytes = stray.map(|(seq, hash)| stray_bytes(reader, log, Seq(seq), hash)).transpose()?;
            Ok((headers, bytes.flatten().and_then(|bytes| signed_header(&bytes)).map(Box::new)))
        });
        match found {
            Ok((headers, stray)) => self.recalled.push(Input::Recalled { log, from, count_max, headers, stray }),
            Err(error) => tracing::error!(%log, error = format!("{error:#}"), "a log cannot be looked through"),
        }
    }

    fn send(&mut self, peer: NodeKey, message: &Message) {
        let frame = encode(&mut self.packer, message);
        match self.mesh.send(peer, Lane::Control, frame) {
            Ok(()) | Err(SendError::NoLink) => {}
            // A new link would only say it again.
            Err(error @ SendError::TooLarge { .. }) => {
                self.shared.metrics.unsent.inc();
                tracing::error!(peer = %peer.short(), %error, "a control message was left out");
            }
            Err(error) => {
                // Nothing repairs a lost hello or frontier on a live link, but a new link says all of it again.
                tracing::warn!(peer = %peer.short(), %error, "a control message found no room, so the link is renewed");
                self.banned.insert(peer, Instant::now() + RENEW);
                self.trust_changed();
            }
        }
    }

    fn push(&mut self, peers: Vec<NodeKey>, class: Class, entries: Vec<Arc<vatra_model::CheckedEntry>>) {
        let urgency = match class {
            Class::Flash => Urgency::Control,
            Class::Priority => Urgency::Urgent,
            Class::Routine => Urgency::Local,
            Class::Bulk => Urgency::Bulk,
        };
        let bytes = entries.iter().map(|entry| entry.header().changes_len as usize).sum();
        // What is passed on for one origin must not keep what others wrote waiting.
        let origin = entries.first().and_then(|entry| self.projector.views.origins.get(&entry.header().log));
        let source = origin.map_or(Source::OURS, |origin| Source::of(origin.node));
        let weight = Weight { changes: 1, bytes, source };
        if let Err(push) = self.shared.pushes.try_post(urgency, weight, Push { peers, class, entries }) {
            self.shared.metrics.shed.inc_by(push.entries.len() as u64);
            let now = self.clock.now();
            let mut effects = Vec::new();
            for peer in push.peers {
                self.replica.handle(now, Input::Shed { peer }, &mut effects);
            }
            for effect in effects {
                self.perform(effect, &HashMap::new());
            }
        }
    }

    fn note(&self, event: Event) {
        match event {
            Event::Joined { peer } => tracing::info!(peer = %self.name(&peer), "a peer is linked"),
            Event::Rejected { peer, reject } => {
                self.shared.metrics.rejected(&reject);
                let peer = peer.map(|peer| self.name(&peer));
                tracing::warn!(peer, %reject, "refused");
            }
            Event::Forked { log, seq } => {
                self.shared.metrics.forks.inc();
                let whose = self.shared.views.origins.get(&log).map(|origin| self.name(&origin.node));
                tracing::error!(%log, seq, whose, "a log is forked: its origin, or a copy of it, contradicted itself");
            }
            Event::Damaged { log, seq } => {
                self.shared.metrics.damaged.inc();
                tracing::warn!(%log, seq = seq.0, "an entry is damaged in the store; it is fetched again from peers");
            }
            Event::Mended { log, seq } => {
                self.shared.metrics.mended.inc();
                tracing::info!(%log, seq = seq.0, "a damaged entry was fetched again and put back");
            }
            Event::DoubtDropped { log } => {
                self.shared.metrics.doubts_dropped.inc();
                tracing::debug!(%log, "an entry in doubt was not looked into: enough others wait");
            }
            Event::NewIncarnation { incarnation, why } => tracing::warn!(
                incarnation = lives::shown(incarnation),
                why = lives::reason_of(why),
                "a new incarnation is opened, and what may be missing of the last is fetched back"
            ),
            Event::CharterInstalled { epoch } => tracing::info!(epoch, "a newer charter is in force"),
            Event::ClockSkew { peer, ahead_ms } => {
                tracing::warn!(peer = %self.name(&peer), ahead_ms, "a peer's clock differs from ours");
            }
            Event::FileTaken { new, held } => tracing::debug!(new, held, "entries of a file were taken in"),
            Event::CaughtUp { log, height } => tracing::debug!(%log, height, "caught up"),
        }
    }

    pub(super) fn name(&self, node: &NodeKey) -> String {
        match self.replica.trust().node(node) {
            Some(certificate) => format!("{}/{}", certificate.member, certificate.node),
            None => node.short(),
        }
    }
}
