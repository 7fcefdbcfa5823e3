//! Answers that wait for their caller: many, because the caller may read late, but bounded in bytes.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use bytes::Bytes;
use futures::Stream;
use futures::stream::unfold;
use tokio::sync::mpsc;

use crate::limits::{BULK_ANSWER_BYTES_MAX, BULK_LINES_MAX};
use crate::problem::Problem;

/// Pieces that may wait: each has at least one line, and one more tells why the rest was not read.
const PIECES_MAX: usize = BULK_LINES_MAX as usize + 1;

/// The node's end.
#[derive(Debug)]
pub(super) struct AnswerSender {
    pieces: mpsc::Sender<Bytes>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// A queue of answers and the stream that the caller reads.
pub(super) fn answer_queue() -> (AnswerSender, impl Stream<Item = Result<Bytes, Infallible>>) {
    let (pieces, receiver) = mpsc::channel(PIECES_MAX);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let sender = AnswerSender { pieces, waiting_bytes: Arc::clone(&waiting_bytes) };
    let stream = unfold((receiver, waiting_bytes), async |(mut receiver, waiting_bytes)| {
        let piece: Bytes = receiver.recv().await?;
        waiting_bytes.fetch_sub(piece.len(), Ordering::AcqRel);
        Some((Ok(piece), (receiver, waiting_bytes)))
    });
    (sender, stream)
}

impl AnswerSender {
    /// Adds a piece. It is kept in any case; the problem says why no more lines should be taken.
    pub(super) fn push(&self, piece: Bytes) -> Result<(), Problem> {
        let waiting = self.waiting_bytes.fetch_add(piece.len(), Ordering::AcqRel) + piece.len();
        if self.pieces.try_send(piece).is_err() {
            let detail = "the caller went away; this line and the rest were not read";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "gone", "The caller is gone", detail));
        }
        if waiting > BULK_ANSWER_BYTES_MAX {
            let detail = format!("{waiting} bytes of answers wait; this line and the rest were not read");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too many answers wait", detail)
                .with_limit(BULK_ANSWER_BYTES_MAX as u64)
                .with_remedy("read answers while sending, or send fewer lines at once"));
        }
        Ok(())
    }

    /// Adds the piece after which nothing comes.
    pub(super) fn push_last(&self, piece: Vec<u8>) {
        self.waiting_bytes.fetch_add(piece.len(), Ordering::AcqRel);
        // Nobody is left to be told.
        let _gone = self.pieces.try_send(piece.into());
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_caller_that_does_not_read_is_bounded_and_told() {
        let (sender, queue) = answer_queue();
        let piece = Bytes::from(vec![0; 1024 * 1024]);
        let taken = (0..100).take_while(|_| sender.push(piece.clone()).is_ok()).count();
        assert_eq!(taken, BULK_ANSWER_BYTES_MAX / piece.len());
        sender.push_last(b"why".to_vec());
        drop(sender);
        let pieces: Vec<_> = queue.collect().await;
        assert_eq!(pieces.len(), taken + 2, "the piece that crossed the bound is kept, too");
        assert_eq!(pieces.last().unwrap().as_ref().unwrap(), &Bytes::from_static(b"why"));
    }

    #[tokio::test]
    async fn a_caller_that_reads_is_never_bounded() {
        let (sender, queue) = answer_queue();
        let mut queue = std::pin::pin!(queue);
        for _ in 0..100 {
            sender.push(Bytes::from(vec![0; 1024 * 1024])).unwrap();
            queue.next().await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_caller_that_is_gone_ends_the_reading() {
        let (sender, queue) = answer_queue();
        drop(queue);
        assert!(sender.push(Bytes::from_static(b"x")).is_err());
    }
}
