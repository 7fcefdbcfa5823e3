//! The API of a running node.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use vatra_api::{Api, ApiConfig, ApiMetrics, Role, ServeError, ServerConfig, Token};
use vatra_stream::{Hub, HubConfig, Origin};

use super::Node;
use crate::config::{NodeConfig, TokenRole};
use crate::node::service::NodeService;
use crate::node::source::NodeEvents;

/// Longest time that open requests get to finish when the node stops.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// The running API.
pub(super) struct ApiTask {
    pub(super) hub: Hub,
    stop: tokio::sync::oneshot::Sender<()>,
    pub(super) task: tokio::task::JoinHandle<Result<(), ServeError>>,
}

impl ApiTask {
    pub(super) fn start(
        runtime: &Handle,
        node: &Node,
        config: &NodeConfig,
        listener: TcpListener,
        mut registry: Registry,
    ) -> ApiTask {
        let _entered = runtime.enter();
        let metrics = ApiMetrics::register(&mut registry);
        let source = NodeEvents {
            store_id: node.store_id,
            views: node.shared.views.clone(),
            recent: node.shared.recent.clone(),
            durable: node.shared.durable.subscribe(),
        };
        let teller = Origin { member: config.member, node: config.certificate.certificate().key };
        let limits = HubConfig { subscribers_max: config.limits.subscribers, ..HubConfig::default() };
        let hub = Hub::start(Arc::new(source), teller, limits);
        let tokens = config.api.tokens.iter().map(|token| Token {
            name: token.name.clone(),
            sha256: token.sha256,
            role: match token.role {
                TokenRole::Subscriber => Role::Subscriber,
                TokenRole::Contributor => Role::Contributor,
                TokenRole::Operator => Role::Operator,
                TokenRole::Admin => Role::Admin,
            },
            clearance: token.tlp,
        });
        let api_config = ApiConfig {
            tokens: tokens.collect(),
            bundle_bytes_max: config.limits.bundle_bytes(),
            ..ApiConfig::default()
        };
        let service = NodeService::new(node, config);
        let api = Api::new(service, hub.clone(), api_config, metrics, Arc::new(registry));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let server = ServerConfig { drain_timeout: DRAIN_MAX, ..ServerConfig::default() };
        let task = runtime.spawn(vatra_api::serve(api, listener, server, async move {
            // A sender that is dropped means the same.
            let _ = stopped.await;
        }));
        ApiTask { hub, stop, task }
    }

    /// Ends streams at once and lets open requests finish.
    pub(super) async fn stop(self) {
        self.hub.close();
        // The server may have ended by itself.
        let _ = self.stop.send(());
        match self.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the API did not end well"),
            Err(error) => tracing::error!(%error, "the API did not end well"),
        }
    }
}
