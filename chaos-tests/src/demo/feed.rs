//! A stream of alerts at every node, as duty officers and sensors would write them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use crate::corpus::Corpus;
use crate::lab::{Client, Lab};

/// Each node publishes that often.
const EVERY: Duration = Duration::from_millis(150);
/// Distance between the numbers of two nodes' alerts.
const NUMBERS_PER_NODE: u64 = 100_000;

/// An alert that a node has acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Fed {
    /// Which node.
    pub(super) node: usize,
    /// The alert.
    pub(super) id: String,
    /// From the request to the acknowledgement.
    pub(super) took: Duration,
}

/// Publishes at all nodes until it is stopped.
pub(super) struct Feed {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<anyhow::Result<Vec<Fed>>>>,
}

impl Feed {
    pub(super) fn start(lab: &Lab, corpus: &Corpus, first_number: u64) -> anyhow::Result<Feed> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::with_capacity(lab.len());
        for (index, node) in lab.nodes().iter().enumerate() {
            let (client, corpus, stop) = (node.client().clone(), corpus.clone(), Arc::clone(&stop));
            let first = first_number + NUMBERS_PER_NODE * index as u64;
            let thread = std::thread::Builder::new().name(format!("feed {}", node.name()));
            threads.push(thread.spawn(move || publish(&client, &corpus, index, first, &stop))?);
        }
        Ok(Feed { stop, threads })
    }

    /// Stops and gives what was acknowledged; the first refusal is an error.
    pub(super) fn stop(mut self) -> anyhow::Result<Vec<Fed>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut fed = Vec::new();
        for thread in self.threads.drain(..) {
            fed.extend(thread.join().map_err(|_| anyhow!("a feeding thread panicked"))??);
        }
        Ok(fed)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn publish(client: &Client, corpus: &Corpus, node: usize, first: u64, stop: &AtomicBool) -> anyhow::Result<Vec<Fed>> {
    let mut fed = Vec::new();
    let begin = Instant::now();
    for number in 0u32.. {
        let due = begin + EVERY * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let sent = Instant::now();
        let published = client.publish(&corpus.alert(first + u64::from(number)));
        let published = published.with_context(|| format!("publish at {}", client.url()))?;
        fed.push(Fed { node, id: published.id, took: sent.elapsed() });
    }
    Ok(fed)
}
