//! The facts by which lists and filters choose, in 16 bytes.

use crate::change::RecordKind;
use crate::ids::MemberCode;
use crate::schema::words::{AlertKind, AlertStatus, ContactStatus, Severity, Tlp};
use crate::view::{AlertView, ContactView, View};

/// An index row's worth of a view.
///
/// Bytes: `record kind << 4 | tlp`, `alert kind << 4 | severity`, `status << 4 | flags`, 0, `sectors u32 LE`, `owner [8]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Summary {
    /// What the record is.
    pub record_kind: RecordKind,
    /// Label of the record.
    pub tlp: Tlp,
    /// What an alert is about; `None` for other records.
    pub alert_kind: Option<AlertKind>,
    /// How grave an alert is; unknown for other records.
    pub severity: Severity,
    /// Where an alert stands; a contact is active or, once it has left, cancelled.
    pub status: AlertStatus,
    /// Whether an ending of the alert is disputed.
    pub cancel_disputed: bool,
    /// Whether the view lists conflicts.
    pub has_conflicts: bool,
    /// Bits of the sectors that are affected.
    pub sectors: u32,
    /// The member that made the record.
    pub owner: MemberCode,
}

const FLAG_DISPUTED: u8 = 1;
const FLAG_CONFLICTS: u8 = 2;
/// Alert kind of a record that is none; no word has this number.
const NO_ALERT_KIND: u8 = 15;

impl Summary {
    /// The summary of a view.
    #[must_use]
    pub fn of(view: &View) -> Summary {
        match view {
            View::Alert(alert) => Summary::of_alert(alert),
            View::Contact(contact) => Summary::of_contact(contact),
        }
    }

    fn of_alert(alert: &AlertView) -> Summary {
        Summary {
            record_kind: RecordKind::Alert,
            tlp: alert.tlp,
            alert_kind: Some(alert.kind),
            severity: alert.severity,
            status: alert.status,
            cancel_disputed: alert.cancel_disputed,
            has_conflicts: !alert.conflicts.is_empty(),
            sectors: alert.sectors.iter().fold(0, |bits, sector| bits | sector.bit()),
            owner: alert.owner,
        }
    }

    fn of_contact(contact: &ContactView) -> Summary {
        Summary {
            record_kind: RecordKind::Contact,
            tlp: contact.tlp,
            alert_kind: None,
            severity: Severity::Unknown,
            status: match contact.status {
                ContactStatus::Active => AlertStatus::Active,
                ContactStatus::Left => AlertStatus::Cancelled,
            },
            cancel_disputed: false,
            has_conflicts: !contact.conflicts.is_empty(),
            sectors: 0,
            owner: contact.owner,
        }
    }

    /// The summary as an index stores it.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[0] = ((self.record_kind as u8) << 4) | self.tlp as u8;
        bytes[1] = (self.alert_kind.map_or(NO_ALERT_KIND, |kind| kind as u8) << 4) | self.severity as u8;
        let disputed = if self.cancel_disputed { FLAG_DISPUTED } else { 0 };
        let conflicts = if self.has_conflicts { FLAG_CONFLICTS } else { 0 };
        bytes[2] = ((self.status as u8) << 4) | disputed | conflicts;
        bytes[4..8].copy_from_slice(&self.sectors.to_le_bytes());
        bytes[8..].copy_from_slice(&self.owner.padded());
        bytes
    }

    /// Reads a stored summary; `None` when the bytes are not one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 16]) -> Option<Summary> {
        let at = |index: u8| usize::from(index);
        let [kind_tlp, alert_severity, status_flags, _, s0, s1, s2, s3, owner @ ..] = *bytes;
        let alert_kind = match alert_severity >> 4 {
            NO_ALERT_KIND => None,
            number => Some(*AlertKind::ALL.get(at(number))?),
        };
        let owner_len = owner.iter().position(|b| *b == 0).unwrap_or(owner.len());
        Some(Summary {
            record_kind: RecordKind::from_u8(kind_tlp >> 4)?,
            tlp: *Tlp::ALL.get(at(kind_tlp & 15))?,
            alert_kind,
            severity: *Severity::ALL.get(at(alert_severity & 15))?,
            status: *AlertStatus::ALL.get(at(status_flags >> 4))?,
            cancel_disputed: status_flags & FLAG_DISPUTED != 0,
            has_conflicts: status_flags & FLAG_CONFLICTS != 0,
            sectors: u32::from_le_bytes([s0, s1, s2, s3]),
            owner: std::str::from_utf8(&owner[..owner_len]).ok()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_summary_survives_its_bytes() {
        let summary = Summary {
            record_kind: RecordKind::Alert,
            tlp: Tlp::Green,
            alert_kind: Some(AlertKind::Request),
            severity: Severity::Extreme,
            status: AlertStatus::Cancelled,
            cancel_disputed: true,
            has_conflicts: true,
            sectors: 0x8000_0001,
            owner: "NATO".parse().expect("a code"),
        };
        assert_eq!(Summary::from_bytes(&summary.to_bytes()), Some(summary));
        let contact = Summary { record_kind: RecordKind::Contact, alert_kind: None, ..summary };
        assert_eq!(Summary::from_bytes(&contact.to_bytes()), Some(contact));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in any::<[u8; 16]>()) {
            if let Some(summary) = Summary::from_bytes(&bytes) {
                prop_assert_eq!(Summary::from_bytes(&summary.to_bytes()), Some(summary));
            }
        }
    }
}
