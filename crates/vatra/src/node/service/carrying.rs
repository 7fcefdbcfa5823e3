//! Bundles, on threads of their own: what they do waits for disks and for the driver.

use tokio::sync::mpsc;
use vatra_api::{BundleDownload, BundleIntake, BundleOrder, BundleProgress, BundleUpload, Refusal};

use super::{NodeService, stopping};
use crate::node::bundles::Bundles;

/// Pieces of a bundle that wait for a caller to take them.
const PIECES_WAITING: usize = 4;

impl NodeService {
    /// Works on bundles off the runtime's threads.
    pub(super) async fn carrying<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Bundles) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let bundles = self.inner.bundles.clone();
        tokio::task::spawn_blocking(move || work(&bundles)).await.unwrap_or_else(|_| Err(stopping()))
    }

    pub(super) async fn start_export(&self, order: BundleOrder) -> Result<BundleDownload, Refusal> {
        let plan = self.carrying(move |bundles| bundles.plan_export(&order)).await?;
        let entries_max = plan.entries_max;
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        let bundles = self.inner.bundles.clone();
        // It ends by itself when the caller takes no more.
        tokio::task::spawn_blocking(move || bundles.export(&plan, sender));
        Ok(BundleDownload { entries_max, pieces })
    }

    pub(super) async fn take_in(
        &self,
        upload: BundleUpload,
        progress: BundleProgress,
    ) -> Result<BundleIntake, Refusal> {
        self.carrying(move |bundles| bundles.import(upload, &progress)).await
    }
}
