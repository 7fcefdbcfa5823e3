//! The polite end: sends what is queued, then closes everything, in under a second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use vatra_model::NodeKey;

use super::Owner;
use crate::events::DownReason;

/// Parts of the farewell: sending what is queued, letting it arrive, closing. Together under a second.
const DRAIN_WITHIN: Duration = Duration::from_millis(400);
const ARRIVE_WITHIN: Duration = Duration::from_millis(150);
const CLOSE_WITHIN: Duration = Duration::from_millis(300);

impl Owner {
    /// Sends what is queued, then closes everything.
    pub(super) async fn farewell(&mut self) {
        let links = self.shared.links();
        self.shared.remove_all_links();
        self.dialer.plan(Instant::now(), BTreeMap::new(), &BTreeMap::new());
        let until = Instant::now() + DRAIN_WITHIN;
        while links.values().any(|link| !link.is_drained()) && Instant::now() < until {
            self.turn_swarm(Duration::from_millis(5)).await;
        }
        let rtt_max = links.values().filter_map(|link| link.info().rtt).max().unwrap_or_default();
        let arrived = Instant::now() + (rtt_max * 2).clamp(Duration::from_millis(20), ARRIVE_WITHIN);
        while !links.is_empty() && Instant::now() < arrived {
            self.turn_swarm(Duration::from_millis(5)).await;
        }
        let nodes: Vec<NodeKey> = self.held.values().map(|held| held.link.node).collect();
        for node in nodes {
            let steps = self.choice.end_node(node, &DownReason::Shutdown);
            self.follow(steps);
        }
        let until = Instant::now() + CLOSE_WITHIN;
        while !self.held.is_empty() && Instant::now() < until {
            self.turn_swarm(Duration::from_millis(5)).await;
        }
        for announcement in self.announcements.drain(..) {
            // A caller that has left the queue full or is gone misses the last events of a mesh it has stopped.
            let _ = self.senders.links.try_send(announcement);
        }
    }

    /// Takes in events for a while.
    async fn turn_swarm(&mut self, time: Duration) {
        tokio::select! {
            event = self.swarm.select_next_some() => self.on_swarm_event(event),
            Some(report) = self.reports.recv() => self.on_report(report),
            () = tokio::time::sleep(time) => {}
        }
    }
}
