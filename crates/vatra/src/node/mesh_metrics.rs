//! The mesh's own counters, read when `/metrics` is.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use vatra_mesh::{Lane, LaneCounters, Mesh};

/// Shows the mesh's totals under names that begin with `vatra_mesh_`.
pub(crate) fn register(registry: &mut Registry, mesh: Mesh) {
    registry.register_collector(Box::new(MeshCollector(mesh)));
}

struct MeshCollector(Mesh);

impl fmt::Debug for MeshCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeshCollector")
    }
}

/// A counter of each lane.
type PerLane = (&'static str, &'static str, fn(&LaneCounters) -> u64);

const PER_LANE: [PerLane; 5] = [
    ("vatra_mesh_sent_bytes", "Bytes written to links, frame headers included", |lane| lane.sent_bytes),
    ("vatra_mesh_received_bytes", "Bytes read from links, frame headers included", |lane| lane.received_bytes),
    ("vatra_mesh_sent_frames", "Frames written to links", |lane| lane.sent_frames),
    ("vatra_mesh_received_frames", "Frames read from links", |lane| lane.received_frames),
    ("vatra_mesh_shed_frames", "Frames that found a link's queue full", |lane| lane.shed),
];

impl Collector for MeshCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let links = i64::try_from(self.0.links().len()).unwrap_or(i64::MAX);
        let gauge = ConstGauge::new(links);
        gauge.encode(encoder.encode_descriptor(
            "vatra_mesh_links",
            "Links that are up",
            None,
            gauge.metric_type(),
        )?)?;
        let totals = self.0.totals();
        for (name, help, value) in [
            ("vatra_mesh_links_up", "Links that came up", totals.links_up),
            ("vatra_mesh_links_down", "Links that went down", totals.links_down),
            ("vatra_mesh_dials", "Dials begun", totals.dials),
            ("vatra_mesh_dials_failed", "Dials that brought no connection", totals.dials_failed),
            ("vatra_mesh_refused", "Connections refused", totals.refused),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        for (name, help, value) in PER_LANE {
            let kind = ConstCounter::new(0_u64).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (lane, counters) in Lane::ALL.iter().zip(&totals.lanes) {
                let labels = [("lane", lane.as_str())];
                ConstCounter::new(value(counters)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
