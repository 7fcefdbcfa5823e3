//! Restart: how long a full node takes until it serves again.

use anyhow::ensure;

use super::Figure;
use crate::lab::Lab;

const RESTARTED: usize = 1;

pub(super) fn measure(lab: &mut Lab, alerts: u64) -> anyhow::Result<Vec<(Figure, f64)>> {
    let digest = lab.client(RESTARTED).digest()?;
    lab.node_mut(RESTARTED).stop()?;
    let stopped = lab.start(RESTARTED)?;
    check(lab, alerts, &digest)?;
    lab.node_mut(RESTARTED).kill()?;
    let killed = lab.start(RESTARTED)?;
    check(lab, alerts, &digest)?;
    Ok(vec![
        (Figure::RestartStopped, stopped.as_secs_f64()),
        (Figure::RestartKilled, killed.as_secs_f64()),
        (Figure::RestartMemory, lab.node(RESTARTED).usage()?.rss_bytes as f64 / 1e6),
    ])
}

fn check(lab: &Lab, alerts: u64, digest: &str) -> anyhow::Result<()> {
    let (held, shown) = (lab.client(RESTARTED).alert_count()?, lab.client(RESTARTED).digest()?);
    ensure!(held == alerts, "the restarted node serves {held} of {alerts} alerts");
    ensure!(shown == digest, "the restarted node shows another digest than before");
    Ok(())
}
