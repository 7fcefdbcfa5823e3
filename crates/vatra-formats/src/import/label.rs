//! Which label an imported alert gets, or why it gets none.

use vatra_model::schema::words::Tlp;

use crate::import::{ImportDefaults, ImportProblem};

/// The strictest label that this version can send to the whole federation.
pub(crate) const OPEN_MAX: Tlp = Tlp::Green;

/// What the source says of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// Its strictest label.
    pub(crate) tlp: Option<Tlp>,
    /// Whether the source gave it to named organisations only.
    pub(crate) narrow: bool,
}

/// What the alert gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Its label.
    pub(crate) tlp: Tlp,
    /// A sentence for the body, if the importer decided.
    pub(crate) note: Option<String>,
}

impl Label {
    /// The label of the alert. What is narrow, or cannot be read, counts as AMBER+STRICT.
    pub(crate) fn decide(self, field: &str, defaults: &ImportDefaults) -> Result<Decision, ImportProblem> {
        let source = if self.narrow { Some(self.tlp.unwrap_or(Tlp::Clear).max(Tlp::AmberStrict)) } else { self.tlp };
        match (source, defaults.unlabelled_tlp, defaults.relabel_tlp) {
            (Some(tlp), _, _) if tlp <= OPEN_MAX => Ok(Decision { tlp, note: None }),
            (Some(tlp), _, Some(relabelled)) => {
                let note = format!(
                    "At its source this was TLP:{}; its importer decided to share it as TLP:{}.",
                    upper(tlp),
                    upper(relabelled)
                );
                Ok(Decision { tlp: relabelled, note: Some(note) })
            }
            (Some(tlp), _, None) => {
                let why = if self.narrow && self.tlp < Some(Tlp::AmberStrict) {
                    "is kept to named organisations at its source".to_owned()
                } else {
                    format!("is labelled TLP:{}", upper(tlp))
                };
                let detail =
                    format!("the item {why}: it needs an explicit audience, which this version cannot seal yet");
                Err(ImportProblem::new(field, detail))
            }
            (None, Some(tlp), _) => {
                let note = format!("It had no label at its source; its importer chose TLP:{}.", upper(tlp));
                Ok(Decision { tlp, note: Some(note) })
            }
            (None, None, _) => {
                let detail =
                    "the item has no TLP label and counts as TLP:AMBER+STRICT; name a label for the unlabelled";
                Err(ImportProblem::new(field, detail))
            }
        }
    }
}

/// Whether a part of an alert may stand in it: it is open, or the importer opens everything.
pub(crate) fn part_is_open(label: Option<Tlp>, defaults: &ImportDefaults) -> bool {
    label.is_none_or(|tlp| tlp <= OPEN_MAX) || defaults.relabel_tlp.is_some()
}

/// The label that a tag, a STIX label or a marking's name such as `tlp:amber+strict` spells. `None` when it
/// is about something else; an unknown word counts as AMBER+STRICT.
pub(crate) fn spelled(text: &str) -> Option<Tlp> {
    let lower = text.trim().to_ascii_lowercase();
    let word = lower.strip_prefix("tlp:").or_else(|| lower.strip_prefix("tlp="))?;
    Some(match word.trim().trim_matches('"') {
        "ex:chr" => return None,
        "white" => Tlp::Clear,
        word => Tlp::find(&word.replace("amber-strict", "amber+strict")).unwrap_or(Tlp::AmberStrict),
    })
}

fn upper(tlp: Tlp) -> String {
    tlp.as_str().to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_open_labels_pass_unless_the_importer_decides() {
        let strict = ImportDefaults::default();
        let label = |tlp, narrow| Label { tlp, narrow };
        let tlp = |label: Label, defaults: &ImportDefaults| label.decide("Tag", defaults).map(|d| d.tlp).ok();
        assert_eq!(tlp(label(Some(Tlp::Green), false), &strict), Some(Tlp::Green));
        assert_eq!(tlp(label(Some(Tlp::Amber), false), &strict), None);
        assert_eq!(tlp(label(Some(Tlp::Clear), true), &strict), None);
        assert_eq!(tlp(label(None, false), &strict), None);
        let unlabelled = ImportDefaults { unlabelled_tlp: Some(Tlp::Clear), ..ImportDefaults::default() };
        assert_eq!(tlp(label(None, false), &unlabelled), Some(Tlp::Clear));
        assert_eq!(tlp(label(None, true), &unlabelled), None, "narrow is not unlabelled");
        assert_eq!(tlp(label(Some(Tlp::Red), false), &unlabelled), None);
        let relabel = ImportDefaults { relabel_tlp: Some(Tlp::Green), ..ImportDefaults::default() };
        let decision = label(Some(Tlp::Red), false).decide("Tag", &relabel).expect("relabelled");
        assert_eq!(decision.tlp, Tlp::Green);
        assert!(decision.note.is_some_and(|note| note.contains("TLP:RED")));
        assert_eq!(tlp(label(Some(Tlp::Clear), false), &relabel), Some(Tlp::Clear));
    }

    #[test]
    fn labels_are_read_in_all_spellings() {
        let cases = [
            ("tlp:white", Some(Tlp::Clear)),
            ("TLP:CLEAR", Some(Tlp::Clear)),
            ("tlp:amber+strict", Some(Tlp::AmberStrict)),
            ("TLP:AMBER-STRICT", Some(Tlp::AmberStrict)),
            ("tlp:unclear", Some(Tlp::AmberStrict)),
            ("tlp:ex:chr", None),
            ("tlpx:red", None),
        ];
        for (text, tlp) in cases {
            assert_eq!(spelled(text), tlp, "{text}");
        }
    }
}
