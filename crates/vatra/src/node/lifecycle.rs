//! News of links and control frames, in order: a link's hello must not overtake the news that it is up.

use std::sync::Arc;
use std::time::Duration;

use vatra_mesh::{Frame, Frames, LinkEvent, LinkEvents, Mesh};
use vatra_model::NodeKey;
use vatra_replica::{Cost, Input};

use crate::node::clock::wall;
use crate::node::driver::Item;
use crate::node::ingest::Ingest;
use crate::node::links::{Ended, Links};
use crate::node::mailbox::{Mailbox, Source, Urgency, Weight};

/// Time between reports of round trips to the core.
const ROUND_TRIPS_EVERY: Duration = Duration::from_secs(1);
/// Time between tries to hand something to a driver that is behind.
const RETRY: Duration = Duration::from_millis(1);

/// Hands link news and control frames to the driver until the mesh stops.
pub(crate) async fn run(
    mut news: LinkEvents,
    mut control: Frames,
    mut ingest: Ingest,
    mailbox: Arc<Mailbox<Item>>,
    links: Arc<Links>,
    cost: Cost,
) {
    loop {
        tokio::select! {
            biased;
            event = news.recv() => match event {
                Some(event) => take_news(event, &mailbox, &links, cost).await,
                None => return,
            },
            frame = control.recv() => match frame {
                Some(frame) => take_control(frame, &mut ingest, &mailbox).await,
                None => return,
            },
        }
    }
}

async fn take_news(event: LinkEvent, mailbox: &Mailbox<Item>, links: &Links, cost: Cost) {
    match event {
        LinkEvent::Up { node, link, remote, dialed_by_us } => {
            tracing::info!(peer = %node.short(), %remote, dialed_by_us, "link up");
            links.up(node, link);
            post(mailbox, node, Item::LinkUp { node, link, cost }).await;
        }
        LinkEvent::Down { node, link, reason } => {
            tracing::info!(peer = %node.short(), %reason, "link down");
            links.note_end(node, Ended { at: wall(), reason: reason.to_string() });
            post(mailbox, node, Item::LinkDown { node, link }).await;
        }
        LinkEvent::Refused { node, remote, reason, count } => {
            tracing::warn!(peer = %node, %remote, %reason, count, "a connection was refused");
            links.note_refusal(node, Ended { at: wall(), reason: format!("refused: {reason}") });
        }
    }
}

async fn take_control(frame: Frame, ingest: &mut Ingest, mailbox: &Mailbox<Item>) {
    let node = frame.node;
    for (_, item) in ingest.check(frame) {
        post(mailbox, node, item).await;
    }
}

/// Waits for room without holding a thread. All news of one peer is of one source, so that it stays in order.
async fn post(mailbox: &Mailbox<Item>, node: NodeKey, item: Item) {
    let mut item = item;
    while let Err(back) = mailbox.try_post(Urgency::Control, Weight::small(Source::of(node)), item) {
        if mailbox.is_closed() {
            return;
        }
        item = back;
        tokio::time::sleep(RETRY).await;
    }
}

/// Reports measured round trips to the core.
pub(crate) async fn report_round_trips(mesh: Mesh, mailbox: Arc<Mailbox<Item>>) {
    let mut ticks = tokio::time::interval(ROUND_TRIPS_EVERY);
    loop {
        ticks.tick().await;
        for link in mesh.links() {
            let Some(rtt) = link.rtt else { continue };
            let rtt_ms = u32::try_from(rtt.as_millis()).unwrap_or(u32::MAX);
            post(&mailbox, link.node, Item::Core(Input::RoundTrip { peer: link.node, rtt_ms })).await;
        }
        if mailbox.is_closed() {
            return;
        }
    }
}
