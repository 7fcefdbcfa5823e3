//! What the API counts. Labels come from the route table, so their number is fixed.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use vatra_stream::HubStats;

use crate::routes::ROUTES;

/// Upper bounds of the buckets of request times, in seconds.
const SECONDS: [f64; 12] = [0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Labels of a count of answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RouteLabels {
    route: usize,
    /// First digit of the status; 0 for a metric of all statuses.
    status_class: u16,
}

impl EncodeLabelSet for RouteLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        let route = &ROUTES[self.route];
        let class = format!("{}xx", self.status_class);
        let all = [("method", route.method.as_str()), ("route", route.path), ("status", class.as_str())];
        let count = if self.status_class == 0 { 2 } else { 3 };
        for (name, value) in all.into_iter().take(count) {
            let mut label = encoder.encode_label();
            let mut key = label.encode_label_key()?;
            key.write_str(name)?;
            let mut text = key.encode_label_value()?;
            text.write_str(value)?;
            text.finish()?;
        }
        Ok(())
    }
}

type SecondsFamily = Family<RouteLabels, Histogram, fn() -> Histogram>;

/// The API's metrics. Clones count into the same.
#[derive(Clone, Debug)]
pub struct ApiMetrics {
    answers: Family<RouteLabels, Counter>,
    seconds: SecondsFamily,
    pub(crate) panics: Counter,
    pub(crate) refused_callers: Counter,
    pub(crate) bulk_lines: Counter,
    pub(crate) bulk_lines_refused: Counter,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
    subscribers: Gauge,
    lagged: Counter<u64, AtomicU64>,
    subscribers_refused: Counter<u64, AtomicU64>,
    stream_reads_failed: Counter<u64, AtomicU64>,
}

impl ApiMetrics {
    /// Registers the API's metrics, all of them beginning with `vatra_api_`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> ApiMetrics {
        let metrics = ApiMetrics {
            answers: Family::default(),
            seconds: SecondsFamily::new_with_constructor(|| Histogram::new(SECONDS)),
            panics: Counter::default(),
            refused_callers: Counter::default(),
            bulk_lines: Counter::default(),
            bulk_lines_refused: Counter::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            subscribers: Gauge::default(),
            lagged: Counter::default(),
            subscribers_refused: Counter::default(),
            stream_reads_failed: Counter::default(),
        };
        let into = registry.sub_registry_with_prefix("vatra_api");
        into.register("answers", "Answers by route and status", metrics.answers.clone());
        into.register("answer_seconds", "Time until an answer begins, by route", metrics.seconds.clone());
        into.register("panics", "Requests that met a fault of this program", metrics.panics.clone());
        into.register("refused_callers", "Requests without a sufficient token", metrics.refused_callers.clone());
        into.register("bulk_lines", "Lines of bulk requests that were taken", metrics.bulk_lines.clone());
        into.register(
            "bulk_lines_refused",
            "Lines of bulk requests that were refused",
            metrics.bulk_lines_refused.clone(),
        );
        into.register("connections", "Open connections", metrics.connections.clone());
        into.register(
            "connections_refused",
            "Connections refused for lack of room",
            metrics.connections_refused.clone(),
        );
        into.register("stream_subscribers", "Subscribers of streams", metrics.subscribers.clone());
        into.register("stream_lagged", "Subscribers cut off because they were too slow", metrics.lagged.clone());
        into.register("stream_refused", "Subscribers refused for lack of room", metrics.subscribers_refused.clone());
        into.register(
            "stream_reads_failed",
            "Reads of the store for streams that failed",
            metrics.stream_reads_failed.clone(),
        );
        metrics
    }

    /// Counts an answer of a route of the table.
    pub(crate) fn observe(&self, route: usize, status: StatusCode, elapsed: Duration) {
        let status_class = status.as_u16() / 100;
        self.answers.get_or_create(&RouteLabels { route, status_class }).inc();
        self.seconds.get_or_create(&RouteLabels { route, status_class: 0 }).observe(elapsed.as_secs_f64());
    }

    /// Takes over what the hub counts itself.
    pub(crate) fn take_streams(&self, stats: HubStats) {
        self.subscribers.set(i64::try_from(stats.subscribers).unwrap_or(i64::MAX));
        for (counter, count) in [
            (&self.lagged, stats.lagged_count),
            (&self.subscribers_refused, stats.refused_count),
            (&self.stream_reads_failed, stats.read_failed_count),
        ] {
            counter.inner().store(count, std::sync::atomic::Ordering::Relaxed);
        }
    }
}
