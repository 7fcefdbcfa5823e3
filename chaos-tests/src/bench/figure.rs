//! The figures, and what each should be.

/// A figure of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// Publish to acknowledgement.
    AckP50,
    /// Publish to acknowledgement.
    AckP99,
    /// Publish to acknowledgement.
    AckMax,
    /// Publish to a subscriber at another node.
    DeliveredP50,
    /// Publish to a subscriber at another node.
    DeliveredP99,
    /// Publish to a subscriber at another node.
    DeliveredMax,
    /// Wire bytes for an alert published alone, all copies, by the links' counters.
    SingleWire,
    /// The same at the interface.
    SingleWireInterface,
    /// Processor time of all nodes for an alert published alone.
    SingleCpu,
    /// Alerts a second until every node holds them.
    Rate,
    /// Alerts a second until they are acknowledged.
    AckRate,
    /// Processor time of all nodes for an alert.
    Cpu,
    /// Wire bytes for an alert, all copies, by the links' counters.
    Wire,
    /// The same at the interface.
    WireInterface,
    /// Largest memory of any node.
    Memory,
    /// Disk of the node that takes most, for an alert.
    Disk,
    /// From the heal to linked again.
    Relinked,
    /// From the heal to equal digests.
    Healed,
    /// Wire bytes after the heal over payload bytes that were missing, by the links' counters.
    HealWire,
    /// The same at the interface.
    HealWireInterface,
    /// Start after an orderly stop until it serves.
    RestartStopped,
    /// Start after a kill until it serves.
    RestartKilled,
    /// Memory of the restarted node.
    RestartMemory,
}

/// Which side of a number is good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Target {
    /// Whether a value is good.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Target::AtMost(bound) => value <= bound,
            Target::AtLeast(bound) => value >= bound,
        }
    }

    /// The bound's number.
    pub fn bound(self) -> f64 {
        match self {
            Target::AtMost(bound) | Target::AtLeast(bound) => bound,
        }
    }

    /// As it is printed.
    pub fn show(self) -> String {
        match self {
            Target::AtMost(bound) => format!("<= {bound}"),
            Target::AtLeast(bound) => format!(">= {bound}"),
        }
    }
}

/// How a figure is reported.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// The scenario.
    pub scenario: &'static str,
    /// What is measured.
    pub what: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// What this version must reach.
    pub must: Option<Target>,
    /// Where the project wants to be.
    pub aim: Option<Target>,
}

impl Figure {
    /// Name, unit and targets.
    pub fn describe(self) -> Description {
        use Target::{AtLeast, AtMost};
        let (scenario, what, unit, must, aim) = match self {
            Figure::AckP50 => ("latency", "publish -> acknowledged, p50", "ms", Some(AtMost(0.8)), Some(AtMost(0.5))),
            Figure::AckP99 => ("latency", "publish -> acknowledged, p99", "ms", None, Some(AtMost(1.5))),
            Figure::AckMax => ("latency", "publish -> acknowledged, max", "ms", None, None),
            Figure::DeliveredP50 => {
                ("latency", "publish -> delivered, p50", "ms", Some(AtMost(2.0)), Some(AtMost(1.0)))
            }
            Figure::DeliveredP99 => ("latency", "publish -> delivered, p99", "ms", None, Some(AtMost(2.2))),
            Figure::DeliveredMax => ("latency", "publish -> delivered, max", "ms", None, None),
            Figure::SingleWire => ("latency", "wire per alert, links' counters", "B", None, None),
            Figure::SingleWireInterface => ("latency", "wire per alert, interface", "B", None, Some(AtMost(1_500.0))),
            Figure::SingleCpu => ("latency", "processor per alert, all nodes", "us", None, None),
            Figure::Rate => {
                ("throughput", "held by every node", "alerts/s", Some(AtLeast(10_000.0)), Some(AtLeast(20_000.0)))
            }
            Figure::AckRate => ("throughput", "acknowledged", "alerts/s", None, None),
            Figure::Cpu => ("throughput", "processor per alert, all nodes", "us", None, Some(AtMost(90.0))),
            Figure::Wire => ("throughput", "wire per alert, links' counters", "B", None, None),
            Figure::WireInterface => {
                ("throughput", "wire per alert, interface", "B", Some(AtMost(900.0)), Some(AtMost(500.0)))
            }
            Figure::Memory => ("throughput", "peak memory of a node", "MB", Some(AtMost(200.0)), Some(AtMost(128.0))),
            Figure::Disk => ("throughput", "disk per alert and node", "B", None, Some(AtMost(450.0))),
            Figure::Relinked => ("heal", "heal -> linked", "s", None, None),
            Figure::Healed => ("heal", "heal -> equal digests", "s", Some(AtMost(3.0)), Some(AtMost(2.0))),
            Figure::HealWire => ("heal", "wire / missing payload, links' counters", "", None, None),
            Figure::HealWireInterface => {
                ("heal", "wire / missing payload, interface", "", Some(AtMost(0.6)), Some(AtMost(0.4)))
            }
            Figure::RestartStopped => {
                ("restart", "start after stop -> serves", "s", Some(AtMost(1.0)), Some(AtMost(0.5)))
            }
            Figure::RestartKilled => {
                ("restart", "start after kill -> serves", "s", Some(AtMost(1.0)), Some(AtMost(0.5)))
            }
            Figure::RestartMemory => ("restart", "memory once it serves", "MB", None, None),
        };
        Description { scenario, what, unit, must, aim }
    }
}
