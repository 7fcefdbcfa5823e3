//! The tasks of a link: for every channel one that writes our stream and one that reads the peer's.
//!
//! Generic over the byte stream, so that a link may run over another transport. A task ends by reporting why,
//! or by being aborted when the link is closed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Link;
use crate::events::{DownReason, Frame, Inlet, LinkId};
use crate::frame::{
    FRAME_HEADER_BYTES, FrameError, FrameReader, HelloError, check_accept, decode_hello, encode_accept, encode_hello,
    write_frames,
};
use crate::heartbeat::{Beat, TICK, Tick};
use crate::lane::{Channel, Lane};

/// Frames written before a flush.
const BATCH_FRAMES: usize = 64;

/// Bytes of one lane of one link that are received and not yet dropped by the caller, or one frame.
const LANE_RECEIVED_BYTES_MAX: usize = 1 << 20;

/// What a received frame counts for at least: small ones take memory beyond their bytes.
const FRAME_COST_MIN: usize = 1 << 10;

/// Bytes that a heartbeat frame may have; this version sends [`Beat::BYTES`].
const HEARTBEAT_BYTES_MAX: usize = 256;

/// What a task tells the swarm's owner.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) link: LinkId,
    pub(crate) what: Progress,
}

#[derive(Debug)]
pub(crate) enum Progress {
    /// The peer accepted our stream.
    Written(Channel),
    /// We accepted the peer's stream.
    Read(Channel),
    /// The link cannot go on.
    Failed(DownReason),
}

/// Where tasks report. Bounded: a task waits until its report is taken.
pub(crate) type Reports = mpsc::Sender<Report>;

/// Runs a stream that we opened.
pub(crate) async fn run_outbound<S: AsyncRead + AsyncWrite + Unpin>(
    link: Arc<Link>,
    channel: Channel,
    outlet: Option<mpsc::Receiver<Bytes>>,
    stream: S,
    hello_within: Duration,
    reports: Reports,
) {
    let failure = match greet(&link, channel, stream, hello_within).await {
        Ok(stream) => {
            tell(&reports, link.id, Progress::Written(channel)).await;
            match (channel, outlet) {
                (Channel::Lane(lane), Some(outlet)) => write_lane(&link, lane, outlet, stream).await,
                (Channel::Heartbeat, _) => beat(&link, stream).await,
                (Channel::Lane(lane), None) => protocol(format!("lane {lane} was opened twice")),
            }
        }
        Err(failure) => failure,
    };
    tell(&reports, link.id, Progress::Failed(failure)).await;
}

/// Runs a stream that the peer opened. `inlet_of` gives the way to the caller for a lane.
pub(crate) async fn run_inbound<S: AsyncRead + AsyncWrite + Unpin>(
    link: Arc<Link>,
    inlet_of: impl FnOnce(Lane) -> Inlet + Send,
    stream: S,
    frame_bytes_max: usize,
    hello_within: Duration,
    reports: Reports,
) {
    let failure = match welcome(stream, frame_bytes_max, hello_within).await {
        Ok((channel, stream)) => {
            tell(&reports, link.id, Progress::Read(channel)).await;
            match channel {
                Channel::Lane(lane) => read_lane(&link, lane, inlet_of(lane), frame_bytes_max, stream).await,
                Channel::Heartbeat => listen(&link, stream).await,
            }
        }
        Err(failure) => failure,
    };
    tell(&reports, link.id, Progress::Failed(failure)).await;
}

async fn tell(reports: &Reports, link: LinkId, what: Progress) {
    // Nobody listens any more only when the mesh has stopped, and then nobody needs to know.
    let _ = reports.send(Report { link, what }).await;
}

fn protocol(detail: String) -> DownReason {
    DownReason::Protocol { detail }
}

fn lost(detail: &str) -> DownReason {
    DownReason::Lost { detail: detail.to_owned() }
}

fn reason_of(channel: Channel, error: FrameError) -> DownReason {
    match (channel, error) {
        (Channel::Lane(lane), FrameError::TooLarge { length_bytes, bytes_max }) => {
            DownReason::FrameTooLarge { lane, length_bytes, bytes_max }
        }
        (_, error @ FrameError::TooLarge { .. }) => protocol(format!("{channel}: {error}")),
        (_, error @ (FrameError::Truncated | FrameError::Io(_))) => lost(&format!("{channel}: {error}")),
    }
}

fn refusal(error: &HelloError) -> DownReason {
    protocol(error.to_string())
}

/// Sends our hello and waits until it is accepted.
async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    link: &Link,
    channel: Channel,
    mut stream: S,
    within: Duration,
) -> Result<S, DownReason> {
    let exchange = async {
        let hello = Bytes::copy_from_slice(&encode_hello(channel));
        write_frames(&mut stream, &mut Vec::new(), &[hello]).await?;
        FrameReader::new(&mut stream, HEARTBEAT_BYTES_MAX).next().await
    };
    let answer = match timeout(within, exchange).await {
        Ok(Ok(Some(answer))) => answer,
        Ok(Ok(None)) => return Err(lost(&format!("{channel}: the peer dropped the stream"))),
        Ok(Err(error)) => return Err(reason_of(channel, error)),
        Err(_) => return Err(lost(&format!("{channel}: no answer to the hello in {} ms", within.as_millis()))),
    };
    check_accept(&answer, channel).map_err(|error| refusal(&error))?;
    link.count_sent(channel, 1, (encode_hello(channel).len() + FRAME_HEADER_BYTES) as u64);
    Ok(stream)
}

