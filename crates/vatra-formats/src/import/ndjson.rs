//! Our own alerts, one JSON object per line.

use sha2::{Digest as _, Sha256};
use vatra_model::draft::AlertDraft;

use crate::import::json::{self, ITEMS_MAX, NESTING_MAX};
use crate::import::text::shown;
use crate::import::{ImportDefaults, ImportProblem, Imported, Place};

/// Bytes that one line may have.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// The lines of a file. Blank ones are skipped, but counted.
///
/// A line without `external_id` gets `line:` and the first 32 hexadecimal digits of the SHA-256 of its text,
/// so that the same line imported twice is the same alert. Whoever wants two equal alerts gives them ids.
pub(crate) fn read<'a>(bytes: &'a [u8], defaults: &'a ImportDefaults) -> impl Iterator<Item = Imported> + 'a {
    let lines = bytes.split(|&byte| byte == b'\n').enumerate();
    let alerts = lines.map(|(index, line)| (Place::Line(index + 1), line.trim_ascii())).filter(|(_, l)| !l.is_empty());
    alerts.enumerate().take(ITEMS_MAX + 1).map(move |(index, (place, line))| {
        if index == ITEMS_MAX {
            let detail = format!("this line and all after it were left out, the limit is {ITEMS_MAX} alerts");
            return Imported::refused(place, ImportProblem::new("", detail));
        }
        match draft(line, defaults) {
            Ok(draft) => {
                let external_id = draft.external_id.clone().unwrap_or_default();
                Imported { place, external_id, result: Ok(draft) }
            }
            Err(problem) => Imported::refused(place, problem),
        }
    })
}

fn draft(line: &[u8], defaults: &ImportDefaults) -> Result<AlertDraft, ImportProblem> {
    if line.len() > LINE_BYTES_MAX {
        let detail = format!("the line has {} bytes, the limit is {LINE_BYTES_MAX}", line.len());
        return Err(ImportProblem::new("", detail));
    }
    if let Err(error) = std::str::from_utf8(line) {
        return Err(ImportProblem::new(
            "",
            format!("is not UTF-8 from byte {} of the line on", error.valid_up_to() + 1),
        ));
    }
    if json::is_too_deep(line) {
        return Err(ImportProblem::new("", format!("nests deeper than {NESTING_MAX} levels")));
    }
    let mut draft = AlertDraft::from_json(line).map_err(|error| {
        ImportProblem::new(shown(&error.field), format!("{}; {}", shown_whole(&error.problem), error.remedy))
    })?;
    draft.class = draft.class.or(defaults.class);
    if draft.writers.is_empty() {
        draft.writers.clone_from(&defaults.writers);
    }
    if draft.external_id.is_none() {
        draft.external_id = Some(derived_id(line));
    }
    Ok(draft)
}

/// The text with control characters escaped; `from_json` bounds its length.
fn shown_whole(text: &str) -> String {
    text.chars().take(512).flat_map(|c| if c.is_control() { c.escape_debug().collect() } else { vec![c] }).collect()
}

fn derived_id(line: &[u8]) -> String {
    let hash = Sha256::digest(line);
    hash[..16].iter().fold("line:".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}
