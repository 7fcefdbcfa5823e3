//! Members, their roots, their nodes and the charter of a simulated federation.

use vatra_model::certificate::{NodeCertificate, SignedCertificate};
use vatra_model::charter::{Charter, CharterEpoch, CharterMember, MemberRole, SignedEpoch};
use vatra_model::{MemberCode, NodeKey, Secret, WallMs};

use crate::sim::chance;

/// A federation with one node for each member.
#[derive(Debug)]
pub struct Federation {
    name: String,
    seed: u64,
    charter: Charter,
    sites: Vec<Site>,
}

/// One member's node.
#[derive(Clone, Debug)]
pub struct Site {
    /// Seed of the node's secret key.
    pub secret: [u8; 32],
    /// The node.
    pub key: NodeKey,
    /// Its member.
    pub member: MemberCode,
    /// Its certificate.
    pub certificate: SignedCertificate,
    /// The charter beside its configuration.
    pub charter: Charter,
}

impl Federation {
    /// A federation of so many members.
    #[must_use]
    pub fn new(name: &str, seed: u64, members: usize) -> Federation {
        Federation::founded(name, seed, members, members)
    }

    /// A federation whose first charter names only the first `founders` of its members.
    #[must_use]
    pub fn founded(name: &str, seed: u64, members: usize, founders: usize) -> Federation {
        let listed = (0..founders).map(|index| listed(name, seed, index)).collect();
        let epoch = CharterEpoch {
            epoch: 1,
            previous: [0; 32],
            federation: name.to_owned(),
            members: listed,
            revocations: Vec::new(),
        };
        let charter = Charter::found(signed(name, seed, members, epoch)).expect("all members have signed");
        let sites = (0..members).map(|index| site(name, seed, index, &charter)).collect();
        Federation { name: name.to_owned(), seed, charter, sites }
    }

    /// The charter in its newest epoch.
    #[must_use]
    pub fn charter(&self) -> &Charter {
        &self.charter
    }

    /// The nodes, one for each member.
    #[must_use]
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// Adds an epoch that all members sign.
    pub fn next_epoch(&mut self, change: impl FnOnce(&mut CharterEpoch)) -> &Charter {
        let mut epoch = self.charter.current().clone();
        epoch.epoch += 1;
        epoch.previous = self.charter.hash();
        change(&mut epoch);
        let signed = signed(&self.name, self.seed, self.sites.len(), epoch);
        self.charter.extend(signed).expect("all members have signed what follows the last epoch");
        &self.charter
    }
}

impl Federation {
    /// A member certifies a node of another one as its own, which it needs nobody's consent for.
    pub(crate) fn claim(&self, member: MemberCode, node: &NodeCertificate) -> SignedCertificate {
        let index = self.sites.iter().position(|site| site.member == member).expect("it has a site");
        let claimed = NodeCertificate { member, serial: u64::MAX, ..node.clone() };
        claimed.sign(&root(&self.name, self.seed, index)).expect("the names are good")
    }
}

fn root(name: &str, seed: u64, index: usize) -> Secret {
    Secret::from_seed(&chance::bytes(seed, &format!("{name} root {index}")))
}

fn code(index: usize) -> MemberCode {
    format!("M{index:02}").parse().expect("a letter and two digits are a code")
}

fn listed(name: &str, seed: u64, index: usize) -> CharterMember {
    CharterMember {
        code: code(index),
        name: format!("Centre {index}"),
        role: MemberRole::Member,
        root: root(name, seed, index).root_key(),
        sealing: chance::bytes(seed, &format!("{name} sealing {index}")),
        addresses: Vec::new(),
    }
}

fn signed(name: &str, seed: u64, members: usize, epoch: CharterEpoch) -> SignedEpoch {
    let mut signed = SignedEpoch::draft(epoch).expect("the epoch keeps the rules");
    for index in 0..members {
        signed.sign(&root(name, seed, index));
    }
    signed
}

fn site(name: &str, seed: u64, index: usize, charter: &Charter) -> Site {
    let secret = chance::bytes(seed, &format!("{name} node {index}"));
    let key = Secret::from_seed(&secret).node_key();
    let certificate = NodeCertificate {
        member: code(index),
        site: "site".into(),
        node: format!("node-{index}"),
        key,
        not_before: WallMs(0),
        serial: 1,
    };
    let certificate = certificate.sign(&root(name, seed, index)).expect("the names are good");
    Site { secret, key, member: code(index), certificate, charter: charter.clone() }
}
