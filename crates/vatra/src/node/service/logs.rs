//! How far the node holds which logs.

use anyhow::Context;
use vatra_api::{LogEntry, LogHead, LogsQuery, Refusal, RefusalKind};
use vatra_model::certificate::SignedCertificate;
use vatra_model::{EntryHash, LogId, Seq};
use vatra_replica::LogStatus;

use super::{Inner, NodeService};
use crate::node::packing::unpack_header;
use crate::node::views::is_of_the_disk;

impl NodeService {
    pub(super) async fn log_heads(&self, query: LogsQuery) -> Result<Vec<LogHead>, Refusal> {
        let (replica, _) = self.replica_status().await?;
        let is_asked = |status: &LogStatus| {
            query.node.is_none_or(|node| node == status.origin) && query.entry.is_none_or(|(log, _)| log == status.log)
        };
        let asked: Vec<LogStatus> = replica.logs.into_iter().filter(is_asked).collect();
        if let Some((log, seq)) = query.entry {
            let held = asked.first().map_or(0, |status| status.head.height);
            if seq.0 >= held {
                let detail = format!("entry {seq} of log {log} is not held without a gap; {held} entries are");
                return Err(Refusal::new(RefusalKind::NotFound, detail).with_field("seq"));
            }
        }
        let entry = query.entry;
        self.read(move |inner| asked.iter().filter_map(|status| head(inner, status, entry).transpose()).collect()).await
    }
}

/// `None` for a log of which nothing is on disk yet.
fn head(inner: &Inner, status: &LogStatus, entry: Option<(LogId, Seq)>) -> anyhow::Result<Option<LogHead>> {
    let views = &inner.shared.views;
    let Some(descriptor) = views.origins.descriptor(&status.log) else { return Ok(None) };
    let signed = SignedCertificate::decode(&descriptor.certificate)?;
    // From the disk: the core may be looking up which entry the log ends with.
    let seq = entry.map(|(_, seq)| seq).or(status.head.height.checked_sub(1).map(Seq));
    let last = seq.map(|seq| -> anyhow::Result<LogEntry> {
        let read = || -> anyhow::Result<_> {
            let bytes = views.reader.entry(status.log, seq)?;
            let bytes = bytes.with_context(|| format!("entry {seq} of log {} is gone", status.log))?;
            Ok(unpack_header(&bytes)?.1)
        };
        let hash = match read() {
            // One damaged row must not keep an operator from revoking a key: the core has its hash, if it looks up none.
            Err(error) if entry.is_none() && status.head.head != EntryHash::ZERO && !is_of_the_disk(&error) => {
                status.head.head
            }
            read => read?,
        };
        Ok(LogEntry { seq, hash })
    });
    let last = last.transpose()?;
    Ok(Some(LogHead {
        log: status.log,
        node: status.origin,
        name: signed.certificate().node.clone(),
        member: status.member,
        incarnation: descriptor.incarnation,
        entries: status.head.height,
        last,
        ended: views.origins.end_of(&status.log).map(|end| end.place()),
    }))
}
