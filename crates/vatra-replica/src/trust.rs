//! Whom we believe: the charter in force and the node certificates seen under it.

use std::collections::BTreeMap;

use vatra_model::certificate::{NodeCertificate, SignedCertificate};
use vatra_model::charter::{AdmitError, Charter, MemberRole};
use vatra_model::wire::{Beacon, LogDescriptor, SignedBeacon, SignedPulse};
use vatra_model::{AudienceId, ForkProof, Injected, LogId, MemberCode, NodeKey, Public, Realm, VerifyError};

use crate::fork::CheckedFork;
use crate::input::Reject;

/// Node certificates that are remembered; and of one member, so that none keeps the nodes of others out.
const CERTIFICATES_MAX: usize = 4096;
const CERTIFICATES_PER_MEMBER_MAX: usize = 256;

/// The charter and the nodes known under it. Cheap to clone behind an `Arc`; never changes by arrival order.
#[derive(Clone, Debug)]
pub struct Trust {
    charter: Charter,
    /// How nodes sign entries and beacons; certificates and charters are always Ed25519.
    scheme: Injected,
    nodes: BTreeMap<NodeKey, KnownNode>,
}

#[derive(Clone, Debug)]
struct KnownNode {
    signed: SignedCertificate,
    public: Public,
    role: MemberRole,
    /// The node itself has shown the certificate, or signs what it writes for this member.
    has_agreed: bool,
}

/// A log whose descriptor was checked against the charter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedLog {
    /// Its id.
    pub id: LogId,
    /// What was checked.
    pub descriptor: LogDescriptor,
    /// Whose log it is.
    pub certificate: NodeCertificate,
    /// What may be of it: entries of members, and of those that were members in any epoch.
    pub role: MemberRole,
    /// The origin's key.
    pub public: Public,
}

/// A beacon whose signature and certificate were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedBeacon {
    /// As it came, to be passed on.
    pub signed: SignedBeacon,
    /// What it says.
    pub beacon: Beacon,
    /// The certificate that it brought.
    pub certificate: Option<SignedCertificate>,
}

impl Trust {
    /// Trust in a charter's members, with no node known yet.
    #[must_use]
    pub fn new(charter: Charter) -> Trust {
        Trust { charter, scheme: None, nodes: BTreeMap::new() }
    }

    /// The same trust, verifying entries and beacons as a simulated world signs them.
    #[must_use]
    pub fn with_scheme(self, scheme: Injected) -> Trust {
        Trust { scheme, ..self }
    }

    fn public(&self, key: &NodeKey) -> Result<Public, VerifyError> {
        Ok(Public::new(&key.0)?.with_scheme(self.scheme.clone()))
    }

    /// The charter in force.
    #[must_use]
    pub fn charter(&self) -> &Charter {
        &self.charter
    }

    /// Remembers the node of a certificate that somebody else than this node gave, such as an operator; `true` if it
    /// was new or its certificate newer. A certificate shows nobody's consent but its member's, so one that gives a
    /// known node to another member changes nothing.
    ///
    /// # Errors
    /// [`AdmitError`] if the charter does not admit it.
    pub fn learn(&mut self, signed: &SignedCertificate) -> Result<bool, AdmitError> {
        self.remember(signed, false)
    }

    /// The same of a certificate that the node itself has shown, or under which it writes. Where somebody else had
    /// given it to another member, that counts no more; the first member that it agreed to stays its own.
    ///
    /// # Errors
    /// [`AdmitError`] if the charter does not admit it.
    pub fn learn_from_itself(&mut self, signed: &SignedCertificate) -> Result<bool, AdmitError> {
        self.remember(signed, true)
    }

    fn remember(&mut self, signed: &SignedCertificate, has_agreed: bool) -> Result<bool, AdmitError> {
        let (key, given) = (signed.certificate().key, signed.certificate());
        if let Some(known) = self.nodes.get_mut(&key)
            && known.signed == *signed
        {
            known.has_agreed |= has_agreed;
            return Ok(false);
        }
        let role = self.charter.admit(signed)?;
        let known = self.nodes.get_mut(&key);
        let is_same_member = known.as_ref().is_some_and(|known| known.signed.certificate().member == given.member);
        let has_agreed = match known {
            Some(known) if is_same_member => {
                known.has_agreed |= has_agreed;
                if known.signed.certificate().serial >= given.serial {
                    return Ok(false);
                }
                known.has_agreed
            }
            Some(known) if known.has_agreed || !has_agreed => return Ok(false),
            _ => has_agreed,
        };
        if !is_same_member && !self.has_room(signed) {
            return Ok(false);
        }
        let public = self.public(&key).map_err(|source| {
            AdmitError::Certificate(vatra_model::certificate::CertificateError::Verify {
                member: signed.certificate().member,
                source,
            })
        })?;
        self.nodes.insert(key, KnownNode { signed: signed.clone(), public, role, has_agreed });
        Ok(true)
    }

