//! Receipts: a node's signed word on how far it holds the logs, to be carried back. The word that a node gives after
//! an import also names the bundle and what became of it; without that part it is a frontier file.

use minicbor::{Decoder, Encoder};
use vatra_model::certificate::{CERTIFICATE_BYTES_MAX, SignedCertificate};
use vatra_model::keys::LABEL_RECEIPT;
use vatra_model::limits::LOGS_MAX;
use vatra_model::{EntryHash, Frontier, Head, LogId, Public, Secret, WallMs};

use crate::cbor::{self, Malformed};
use crate::error::ReceiptError;
use crate::manifest::{BundleId, StatementError, seal, unseal};
use crate::section::FORMAT_VERSION;

/// What a receipt begins with.
pub const RECEIPT_MAGIC: [u8; 8] = *b"\x89VTR\r\n\x1a\n";
/// Longest receipt in bytes.
pub const RECEIPT_BYTES_MAX: usize = 512 * 1024;

/// What became of the entries of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intake {
    /// The bundle.
    pub bundle: BundleId,
    /// Entries that were new.
    pub new: u64,
    /// Entries that were held already.
    pub held: u64,
    /// Entries that were refused.
    pub refused: u64,
}

/// How far a node holds the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Hash of the charter's first epoch.
    pub founding: [u8; 32],
    /// The node's signed certificate.
    pub certificate: Vec<u8>,
    /// When it was given, by the node's clock; informative.
    pub given: WallMs,
    /// What the node held then, durably and without gaps.
    pub frontier: Frontier,
    /// The import that it was given for; `None` in a frontier file.
    pub intake: Option<Intake>,
}

/// A receipt that the node that it names has signed. Whether that node is admitted, a charter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReceipt {
    receipt: Receipt,
    certificate: SignedCertificate,
}

impl Receipt {
    /// What people call the file: without an intake it only says how far its giver holds the logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        if self.intake.is_some() { "receipt" } else { "frontier file" }
    }

    /// The file of this receipt.
    #[must_use]
    pub fn sign(&self, secret: &Secret) -> Vec<u8> {
        let mut bytes = RECEIPT_MAGIC.to_vec();
        bytes.push(FORMAT_VERSION);
        bytes.extend(seal(&self.encode(), LABEL_RECEIPT, secret));
        bytes
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512 + self.frontier.0.len() * 72);
        let mut e = Encoder::new(&mut bytes);
        let written: Result<_, minicbor::encode::Error<std::convert::Infallible>> = (|| {
            e.array(5)?.bytes(&self.founding)?.bytes(&self.certificate)?.u64(self.given.0)?;
            e.array(self.frontier.0.len() as u64)?;
            for (log, head) in &self.frontier.0 {
                e.array(3)?.bytes(&log.0)?.u64(head.height)?.bytes(&head.head.0)?;
            }
            match &self.intake {
                None => e.null()?,
                Some(intake) => {
                    e.array(4)?.bytes(&intake.bundle.0)?.u64(intake.new)?.u64(intake.held)?.u64(intake.refused)?
                }
            };
            Ok(())
        })();
        written.expect("writing to memory does not fail");
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Receipt, Malformed> {
        let mut d = Decoder::new(bytes);
        cbor::array(&mut d, "receipt", 5)?;
        let founding = cbor::fixed(&mut d, "founding hash")?;
        let certificate = cbor::bytes(&mut d, "certificate", CERTIFICATE_BYTES_MAX)?.to_vec();
        let given = WallMs(cbor::unsigned(&mut d, "time")?);
        let mut frontier = Frontier::default();
        let mut last = None;
        for _ in 0..cbor::list(&mut d, "logs", LOGS_MAX)? {
            cbor::array(&mut d, "log", 3)?;
            let log = LogId(cbor::fixed(&mut d, "log")?);
            let height = cbor::unsigned(&mut d, "height")?;
            let head = EntryHash(cbor::fixed(&mut d, "head")?);
            if last.replace(log).is_some_and(|last| last >= log) {
                return Err(Malformed("order of logs"));
            }
            frontier.0.insert(log, Head { height, head });
        }
        let intake = if cbor::is_null(&mut d, "import")? { None } else { Some(decode_intake(&mut d)?) };
        cbor::end(&d, bytes.len())?;
        Ok(Receipt { founding, certificate, given, frontier, intake })
    }
}

fn decode_intake(d: &mut Decoder<'_>) -> Result<Intake, Malformed> {
    cbor::array(d, "import", 4)?;
    Ok(Intake {
        bundle: BundleId(cbor::fixed(d, "bundle id")?),
        new: cbor::unsigned(d, "new entries")?,
        held: cbor::unsigned(d, "held entries")?,
        refused: cbor::unsigned(d, "refused entries")?,
    })
}

impl SignedReceipt {
    /// Reads a receipt file and checks its signature.
    ///
    /// # Errors
    /// [`ReceiptError`]; nothing of it is believed then.
    pub fn open(bytes: &[u8]) -> Result<SignedReceipt, ReceiptError> {
        let rest = bytes.strip_prefix(&RECEIPT_MAGIC).ok_or(ReceiptError::NotAReceipt)?;
        let (&version, rest) = rest.split_first().ok_or(ReceiptError::NotAReceipt)?;
        if version != FORMAT_VERSION {
            return Err(ReceiptError::Version { found: version });
        }
        if bytes.len() > RECEIPT_BYTES_MAX {
            return Err(ReceiptError::Malformed { what: "too long" });
        }
        Self::open_sealed(rest).map_err(|error| match error {
            StatementError::Malformed(what) => ReceiptError::Malformed { what },
            StatementError::Signature(source) => ReceiptError::Signature(source),
        })
    }

    fn open_sealed(sealed: &[u8]) -> Result<SignedReceipt, StatementError> {
        let (body, signature) = unseal(sealed)?;
        let receipt = Receipt::decode(body)?;
        let certificate = SignedCertificate::decode(&receipt.certificate).map_err(|_| Malformed("certificate"))?;
        let public = Public::new(&certificate.certificate().key.0).map_err(StatementError::Signature)?;
        public.verify(LABEL_RECEIPT, body, &signature).map_err(StatementError::Signature)?;
        Ok(SignedReceipt { receipt, certificate })
    }

    /// What it says.
    #[must_use]
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// The certificate of the node that gave it; not checked against any charter.
    #[must_use]
    pub fn certificate(&self) -> &SignedCertificate {
        &self.certificate
    }
}
