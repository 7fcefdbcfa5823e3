//! Starting a node, and stopping it in good order.

mod api;
mod threads;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use prometheus_client::registry::Registry;
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use vatra_mesh::{Identity, Mesh, MeshConfig, MeshEvents, MeshLimits, PeerAddress};
use vatra_model::pack::Packer;
use vatra_replica::{Cost, Replica, ReplicaConfig};
use vatra_stream::StoreId;

use crate::config::{LinkProfile, NodeConfig, NotAdmitted};
use crate::node::boot::{Booted, LifeRow, boot, random};
use crate::node::clock::Clock;
use crate::node::drill::Drills;
use crate::node::driver::{Driver, Looks, Shared};
use crate::node::guard::Guard;
use crate::node::links::Links;
use crate::node::listing::Listing;
use crate::node::lives;
use crate::node::logging::{self, LogFormat};
use crate::node::mesh_metrics;
use crate::node::metrics::Metrics;
use crate::node::origins::Origins;
use crate::node::pending;
use crate::node::projector::Projector;
use crate::node::quarantine::Quarantine;
use crate::node::recent::Recent;
use crate::node::scrub::Scrub;
use crate::node::views::Views;
use crate::node::wants::Wants;

use self::api::ApiTask;
use self::threads::start_threads;

/// The driver must have done a round within this time, or the watchdog is not told that all is well.
const PULSE_MAX: Duration = Duration::from_secs(20);
/// Threads of each of the two runtimes, one of the mesh and one of the API: neither waits for the other, and a
/// single thread that polls its own sockets answers with fewer hand-overs than several. Everything heavy has a
/// thread of its own.
const RUNTIME_THREADS: usize = 1;

/// Runs a node until it is told to stop.
pub(crate) fn run(config: NodeConfig, format: LogFormat) -> anyhow::Result<ExitCode> {
    logging::start(format)?;
    let runtime = runtime("vatra-mesh")?;
    let api_runtime = self::runtime("vatra-api")?;
    let result = runtime.block_on(serve(config, api_runtime.handle().clone()));
    api_runtime.shutdown_timeout(Duration::from_millis(250));
    runtime.shutdown_timeout(Duration::from_millis(250));
    if let Err(error) = &result {
        tracing::error!(error = format!("{error:#}"), "the node stops");
    }
    result.map(|()| ExitCode::SUCCESS)
}

fn runtime(name: &str) -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(RUNTIME_THREADS).thread_name(name).enable_all();
    builder.build().with_context(|| format!("the runtime {name} could not be started"))
}

async fn serve(config: NodeConfig, api_runtime: Handle) -> anyhow::Result<()> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let started = Instant::now();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(config.api.listen)
        .with_context(|| format!("the API address {} (node.toml, api.listen) cannot be bound", config.api.listen))?;
    let (mesh, events) = start_mesh(&config).await?;
    let mut registry = Registry::default();
    let node = Node::start(&config, mesh, events, &mut registry)?;
    let api = ApiTask::start(&api_runtime, &node, &config, listener, registry);
    tracing::info!(
        node = config.name,
        member = %config.member,
        mesh = %config.mesh.listen,
        api = %config.api.listen,
        took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "serving"
    );
    notify(&[sd_notify::NotifyState::Ready]);
    let watchdog = tokio::spawn(keep_watchdog(node.shared.pulse.subscribe()));
    let failed = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        error = node.failed() => Some(error),
    };
    notify(&[sd_notify::NotifyState::Stopping]);
    watchdog.abort();
    tracing::info!("stopping");
    if failed.is_some() {
        // Nobody works on what callers ask for any more.
        node.shared.mailbox.close();
    }
    api.stop().await;
    node.stop().await;
    match failed {
        None => {
            tracing::info!("stopped");
            Ok(())
        }
        Some(error) => Err(error),
    }
}

pub(crate) async fn start_mesh(config: &NodeConfig) -> anyhow::Result<(Mesh, MeshEvents)> {
    let mut seed = *config.key.seed();
    let mesh = MeshConfig {
        identity: Identity::from_seed(&mut seed),
        listen: config.mesh.listen,
        profile: match config.mesh.profile {
            LinkProfile::Wan => vatra_mesh::LinkProfile::Wan,
            LinkProfile::Metered => vatra_mesh::LinkProfile::Metered,
        },
        limits: MeshLimits { links_max: config.limits.links, ..MeshLimits::default() },
    };
    let (mesh, events) = vatra_mesh::start(mesh).await.context("the mesh address (node.toml, mesh.listen)")?;
    let peers = config.peers.iter().map(|peer| PeerAddress {
        node: peer.certificate.certificate().key,
        address: peer.address,
        dial: peer.dial,
    });
    mesh.set_peers(peers.collect());
    Ok((mesh, events))
}

/// A started node.
pub(crate) struct Node {
    pub(crate) shared: Arc<Shared>,
    pub(crate) mesh: Mesh,
    pub(crate) drills: Arc<Drills>,
    pub(crate) clock: Clock,
    pub(crate) store_id: StoreId,
    threads: Vec<JoinHandle<()>>,
    faults: watch::Receiver<Option<&'static str>>,
}

impl Node {
    pub(crate) fn start(
        config: &NodeConfig,
        mesh: Mesh,
        events: MeshEvents,
        registry: &mut Registry,
    ) -> anyhow::Result<Node> {
        let (driver, store_id) = Node::assemble(config, &mesh, registry)?;
        let (shared, clock) = (driver.shared.clone(), driver.clock);
        let cost = match config.mesh.profile {
            LinkProfile::Wan => Cost::Wan,
            LinkProfile::Metered => Cost::Metered,
        };
        let (faults, faulty) = watch::channel(None);
        let origin_rate = config.limits.origin_entries_per_second;
        let threads = start_threads(&shared, &mesh, events, (cost, origin_rate), driver, &faults)?;
        let drills = Arc::new(Drills::new(mesh.clone(), shared.trust.clone()));
        Ok(Node { shared, mesh, drills, clock, store_id, threads, faults: faulty })
    }