    /// Whether another node of this one's member can be remembered.
    fn has_room(&self, signed: &SignedCertificate) -> bool {
        let member = signed.certificate().member;
        let of_member = self.nodes.values().filter(|known| known.signed.certificate().member == member).count();
        self.nodes.len() < CERTIFICATES_MAX && of_member < CERTIFICATES_PER_MEMBER_MAX
    }

    /// Replaces the charter and forgets the nodes that it no longer admits.
    pub fn install(&mut self, charter: Charter) {
        self.charter = charter;
        let charter = &self.charter;
        self.nodes.retain(|_, known| match charter.admit(&known.signed) {
            Ok(role) => {
                known.role = role;
                true
            }
            Err(_) => false,
        });
    }

    /// Admitted nodes, by key.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeCertificate> {
        self.nodes.values().map(|known| known.signed.certificate())
    }

    /// The certificate of an admitted node.
    #[must_use]
    pub fn node(&self, key: &NodeKey) -> Option<&NodeCertificate> {
        self.nodes.get(key).map(|known| known.signed.certificate())
    }

    /// The member of an admitted node.
    #[must_use]
    pub fn member(&self, key: &NodeKey) -> Option<MemberCode> {
        self.node(key).map(|certificate| certificate.member)
    }

    /// What an admitted node may do.
    pub(crate) fn role(&self, key: &NodeKey) -> Option<MemberRole> {
        self.nodes.get(key).map(|known| known.role)
    }

    /// Whether a pulse is its node's; `Ok(false)` when the node is not known.
    ///
    /// # Errors
    /// [`Reject`] if it does not verify.
    pub fn check_pulse(&self, signed: &SignedPulse, node: &NodeKey) -> Result<bool, Reject> {
        let Some(known) = self.nodes.get(node) else { return Ok(false) };
        let malformed = |e: VerifyError| Reject::Malformed { what: "pulse", detail: e.to_string() };
        signed.verify(&known.public).map(|()| true).map_err(malformed)
    }

    /// Checks whose log it is. The log of a member that has left, or of a revoked node, is still a log: what was
    /// written in time stays valid.
    ///
    /// # Errors
    /// [`Reject`] if the certificate does not hold or the log is not one that this version keeps.
    pub fn check_log(&self, descriptor: LogDescriptor) -> Result<CheckedLog, Reject> {
        let signed = SignedCertificate::decode(&descriptor.certificate).map_err(AdmitError::Certificate)?;
        let certificate = signed.certificate().clone();
        let (role, public) = match self.nodes.get(&certificate.key) {
            Some(known) if known.signed == signed => (self.charter.log_role(certificate.member), known.public.clone()),
            _ => {
                let role = self.charter.admit_log(&signed)?;
                let malformed = |e: VerifyError| Reject::Malformed { what: "node key", detail: e.to_string() };
                (role, self.public(&certificate.key).map_err(malformed)?)
            }
        };
        let id = certificate.log(descriptor.incarnation, &descriptor.audience);
        if descriptor.realm != Realm::OPS || descriptor.audience != AudienceId::FEDERATION {
            return Err(Reject::ForeignLog(id));
        }
        Ok(CheckedLog { id, descriptor, certificate, role, public })
    }

    /// Checks a fork proof: whose log it is of, and that its origin signed both headers.
    ///
    /// # Errors
    /// [`Reject`] if it proves nothing.
    pub fn check_fork(&self, proof: ForkProof) -> Result<(CheckedLog, CheckedFork), Reject> {
        let log = self.check_log(proof.log.clone())?;
        let place = proof.check(log.id, &log.public).map_err(|source| Reject::Fork { log: log.id, source })?;
        let fork = CheckedFork { log: log.id, place, proof };
        Ok((log, fork))
    }

    /// Checks a beacon: its node must be known, or bring a certificate that the charter admits.
    /// `Ok(None)` when it is of an unknown node and brings none: a complete one will follow.
    ///
    /// # Errors
    /// [`Reject`] if it is malformed or does not verify.
    pub fn check_beacon(&self, signed: SignedBeacon) -> Result<Option<CheckedBeacon>, Reject> {
        let malformed = |detail: String| Reject::Malformed { what: "beacon", detail };
        let beacon = signed.beacon().map_err(|e| malformed(e.to_string()))?;
        let certificate = match &beacon.certificate {
            Some(bytes) => Some(SignedCertificate::decode(bytes).map_err(AdmitError::Certificate)?),
            None => None,
        };
        if certificate.as_ref().is_some_and(|certificate| certificate.certificate().key != beacon.node) {
            return Err(malformed("it brings another node's certificate".into()));
        }
        let public = match (&certificate, self.nodes.get(&beacon.node)) {
            (_, Some(known)) => known.public.clone(),
            (Some(certificate), None) => {
                self.charter.admit(certificate)?;
                self.public(&beacon.node).map_err(|e| malformed(e.to_string()))?
            }
            (None, None) => return Ok(None),
        };
        signed.verify(&public).map_err(|e| malformed(e.to_string()))?;
        Ok(Some(CheckedBeacon { signed, beacon, certificate }))
    }
}
