//! A server over a node in memory, on a port of its own.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use prometheus_client::registry::Registry;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use vatra_api::*;
use vatra_model::schema::words::Tlp;
use vatra_stream::{EventSource, Hub, HubConfig};

use crate::client::Client;
use crate::memory::{Memory, Node, origin};

/// What a test may set.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) api: ApiConfig,
    pub(crate) hub: HubConfig,
    pub(crate) server: ServerConfig,
}

impl Default for Plan {
    fn default() -> Plan {
        let tokens = Role::ALL.map(|role| Token {
            name: role.to_string(),
            sha256: Sha256::digest(token_of(role)).into(),
            role,
            clearance: Tlp::Green,
        });
        let low = Token {
            name: "low".to_owned(),
            sha256: Sha256::digest("token-low").into(),
            role: Role::Admin,
            clearance: Tlp::Clear,
        };
        let api = ApiConfig { tokens: tokens.into_iter().chain([low]).collect(), ..ApiConfig::default() };
        Plan { api, hub: HubConfig::default(), server: ServerConfig::default() }
    }
}

fn token_of(role: Role) -> String {
    format!("token-{role}")
}

/// A server over a node in memory; ends with its value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) memory: Arc<Memory>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(plan: &Plan) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let memory = Memory::new();
        let (stop, stopped) = oneshot::channel();
        let (node, plan) = (Node(Arc::clone(&memory)), plan.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let source = Arc::clone(&node.0) as Arc<dyn EventSource>;
                let hub = Hub::start(source, origin(), plan.hub);
                let mut registry = Registry::default();
                let metrics = ApiMetrics::register(&mut registry);
                let api = Api::new(node, hub, plan.api, metrics, Arc::new(registry));
                let stop = async { stopped.await.unwrap_or_default() };
                serve(api, listener, plan.server, stop).await.unwrap();
            });
        });
        Server { address, memory, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn client(&self, role: Role) -> Client {
        Client { address: self.address, token: token_of(role) }
    }

    pub(crate) fn admin(&self) -> Client {
        self.client(Role::Admin)
    }

    pub(crate) fn with_token(&self, token: &str) -> Client {
        Client { address: self.address, token: token.to_owned() }
    }

    /// Tells the server to stop and waits until it has.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server ends well");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _reported_by_the_test = thread.join();
        }
    }
}