    /// The driver of a node with everything it owns and shares, not yet running.
    pub(crate) fn assemble(
        config: &NodeConfig,
        mesh: &Mesh,
        registry: &mut Registry,
    ) -> anyhow::Result<(Driver, StoreId)> {
        let clock = Clock::start();
        let booted = boot(config)?;
        NotAdmitted::check(&booted.charter, &config.certificate)
            .map_err(|error| anyhow!("{error}; {}", error.remedy()))?;
        if let Some(reason) = booted.new_life {
            let incarnation = lives::shown(booted.restored.incarnation);
            tracing::warn!(
                incarnation,
                reason,
                "a new incarnation is opened; what peers hold of the old one is fetched back"
            );
        }
        let life = LifeRow {
            incarnation: booted.restored.incarnation,
            opened: booted.restored.opened,
            boot: booted.restored.boot,
        };
        let origins = Arc::new(Origins::default());
        let Booted { store, fence, store_id, restored, charter, state, .. } = booted;
        let replica_config = ReplicaConfig {
            secret: config.key.secret(),
            certificate: config.certificate.clone(),
            charter,
            certificates: config.peers.iter().map(|peer| peer.certificate.clone()).collect(),
            software: concat!("vatra ", env!("CARGO_PKG_VERSION")).to_owned(),
            protocol: vatra_model::wire::PROTOCOL_VERSION,
            seed: random()?,
        };
        for log in &restored.logs {
            let audience = &log.row.descriptor.audience;
            let signed = vatra_model::certificate::SignedCertificate::decode(&log.row.descriptor.certificate)?;
            let id = signed.certificate().log(log.row.descriptor.incarnation, audience);
            origins.add([(&id, &log.row)]);
        }
        origins.set_forks(crate::node::strays::forks(&store.reader())?.values());
        let replica = Replica::new(replica_config, restored, clock.now()).context("the replica does not start")?;
        for reject in replica.left_out() {
            tracing::error!(%reject, "a stored log is left out until a charter admits it; peers give it again then");
        }
        let reader = store.reader();
        let end = reader.last_position()?;
        let metrics = Arc::new(Metrics::register(registry));
        mesh_metrics::register(registry, mesh.clone());
        let views = Arc::new(Views::new(reader.clone(), origins.clone()));
        let snapshot = reader.snapshot()?;
        let quarantine = Arc::new(Quarantine::load(&snapshot, &origins)?);
        let mut projector = Projector::new(views.clone(), metrics.clone(), quarantine.clone(), state, life);
        projector.guard = Guard::open(&config.dir.join("at-work"));
        projector.backlog = pending::load_backlog(&snapshot)?;
        projector.heed(replica.trust().charter(), &snapshot)?;
        let shared = Arc::new(Shared {
            mailbox: Arc::default(),
            pushes: Arc::default(),
            wants: Arc::new(Wants::default()),
            links: Arc::new(Links::default()),
            trust: Arc::new(RwLock::new(Arc::new(replica.trust().clone()))),
            listing: Arc::new(RwLock::new(Listing::load(&reader)?)),
            recent: Arc::new(Recent::at(end)),
            views,
            metrics,
            quarantine,
            scrub: Arc::new(Scrub::default()),
            durable: watch::Sender::new(end),
            state: watch::Sender::new(state),
            pulse: watch::Sender::new(Instant::now()),
        });
        let driver = Driver {
            shared,
            clock,
            member: config.member,
            mesh: mesh.clone(),
            store,
            fence,
            replica,
            projector,
            packer: Packer::new(),
            up: BTreeMap::new(),
            banned: BTreeMap::new(),
            calls: HashMap::new(),
            tokens: HashMap::new(),
            next_number: 0,
            touched: HashSet::new(),
            deferred: Vec::new(),
            recalled: Vec::new(),
            publishing: 0,
            last_probe: None,
            is_told_writable: true,
            portions: Vec::new(),
            rests_until: None,
            looks: Looks::begin(),
            has_lost_batch: false,
            leaves_log: false,
            fence_trouble: None,
        };
        Ok((driver, store_id))
    }

    /// Waits until a part of the node has ended by itself, which it only does by a fault.
    pub(crate) async fn failed(&self) -> anyhow::Error {
        let mut faults = self.faults.clone();
        match faults.wait_for(Option::is_some).await.map(|part| *part) {
            Ok(Some(part)) => anyhow::anyhow!("{part} has ended; this is a fault, see the log above"),
            // Every part holds a sender.
            _ => anyhow::anyhow!("all parts of the node have ended; this is a fault, see the log above"),
        }
    }

    /// Stops: nothing more is taken in, what was taken is written, links are closed with a farewell.
    pub(crate) async fn stop(self) {
        self.shared.mailbox.close();
        self.mesh.shutdown().await;
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A thread that panicked has said so in the log.
                let _ = thread.join();
            }
        });
        if tokio::time::timeout(Duration::from_secs(1), joined).await.is_err() {
            tracing::warn!("threads are still busy; leaving them");
        }
    }
}

/// Tells systemd that all is well, as long as the driver does its rounds.
async fn keep_watchdog(pulse: watch::Receiver<Instant>) {
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval(within / 3);
    loop {
        ticks.tick().await;
        if pulse.borrow().elapsed() < PULSE_MAX {
            notify(&[sd_notify::NotifyState::Watchdog]);
        }
    }
}

/// Tells the service manager, where there is one.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
