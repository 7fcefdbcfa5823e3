//! The bulk route: alerts as NDJSON in, one answer per line out, both streamed.
//!
//! Lines are handed to the node in groups, several at a time, and answered in order. Reading never waits for the
//! caller to take answers: a caller that sends everything before it reads gets everything afterwards. What bounds
//! memory instead is the number of lines of a request and the bytes of answers that wait.

mod answers;
mod lines;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use http_body_util::BodyExt;
use vatra_model::draft::AlertDraft;

use self::answers::{AnswerSender, answer_queue};
use self::lines::{Line, Splitter};
use crate::alerts::idempotency_key;
use crate::api::{Api, Call};
use crate::auth::Caller;
use crate::body::{is_deeper, refuse_declared_length, refuse_encoding, require_type};
use crate::limits::{
    BULK_BODY_BYTES_MAX, BULK_GROUP_BYTES_MAX, BULK_GROUP_LINES, BULK_GROUPS_IN_FLIGHT, BULK_LINE_BYTES_MAX,
    BULK_LINES_MAX, JSON_DEPTH_MAX,
};
use crate::problem::Problem;
use crate::service::{NewAlert, Service, idempotent_nonce};

const TYPES: &[&str] = &["application/x-ndjson", "application/ndjson", "application/jsonl"];

pub(crate) fn create<S: Service>(mut call: Call<S>) -> Result<Response, Problem> {
    call.no_parameters()?;
    let headers = call.request.headers();
    require_type(headers, TYPES)?;
    refuse_encoding(headers)?;
    refuse_declared_length(&call.request, BULK_BODY_BYTES_MAX)?;
    let key = idempotency_key(headers)?.map(Arc::from);
    let places = Arc::clone(&call.api.shared.bulk_places);
    let Ok(place) = places.try_acquire_owned() else {
        let max = call.api.shared.config.bulk_max;
        return Err(Problem::busy(format!("{max} bulk requests are under way")).with_limit(max as u64));
    };
    let (answers, queue) = answer_queue();
    let body = std::mem::take(call.request.body_mut());
    let intake = Intake {
        timeout: call.api.shared.config.body_timeout,
        sender: Sender { api: call.api, caller: call.caller, key },
        body,
        answers,
        splitter: Splitter::new(BULK_LINE_BYTES_MAX),
        body_bytes: 0,
        group: Group::default(),
        in_flight: FuturesOrdered::new(),
        state: State::Reading,
    };
    tokio::spawn(async move {
        intake.run().await;
        drop(place);
    });
    let mut response = Response::new(Body::from_stream(queue));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Lines on their way to the node.
#[derive(Debug, Default)]
struct Group {
    lines: Vec<(u64, Line)>,
    bytes: usize,
}

impl Group {
    fn is_full(&self) -> bool {
        self.lines.len() >= BULK_GROUP_LINES || self.bytes >= BULK_GROUP_BYTES_MAX
    }

    fn push(&mut self, number: u64, line: Line) {
        if let Line::Whole(bytes) = &line {
            self.bytes += bytes.len();
        }
        self.lines.push((number, line));
    }
}

/// Where the reading of a body stands.
#[derive(Debug)]
enum State {
    /// Lines are taken.
    Reading,
    /// The rest is read and dropped, so that a caller that only sends comes to its end; then the problem is told
    /// under the number of a line.
    Dropping(u64, Problem),
    /// The body is over.
    Ended(Option<(u64, Problem)>),
}

/// One request at work.
struct Intake<S> {
    sender: Sender<S>,
    body: Body,
    timeout: Duration,
    answers: AnswerSender,
    splitter: Splitter,
    body_bytes: u64,
    group: Group,
    /// Answers of groups, in the order of their lines.
    in_flight: FuturesOrdered<BoxFuture<'static, Bytes>>,
    state: State,
}

impl<S: Service> Intake<S> {
    async fn run(mut self) {
        loop {
            self.fill_group();
            let may_launch = self.in_flight.len() < BULK_GROUPS_IN_FLIGHT;
            // A group that is not full waits for more lines only while the node is busy with others anyway.
            let is_due = self.group.is_full() || self.in_flight.is_empty() || matches!(self.state, State::Ended(_));
            if !self.group.lines.is_empty() && is_due && may_launch {
                let group = std::mem::take(&mut self.group);
                self.in_flight.push_back(self.sender.launch(group));
                continue;
            }
            let is_over = matches!(self.state, State::Ended(_));
            if is_over && self.in_flight.is_empty() && self.group.lines.is_empty() {
                break;
            }
            tokio::select! {
                Some(answer) = self.in_flight.next(), if !self.in_flight.is_empty() => self.tell(answer),
                frame = tokio::time::timeout(self.timeout, self.body.frame()), if !is_over && !self.group.is_full() => {
                    self.take(frame.ok());
                }
            }
        }
        if let State::Ended(Some((line, problem))) = &self.state {
            self.sender.api.shared.metrics.bulk_lines_refused.inc();
            self.answers.push_last(refused_line(*line, problem));
        }
    }

    /// Moves whole lines into the group.
    fn fill_group(&mut self) {
        while !self.group.is_full() {
            if matches!(self.state, State::Dropping(..) | State::Ended(Some(_))) {
                return self.splitter.clear();
            }
            let Some((number, line)) = self.splitter.next_line() else { return };
            if number > BULK_LINES_MAX {
                let detail =
                    format!("a request has at most {BULK_LINES_MAX} lines; this one and the rest were not read");
                self.drop_rest(number, too_much(detail, BULK_LINES_MAX));
                return;
            }
            if !line.is_blank() {
                self.group.push(number, line);
            }
        }
    }

    /// Takes what came of the body; `None` when nothing came for too long.
    fn take(&mut self, frame: Option<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>>) {
        let next_line = self.splitter.next_number();
        match frame {
            Some(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { return };
                self.body_bytes += data.len() as u64;
                if self.body_bytes > BULK_BODY_BYTES_MAX {
                    let detail = format!("a request has at most {BULK_BODY_BYTES_MAX} bytes; the rest was not read");
                    self.state = State::Ended(Some((next_line, too_much(detail, BULK_BODY_BYTES_MAX))));
                } else if matches!(self.state, State::Reading) {
                    self.splitter.feed(&data);
                }
            }
            Some(None) => {
                self.splitter.end();
                self.state = match std::mem::replace(&mut self.state, State::Ended(None)) {
                    State::Dropping(line, problem) => State::Ended(Some((line, problem))),
                    _ => State::Ended(None),
                };
            }
            Some(Some(Err(_broken))) => {
                let problem = Problem::bad_request("the body broke off in or before this line");
                self.state = State::Ended(Some((next_line, problem)));
            }
            None => {
                let detail = format!("nothing came for {} s", self.timeout.as_secs());
                let problem = Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "Too slow", detail);
                self.state = State::Ended(Some((next_line, problem)));
            }
        }
    }

    fn tell(&mut self, answer: Bytes) {
        if let Err(full) = self.answers.push(answer) {
            let line = self.group.lines.first().map_or(self.splitter.next_number(), |(number, _)| *number);
            self.group = Group::default();
            self.drop_rest(line, full);
        }
    }

    fn drop_rest(&mut self, line: u64, problem: Problem) {
        self.splitter.clear();
        self.state = match std::mem::replace(&mut self.state, State::Ended(None)) {
            State::Reading => State::Dropping(line, problem),
            State::Dropping(line, problem) => State::Dropping(line, problem),
            State::Ended(earlier) => State::Ended(earlier.or(Some((line, problem)))),
        };
    }
}

