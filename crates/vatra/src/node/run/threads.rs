//! The threads and tasks of a node, and the alarm when one of them ends.

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use tokio::sync::watch;
use vatra_mesh::{Mesh, MeshEvents};
use vatra_replica::Cost;

use crate::node::driver::{Driver, Shared};
use crate::node::egress::Egress;
use crate::node::ingest::Ingest;
use crate::node::lifecycle;
use crate::node::metrics::Metrics;

/// Threads that answer requests: one reads the store while another packs.
const ANSWER_THREADS: usize = 2;

/// Reports that a part of the node has ended by a panic, or at all if it must never end by itself. A node lives
/// with all of its parts or stops.
struct Alarm {
    part: &'static str,
    metrics: Arc<Metrics>,
    faults: watch::Sender<Option<&'static str>>,
    must_not_end: bool,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let has_panicked = std::thread::panicking();
        if has_panicked {
            self.metrics.panics.inc();
        }
        if has_panicked || self.must_not_end {
            self.faults.send_replace(Some(self.part));
        }
    }
}

pub(super) fn start_threads(
    shared: &Arc<Shared>,
    mesh: &Mesh,
    events: MeshEvents,
    (cost, origin_rate): (Cost, u32),
    driver: Driver,
    faults: &watch::Sender<Option<&'static str>>,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let ingest = || {
        let (mailbox, trust) = (shared.mailbox.clone(), shared.trust.clone());
        Ingest::new(mailbox, trust, shared.links.clone(), shared.metrics.clone(), origin_rate)
    };
    let egress = || Egress {
        mesh: mesh.clone(),
        links: shared.links.clone(),
        origins: shared.views.origins.clone(),
        mailbox: shared.mailbox.clone(),
        metrics: shared.metrics.clone(),
    };
    let alarm = |part: &'static str, must_not_end: bool| Alarm {
        part,
        metrics: shared.metrics.clone(),
        faults: faults.clone(),
        must_not_end,
    };
    let MeshEvents { links: news, control, urgent, bulk, .. } = events;
    let (news_alarm, trips_alarm) = (alarm("the task of link news", false), alarm("the task of round trips", false));
    let news = lifecycle::run(news, control, ingest(), shared.mailbox.clone(), shared.links.clone(), cost);
    tokio::spawn(async move {
        let _alarm = news_alarm;
        news.await;
    });
    let round_trips = lifecycle::report_round_trips(mesh.clone(), shared.mailbox.clone());
    tokio::spawn(async move {
        let _alarm = trips_alarm;
        round_trips.await;
    });
    let (pushes, wants, reader) = (shared.pushes.clone(), shared.wants.clone(), shared.views.reader.clone());
    let (ingest_urgent, ingest_bulk, pusher) = (ingest(), ingest(), egress());
    let mut threads = vec![
        spawn(alarm("vatra-driver", true), move || driver.run())?,
        spawn(alarm("vatra-urgent", false), move || ingest_urgent.run(urgent))?,
        spawn(alarm("vatra-bulk", false), move || ingest_bulk.run(bulk))?,
        spawn(alarm("vatra-push", false), move || pusher.run_pushes(&pushes))?,
    ];
    let (scrub, stored) = (shared.scrub.clone(), reader.clone());
    threads.push(spawn(alarm("vatra-scrub", false), move || scrub.run(&stored))?);
    for _ in 0..ANSWER_THREADS {
        let (answerer, wants, reader) = (egress(), wants.clone(), reader.clone());
        threads.push(spawn(alarm("vatra-answer", false), move || answerer.run_answers(&wants, &reader))?);
    }
    Ok(threads)
}

fn spawn(alarm: Alarm, work: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
    let name = alarm.part;
    let builder = std::thread::Builder::new().name(name.to_owned());
    let work = move || {
        let _alarm = alarm;
        work();
    };
    builder.spawn(work).with_context(|| format!("thread {name} could not be started"))
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    fn ends_with(part: &'static str, must_not_end: bool, work: impl FnOnce() + Send + 'static) -> (bool, u64) {
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let (faults, faulty) = watch::channel(None);
        let alarm = Alarm { part, metrics: metrics.clone(), faults, must_not_end };
        // How it ended is what the alarm tells.
        let _ = spawn(alarm, work).expect("a thread").join();
        (*faulty.borrow() == Some(part), metrics.panics.get())
    }

    #[test]
    fn a_part_that_dies_is_reported() {
        assert_eq!(ends_with("checking", false, || ()), (false, 0));
        assert_eq!(ends_with("checking", false, || panic!("a test asked for it")), (true, 1));
        assert_eq!(ends_with("driving", true, || ()), (true, 0), "the driver never ends by itself");
    }
}
