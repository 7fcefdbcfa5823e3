//! Routes of bundles: entries as a file, out and in, both streamed. Here they are bytes; what they say, the node
//! knows.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::stream;
use http_body_util::BodyExt;
use serde::{Serialize, Serializer};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use vatra_model::{MemberCode, NodeKey, WallMs};

use crate::api::{Api, Call};
use crate::auth::Caller;
use crate::body::{refuse_declared_length, refuse_encoding, require_type};
use crate::limits::BUNDLE_PIECES_WAITING;
use crate::problem::Problem;
use crate::refusal::{Refusal, RefusalKind};
use crate::service::Service;

/// Media type of a bundle.
pub(crate) const BUNDLE_TYPE: &str = "application/vnd.vatra.bundle";
/// Media type of a receipt or frontier file.
pub(crate) const RECEIPT_TYPE: &str = "application/vnd.vatra.receipt";
/// Header of an export that says how many entries it has at most.
pub(crate) const ENTRIES_HEADER: &str = "vatra-bundle-entries";
/// What bounds a bundle, and what to do about it.
const LIMIT_FIELD: &str = "limits.bundle_mib";
const LIMIT_REMEDY: &str = "raise limits.bundle_mib in the importing node's node.toml and restart it, or let the other side export less at once \
     with --since or --for";
/// Time between two lines of progress; also tells the caller that the node is alive.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// A piece of a file on its way, or why there is no more.
pub type BundlePiece = Result<Bytes, Refusal>;

/// What to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BundleOrder {
    /// Leave out what this receipt or frontier file covers.
    pub since: Option<Bytes>,
    /// Leave out what every node of this member is known to hold.
    pub receiver: Option<MemberCode>,
}

/// A bundle being written. It is whole only if its pieces end without a refusal.
#[derive(Debug)]
pub struct BundleDownload {
    /// Entries in it at most.
    pub entries_max: u64,
    /// Its bytes.
    pub pieces: mpsc::Receiver<BundlePiece>,
}

/// A bundle being sent. The pieces end when all came, or with a refusal.
#[derive(Debug)]
pub struct BundleUpload {
    /// Its bytes.
    pub pieces: mpsc::Receiver<BundlePiece>,
}

/// Where the node tells how far it is with an import; the caller sees the latest.
pub type BundleProgress = watch::Sender<Option<BundleStep>>;

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BundleStep {
    /// What is being done.
    pub stage: BundleStage,
    /// How much of it is done, in bytes.
    pub done: u64,
    /// How much there is, in bytes; 0 while it is not known.
    pub total: u64,
}

/// A part of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BundleStage {
    /// The file comes in.
    Receive,
    /// All of it is checked; nothing is applied yet.
    Check,
    /// It is applied.
    Apply,
}

/// What became of a bundle.
#[derive(Clone, Debug, Serialize)]
pub struct BundleIntake {
    /// The bundle's name, hexadecimal.
    pub bundle: String,
    /// Who made it.
    pub maker: BundleMaker,
    /// When it was made, by its maker's clock.
    pub created: WallMs,
    /// Epoch of the charter in force after the import.
    pub charter_epoch: u64,
    /// Whether the bundle brought a newer charter.
    pub charter_advanced: bool,
    /// Entries in it.
    pub entries: u64,
    /// Those that were new.
    pub new: u64,
    /// Those that were held already.
    pub held: u64,
    /// Those that were refused.
    pub refused: u64,
    /// Why.
    pub reasons: Vec<BundleReason>,
    /// The receipt to carry back: a file.
    #[serde(serialize_with = "base64")]
    pub receipt: Vec<u8>,
}

/// The node that made a bundle.
#[derive(Clone, Debug, Serialize)]
pub struct BundleMaker {
    /// Its member.
    pub member: MemberCode,
    /// Its name.
    pub name: String,
    /// Its key.
    pub node: NodeKey,
}

/// Why entries were refused.
#[derive(Clone, Debug, Serialize)]
pub struct BundleReason {
    /// Short name of the reason, as in the metric `vatra_rejects`.
    pub reason: String,
    /// How many.
    pub entries: u64,
    /// One of them, in words.
    pub example: String,
}

fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

pub(crate) async fn export<S: Service>(mut call: Call<S>) -> Result<Response, Problem> {
    let mut parameters = call.parameters()?;
    let receiver = parameters.take("for")?;
    parameters.finish(&["for"])?;
    let wrong = |error: vatra_model::ids::ParseIdError| Problem::parameter("for", error.to_string());
    let receiver = receiver.map(|code| code.parse().map_err(wrong)).transpose()?;
    let body = call.raw_body().await?;
    if !body.is_empty() {
        require_type(call.request.headers(), &[RECEIPT_TYPE])?;
        if receiver.is_some() {
            return Err(Problem::parameter("for", "for and a receipt cannot be given together"));
        }
    }
    let place = take_place(&call)?;
    let order = BundleOrder { since: (!body.is_empty()).then_some(body), receiver };
    let download = call.service().export_bundle(&call.caller, order).await?;
    tracing::info!(caller = call.caller.name(), entries_max = download.entries_max, "a bundle is written");
    let pieces = stream::unfold((download.pieces, place), async |(mut pieces, place)| {
        let piece: BundlePiece = pieces.recv().await?;
        Some((piece, (pieces, place)))
    });
    let mut response = answer(Body::from_stream(pieces), BUNDLE_TYPE);
    response.headers_mut().insert(HeaderName::from_static(ENTRIES_HEADER), download.entries_max.into());
    Ok(response)
}

