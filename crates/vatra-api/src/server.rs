//! Accepting connections and speaking HTTP/1.1 on them, with a bound on everything a client may hold.

mod stall;

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use self::stall::StallGuard;
use crate::api::Api;
use crate::limits::{CONNECTION_BUFFER_BYTES, HEADER_BYTES_MAX, HEADERS_MAX};
use crate::service::Service;

/// Pause after a failed accept, such as for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Longest time to tell a client that there is no room.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// What a connection gets for which there is no room.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n\
    Content-Length: 116\r\nRetry-After: 1\r\nConnection: close\r\n\r\n\
    {\"type\":\"urn:vatra:problem:busy\",\"title\":\"Not now\",\"status\":503,\"detail\":\"all places for connections are taken now\"}";

/// Bounds of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Most connections at a time; one more gets 503. Streams need one each.
    pub connections_max: usize,
    /// Longest time for the head of a request, also for an idle connection to ask again.
    pub head_timeout: Duration,
    /// A connection that takes nothing of what waits for it, and sends nothing, for this long is closed. It must be
    /// longer than a stream's `lag_after`, so that a slow reader is told why.
    pub stall_timeout: Duration,
    /// How long open requests may go on after the server was told to stop.
    pub drain_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        ServerConfig {
            connections_max: 4096 + 1024,
            head_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_secs(90),
            drain_timeout: Duration::from_secs(3),
        }
    }
}

/// The server cannot begin.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The listener cannot be used; an operator checks the address.
    #[error("the API's listener cannot be used: {0}")]
    Listener(#[from] io::Error),
}

/// Serves the API on a bound listener until `stop` resolves, then lets open requests end. Streams end at once: their
/// readers come back with their cursors.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve<S: Service>(
    api: Api<S>,
    listener: TcpListener,
    config: ServerConfig,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let service = TowerToHyperService::new(api.router());
    let places = Arc::new(Semaphore::new(config.connections_max));
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let stream = tokio::select! {
            () = &mut stop => break,
            Some(_ended) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _from)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the API could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let metrics = api.shared.metrics.clone();
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            metrics.connections_refused.inc();
            connections.spawn(refuse(stream));
            continue;
        };
        let connection = converse(stream, service.clone(), config, stopped.clone());
        connections.spawn(async move {
            metrics.connections.inc();
            connection.await;
            metrics.connections.dec();
            drop(place);
        });
    }
    drop(listener);
    api.shared.hub.close();
    // Connections hear it as soon as their present request is answered.
    stopping.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(config.drain_timeout, drained).await.is_err() {
        tracing::warn!(open = connections.len(), "requests were broken off at the end of the drain time");
    }
    Ok(())
}

/// One connection to its end.
async fn converse(
    stream: TcpStream,
    service: TowerToHyperService<axum::Router>,
    config: ServerConfig,
    mut stopped: watch::Receiver<bool>,
) {
    // Answers are small and awaited.
    let _best_effort = stream.set_nodelay(true);
    let io = StallGuard::new(TokioIo::new(stream), config.stall_timeout);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.head_timeout)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(CONNECTION_BUFFER_BYTES);
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut is_told = false;
    loop {
        tokio::select! {
            // A client that breaks the protocol or goes away is its own affair.
            _ended = connection.as_mut() => return,
            _changed = stopped.wait_for(|stopped| *stopped), if !is_told => {
                connection.as_mut().graceful_shutdown();
                is_told = true;
            }
        }
    }
}

/// Tells a client that there is no room. What it sent is read, because closing with unread bytes would make its
/// system drop the answer.
async fn refuse(mut stream: TcpStream) {
    let answer = async {
        stream.write_all(NO_ROOM).await?;
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        for _ in 0..HEADER_BYTES_MAX / rest.len() {
            if stream.read(&mut rest).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    let _gone_or_told = tokio::time::timeout(REFUSAL_TIMEOUT, answer).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_has_its_declared_length() {
        let text = std::str::from_utf8(NO_ROOM).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["status"], 503);
    }
}