/// Reads the peer's hello and accepts it.
async fn welcome<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    frame_bytes_max: usize,
    within: Duration,
) -> Result<(Channel, FrameReader<S>), DownReason> {
    let mut reader = FrameReader::new(stream, frame_bytes_max);
    let exchange = async {
        let hello = reader.next().await?.ok_or(FrameError::Truncated)?;
        let channel = match decode_hello(&hello) {
            Ok(channel) => channel,
            Err(error) => return Ok(Err(error)),
        };
        reader.answer(&encode_accept(channel)).await?;
        Ok(Ok(channel))
    };
    match timeout(within, exchange).await {
        Ok(Ok(Ok(channel))) => Ok((channel, reader)),
        Ok(Ok(Err(error))) => Err(refusal(&error)),
        Ok(Err(error @ FrameError::TooLarge { .. })) => Err(protocol(format!("hello: {error}"))),
        Ok(Err(error)) => Err(lost(&format!("hello: {error}"))),
        Err(_) => Err(lost(&format!("no hello in {} ms", within.as_millis()))),
    }
}

/// Writes what is queued, as soon as it is, up to [`BATCH_FRAMES`] at a time.
async fn write_lane<S: AsyncWrite + Unpin>(
    link: &Link,
    lane: Lane,
    mut outlet: mpsc::Receiver<Bytes>,
    mut stream: S,
) -> DownReason {
    let mut batch = Vec::with_capacity(BATCH_FRAMES);
    let mut gathered = Vec::new();
    while outlet.recv_many(&mut batch, BATCH_FRAMES).await > 0 {
        if let Err(error) = write_frames(&mut stream, &mut gathered, &batch).await {
            return reason_of(Channel::Lane(lane), error);
        }
        link.written(lane, &batch);
        batch.clear();
    }
    lost("the link was dropped on our side")
}

/// Hands frames to the caller, who holds us back by not taking them; QUIC then holds back the peer.
async fn read_lane<S: AsyncRead + Unpin>(
    link: &Arc<Link>,
    lane: Lane,
    inlet: Inlet,
    frame_bytes_max: usize,
    mut stream: FrameReader<S>,
) -> DownReason {
    link.until_started().await;
    let own = Arc::new(Semaphore::new(LANE_RECEIVED_BYTES_MAX.max(frame_bytes_max).min(Semaphore::MAX_PERMITS)));
    loop {
        let bytes = match stream.next().await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return lost(&format!("the peer closed lane {lane}")),
            Err(error) => return reason_of(Channel::Lane(lane), error),
        };
        link.count_received(Channel::Lane(lane), bytes.len());
        let cost = bytes.len().max(FRAME_COST_MIN.min(frame_bytes_max));
        let cost = u32::try_from(cost).expect("a frame's length is a u32 on the wire");
        // Its own room first, so that one peer never takes that of all.
        let Ok(own) = own.clone().acquire_many_owned(cost).await else {
            return DownReason::Shutdown;
        };
        let Ok(all) = inlet.budget.clone().acquire_many_owned(cost).await else {
            return DownReason::Shutdown;
        };
        let frame = Frame { node: link.node, link: link.id, lane, bytes, source: link.clone(), _budget: [own, all] };
        if inlet.frames.send(frame).await.is_err() {
            return DownReason::Shutdown;
        }
    }
}

/// Sends our heartbeat and watches for the peer's silence. The watch goes on while a beat cannot be written.
async fn beat<S: AsyncWrite + Unpin>(link: &Link, mut stream: S) -> DownReason {
    let (due, mut outlet) = mpsc::channel::<Bytes>(1);
    let watch = async {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match link.with_heartbeat(|heartbeat| heartbeat.tick(Instant::now())) {
                Tick::Wait => {}
                Tick::Silent(silence) => return DownReason::Silent { silence },
                // A beat that finds the one before it still unwritten is of no use.
                Tick::Send(beat) => drop(due.try_send(Bytes::copy_from_slice(&beat.encode()))),
            }
        }
    };
    let write = async {
        let mut gathered = Vec::new();
        while let Some(beat) = outlet.recv().await {
            if let Err(error) = write_frames(&mut stream, &mut gathered, &[beat]).await {
                return reason_of(Channel::Heartbeat, error);
            }
            link.count_sent(Channel::Heartbeat, 1, (Beat::BYTES + FRAME_HEADER_BYTES) as u64);
        }
        lost("the heartbeat stopped on our side")
    };
    tokio::select! {
        reason = watch => reason,
        reason = write => reason,
    }
}

/// Takes in the peer's heartbeat.
async fn listen<S: AsyncRead + Unpin>(link: &Link, mut stream: FrameReader<S>) -> DownReason {
    loop {
        let bytes = match stream.next().await {
            Ok(Some(bytes)) if bytes.len() <= HEARTBEAT_BYTES_MAX => bytes,
            Ok(Some(bytes)) => return protocol(format!("a heartbeat of {} bytes", bytes.len())),
            Ok(None) => return lost("the peer closed the heartbeat"),
            Err(error) => return reason_of(Channel::Heartbeat, error),
        };
        let Some(beat) = Beat::decode(&bytes) else {
            return protocol(format!("a heartbeat of {} bytes", bytes.len()));
        };
        link.count_received(Channel::Heartbeat, bytes.len());
        link.with_heartbeat(|heartbeat| heartbeat.heard(Instant::now(), beat));
    }
}