pub(crate) async fn import<S: Service>(mut call: Call<S>) -> Result<Response, Problem> {
    call.no_parameters()?;
    let bytes_max = call.api.shared.config.bundle_bytes_max;
    let headers = call.request.headers();
    require_type(headers, &[BUNDLE_TYPE])?;
    refuse_encoding(headers)?;
    refuse_declared_length(&call.request, bytes_max)
        .map_err(|problem| problem.with_field(LIMIT_FIELD).with_remedy(LIMIT_REMEDY))?;
    let place = take_place(&call)?;
    let body = std::mem::take(call.request.body_mut());
    let (api, caller) = (call.api, call.caller);
    let (sender, pieces) = mpsc::channel(BUNDLE_PIECES_WAITING);
    let (begun, has_begun) = oneshot::channel();
    tokio::spawn(receive(body, sender, begun, bytes_max, api.shared.config.body_timeout));
    // A caller that waits to be told to go on takes an answer before that for a refusal, and sends nothing.
    let _ = has_begun.await;
    let (sender, lines) = mpsc::channel(BUNDLE_PIECES_WAITING);
    // On a task of its own: an import that has begun is finished also when its caller goes away.
    tokio::spawn(async move {
        run_import(&api, &caller, BundleUpload { pieces }, &sender).await;
        drop(place);
    });
    let lines = stream::unfold(lines, async |mut lines| {
        let line: Bytes = lines.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(line), lines))
    });
    Ok(answer(Body::from_stream(lines), "application/x-ndjson"))
}

pub(crate) async fn frontier<S: Service>(call: Call<S>) -> Result<Response, Problem> {
    call.no_parameters()?;
    let bytes = call.service().frontier_file(&call.caller).await?;
    Ok(answer(bytes.into(), RECEIPT_TYPE))
}

/// The bundle is larger than the node takes in; it says which bound that is.
#[must_use]
pub fn too_large(bytes_max: u64) -> Refusal {
    Refusal::new(RefusalKind::Invalid, format!("the bundle is larger than {bytes_max} bytes"))
        .with_field(LIMIT_FIELD)
        .with_limit(bytes_max)
        .with_remedy(LIMIT_REMEDY)
}

fn take_place<S: Service>(call: &Call<S>) -> Result<OwnedSemaphorePermit, Problem> {
    let max = call.api.shared.config.bundles_max;
    let busy = |_| Problem::busy(format!("{max} bundles are under way")).with_limit(max as u64);
    std::sync::Arc::clone(&call.api.shared.bundle_places).try_acquire_owned().map_err(busy)
}

fn answer(body: Body, content_type: &'static str) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Hands the body on piece by piece. When the node wants no more of it, the rest is read and dropped, so that a
/// caller that only sends comes to its end and reads why.
async fn receive(
    mut body: Body,
    pieces: mpsc::Sender<BundlePiece>,
    begun: oneshot::Sender<()>,
    bytes_max: u64,
    timeout: Duration,
) {
    let (mut bytes, mut begun) = (0, Some(begun));
    let refusal = loop {
        let frame = tokio::time::timeout(timeout, body.frame()).await;
        // Nobody waits for it if the caller has gone.
        begun.take().map(|begun| begun.send(()));
        match frame {
            Ok(None) => return,
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { continue };
                bytes += data.len() as u64;
                if bytes > bytes_max {
                    break too_large(bytes_max);
                }
                // An error says that the node has refused it already.
                let _ = pieces.send(Ok(data)).await;
            }
            Ok(Some(Err(_broken))) => break Refusal::new(RefusalKind::Invalid, "the body broke off"),
            Err(_late) => {
                let detail = format!("nothing came for {} s", timeout.as_secs());
                break Refusal::new(RefusalKind::Invalid, detail);
            }
        }
    };
    let _ = pieces.send(Err(refusal)).await;
}

/// Has the node take the bundle in, and tells how far it is and what came of it.
async fn run_import<S: Service>(api: &Api<S>, caller: &Caller, upload: BundleUpload, lines: &mpsc::Sender<Bytes>) {
    let (progress, latest) = watch::channel(None);
    let mut ticks = tokio::time::interval(PROGRESS_EVERY);
    ticks.reset();
    let import = api.shared.service.import_bundle(caller, upload, progress);
    let mut import = std::pin::pin!(import);
    let outcome = loop {
        tokio::select! {
            outcome = &mut import => break outcome,
            _ = ticks.tick() => {
                let step: Option<BundleStep> = *latest.borrow();
                if let Some(step) = step {
                    // A caller that does not read misses some of them.
                    let _ = lines.try_send(line(&json!({"progress": step})));
                }
            }
        }
    };
    let last = match outcome {
        Ok(intake) => {
            let (new, held, refused) = (intake.new, intake.held, intake.refused);
            tracing::info!(caller = caller.name(), bundle = intake.bundle, new, held, refused, "a bundle came in");
            line(&json!({"result": intake}))
        }
        Err(refusal) => {
            tracing::warn!(caller = caller.name(), %refusal, "a bundle was refused");
            line(&json!({"problem": Problem::from(refusal)}))
        }
    };
    // A caller that went away needs no answer.
    let _ = lines.send(last).await;
}

fn line(value: &serde_json::Value) -> Bytes {
    format!("{value}\n").into()
}
