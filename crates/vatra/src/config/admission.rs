//! Whether a charter admits this node at all, said with what its operator can do about it.

use thiserror::Error;
use vatra_model::MemberCode;
use vatra_model::certificate::SignedCertificate;
use vatra_model::charter::{AdmitError, Charter};

/// The charter does not admit this node. Nothing is lost; nobody links with it and it publishes nothing until its
/// operator has done what [`NotAdmitted::remedy`] says.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("charter epoch {epoch} does not admit this node: {why}")]
pub(crate) struct NotAdmitted {
    /// Epoch of the charter.
    pub(crate) epoch: u64,
    /// Member that the node is of, as it says.
    pub(crate) member: MemberCode,
    /// Why not. Part of the message, so it is no source.
    pub(crate) why: AdmitError,
}

impl NotAdmitted {
    /// Looks whether a charter admits the node of a certificate.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn check(charter: &Charter, certificate: &SignedCertificate) -> Result<(), NotAdmitted> {
        let (epoch, member) = (charter.current().epoch, certificate.certificate().member);
        charter.admit(certificate).map(|_| ()).map_err(|why| NotAdmitted { epoch, member, why })
    }

    /// What to do.
    pub(crate) fn remedy(&self) -> String {
        let member = self.member;
        match self.why {
            AdmitError::Revoked(_) => format!(
                "a revoked key stays revoked: ask the holder of {member}'s root key for a node directory with a new \
                 key, made with `vatra node init`"
            ),
            AdmitError::UnknownMember(_) => {
                format!("ask the keeper of the charter whether {member} was meant to leave the federation")
            }
            AdmitError::Certificate(_) => format!(
                "make sure that charter.vatra is of this node's federation; if it is, ask the holder of {member}'s root \
                 key for a node directory with a new certificate, made with `vatra node init`"
            ),
        }
    }
}