/// What hands groups to the node.
struct Sender<S> {
    api: Api<S>,
    caller: Caller,
    key: Option<Arc<str>>,
}

impl<S: Service> Sender<S> {
    /// Begins the work on a group on a task of its own, so that both processors parse.
    fn launch(&self, group: Group) -> BoxFuture<'static, Bytes> {
        let numbers: Vec<u64> = group.lines.iter().map(|(number, _)| *number).collect();
        let (api, caller, key) = (self.api.clone(), self.caller.clone(), self.key.clone());
        let metrics = api.shared.metrics.clone();
        let task = tokio::spawn(async move { publish(&api, &caller, key.as_deref(), group).await });
        Box::pin(async move {
            task.await.unwrap_or_else(|_panic| {
                metrics.panics.inc();
                let fault = Problem::fault("the line or one sent with it met a fault of this program");
                numbers.iter().flat_map(|number| refused_line(*number, &fault)).collect()
            })
        })
    }
}

/// Parses a group, hands the good lines to the node, and gives the answers in order.
async fn publish<S: Service>(api: &Api<S>, caller: &Caller, key: Option<&str>, group: Group) -> Bytes {
    let mut outcomes: Vec<(u64, Option<Problem>)> = Vec::with_capacity(group.lines.len());
    let mut alerts = Vec::with_capacity(group.lines.len());
    for (number, line) in group.lines {
        match read_line(&line) {
            Ok(draft) => {
                let nonce = key.map(|key| idempotent_nonce(caller, key, number));
                alerts.push(NewAlert { draft, nonce });
                outcomes.push((number, None));
            }
            Err(problem) => outcomes.push((number, Some(problem))),
        }
    }
    let receipts = if alerts.is_empty() { Vec::new() } else { api.shared.service.create_alerts(caller, alerts).await };
    let mut receipts = receipts.into_iter();
    let mut text = Vec::with_capacity(outcomes.len() * 80);
    let metrics = &api.shared.metrics;
    for (number, problem) in outcomes {
        let outcome = match problem {
            Some(problem) => Err(problem),
            None => match receipts.next() {
                Some(receipt) => receipt.map_err(Problem::from),
                None => Err(Problem::fault("the node gave no answer")),
            },
        };
        match outcome {
            Ok(receipt) => {
                metrics.bulk_lines.inc();
                let (id, created) = (receipt.id, receipt.created);
                text.extend_from_slice(
                    format!("{{\"line\":{number},\"id\":\"{id}\",\"created\":{created}}}\n").as_bytes(),
                );
            }
            Err(problem) => {
                metrics.bulk_lines_refused.inc();
                text.extend_from_slice(&refused_line(number, &problem));
            }
        }
    }
    text.into()
}

fn read_line(line: &Line) -> Result<AlertDraft, Problem> {
    match line {
        Line::Whole(bytes) if is_deeper(bytes, JSON_DEPTH_MAX) => {
            let detail = format!("the line nests objects and lists deeper than {JSON_DEPTH_MAX}");
            Err(Problem::bad_request(detail).with_limit(JSON_DEPTH_MAX as u64))
        }
        Line::Whole(bytes) => Ok(AlertDraft::from_json(bytes)?),
        Line::TooLong => Err(Problem::too_large("the line", BULK_LINE_BYTES_MAX as u64)),
    }
}

fn refused_line(number: u64, problem: &Problem) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Refused<'a> {
        line: u64,
        problem: &'a Problem,
    }
    let refused = Refused { line: number, problem };
    let mut text = serde_json::to_vec(&refused).expect("a problem has text keys and memory does not fail");
    text.push(b'\n');
    text
}

fn too_much(detail: String, limit: u64) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large", detail)
        .with_limit(limit)
        .with_remedy("send the rest in another request")
}
