//! A whole federation for a lab in one go: members, charter, nodes that know each other.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use vatra_model::certificate::SignedCertificate;
use vatra_model::charter::MemberRole;
use vatra_model::limits::MEMBERS_MAX;
use vatra_model::{MemberCode, WallMs};

use super::node::add_peers;
use super::{CharterDraft, MemberKeys, NodePlan, PeerAddition, create_private_dir};
use crate::config::{CHARTER_FILE, EngineKind, LinkProfile};
use crate::keys::{Purpose, write_new};

/// Most nodes of one lab.
const NODES_MAX: usize = 256;

/// Who dials whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Topology {
    /// Every node links with every other.
    #[default]
    Full,
    /// Each node links with the one before and the one after it.
    Line,
    /// A line whose ends are linked.
    Ring,
    /// All nodes link with the first.
    Star,
}

impl Topology {
    /// Nodes that node `index` of `count` links with, in order.
    pub(crate) fn neighbours(self, index: usize, count: usize) -> Vec<usize> {
        let is_linked = |other: usize| match self {
            Topology::Full => true,
            Topology::Line => index.abs_diff(other) == 1,
            Topology::Ring => index.abs_diff(other) == 1 || index.abs_diff(other) + 1 == count,
            Topology::Star => index == 0 || other == 0,
        };
        (0..count).filter(|&other| other != index && is_linked(other)).collect()
    }
}

/// A lab that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct LabPlan {
    /// Members, in the order of their nodes.
    pub(crate) members: Vec<MemberCode>,
    /// Nodes of each member.
    pub(crate) nodes_per_site: usize,
    /// First port: node i uses `base_port + 2i` for the mesh and the next for its API.
    pub(crate) base_port: u16,
    /// Address of each node; `{}` stands for its number from 1.
    pub(crate) host: String,
    /// Who dials whom.
    pub(crate) topology: Topology,
}

/// A lab as it was made.
#[derive(Debug)]
pub(crate) struct Lab {
    /// Its nodes in order.
    pub(crate) nodes: Vec<LabNode>,
}

/// One node of a lab.
#[derive(Debug)]
pub(crate) struct LabNode {
    /// Name of the node and of its directory, such as `ua-1`.
    pub(crate) name: String,
    /// Its member.
    pub(crate) member: MemberCode,
    /// Its directory.
    pub(crate) dir: PathBuf,
    /// UDP address of its mesh.
    pub(crate) mesh: SocketAddr,
    /// TCP address of its API.
    pub(crate) api: SocketAddr,
}

impl LabPlan {
    /// Makes the lab in a directory that is new or empty.
    pub(crate) fn create(&self, dir: &Path, now: WallMs) -> anyhow::Result<Lab> {
        let nodes = self.nodes(dir)?;
        create_private_dir(dir)?;
        let is_empty = fs::read_dir(dir).with_context(|| dir.display().to_string())?.next().is_none();
        anyhow::ensure!(is_empty, "{} is not empty; nothing was written", dir.display());

        let mut members = Vec::new();
        let mut draft = CharterDraft::first("lab");
        for &code in &self.members {
            let home = dir.join("members").join(code.as_str().to_lowercase());
            let keys = MemberKeys::create(&home, code, &format!("{code} (lab)"), Purpose::Lab)?;
            draft.add(&keys.public, MemberRole::Member)?;
            members.push(keys);
        }
        for keys in &members {
            draft.sign(keys)?;
        }
        let charter = draft.finish()?.encode();
        write_new(&dir.join(CHARTER_FILE), &charter, 0o644)?;

        let mut certificates = Vec::new();
        for node in &nodes {
            let keys = members.iter().find(|keys| keys.public.code == node.member).context("a node has a member")?;
            let plan = NodePlan {
                site: node.member.as_str().to_lowercase(),
                node: node.name.clone(),
                mesh: node.mesh,
                api: node.api,
                allow_non_loopback: !node.api.ip().is_loopback(),
                profile: LinkProfile::Wan,
                charter: Some(charter.clone()),
                purpose: Purpose::Lab,
                engine: EngineKind::Redb,
            };
            certificates.push(plan.create(&node.dir, keys, now)?);
        }
        self.introduce(&nodes, &certificates)?;
        Ok(Lab { nodes })
    }

    /// Tells every node its neighbours; both ends dial.
    fn introduce(&self, nodes: &[LabNode], certificates: &[SignedCertificate]) -> anyhow::Result<()> {
        for (index, node) in nodes.iter().enumerate() {
            let neighbours = self.topology.neighbours(index, nodes.len());
            let peers: Vec<PeerAddition> = neighbours
                .into_iter()
                .map(|other| PeerAddition {
                    certificate: certificates[other].clone(),
                    address: nodes[other].mesh,
                    dial: true,
                })
                .collect();
            add_peers(&node.dir, &peers)?;
        }
        Ok(())
    }

    /// The nodes with their places, before anything is written.
    fn nodes(&self, dir: &Path) -> anyhow::Result<Vec<LabNode>> {
        let members = self.members.len();
        anyhow::ensure!((1..=MEMBERS_MAX).contains(&members), "--members: 1 to {MEMBERS_MAX}, not {members}");
        for (index, code) in self.members.iter().enumerate() {
            anyhow::ensure!(!self.members[..index].contains(code), "--members: {code} is named twice");
        }
        let count = members.saturating_mul(self.nodes_per_site);
        anyhow::ensure!((1..=NODES_MAX).contains(&count), "{count} nodes, allowed are 1 to {NODES_MAX}");
        let last_port = usize::from(self.base_port) + 2 * count - 1;
        anyhow::ensure!(
            self.base_port > 0 && last_port <= usize::from(u16::MAX),
            "--base-port {}: ports {} to {last_port} are needed, allowed are 1 to 65535",
            self.base_port,
            self.base_port
        );
        let names =
            self.members.iter().flat_map(|&member| (1..=self.nodes_per_site).map(move |number| (member, number)));
        names.enumerate().map(|(index, (member, number))| self.node(dir, index, member, number)).collect()
    }

    fn node(&self, dir: &Path, index: usize, member: MemberCode, number: usize) -> anyhow::Result<LabNode> {
        let host = self.host.replace("{}", &(index + 1).to_string());
        let ip: IpAddr =
            host.parse().map_err(|_| anyhow::anyhow!("--host {:?}: {host:?} is no IP address", self.host))?;
        let port = |offset: usize| u16::try_from(usize::from(self.base_port) + 2 * index + offset);
        let name = format!("{}-{number}", member.as_str().to_lowercase());
        Ok(LabNode {
            dir: dir.join(&name),
            name,
            member,
            mesh: SocketAddr::new(ip, port(0)?),
            api: SocketAddr::new(ip, port(1)?),
        })
    }
}
