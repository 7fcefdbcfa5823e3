//! Imports of the licensed extracts in `data`, of half-broken files and of hostile bytes.

mod hostile;
mod kev;
mod misp;
mod ndjson;
mod stix;

use vatra_formats::{Format, ImportDefaults, Imported, Place, detect, import};
use vatra_model::draft::AlertDraft;
use vatra_model::schema::words::Tlp;

const KEV: &[u8] = include_bytes!("../../data/kev/kev-extract.json");
const ALDERAAN: &[u8] = include_bytes!("../../data/misp/alderaan.json");
const ENDOR: &[u8] = include_bytes!("../../data/misp/endor.json");
const TELEBOTS: &[u8] = include_bytes!("../../data/misp/misp-telebots.json");
const CRUTCH: &[u8] = include_bytes!("../../data/misp/misp-turla-crutch-event.json");
const POISON_IVY: &[u8] = include_bytes!("../../data/stix/poisonivy.json");
const C2: &[u8] = include_bytes!("../../data/stix/indicators-for-C2-with-COA.json");

/// All extracts with their formats.
const EXTRACTS: [(&[u8], Format); 7] = [
    (KEV, Format::Kev),
    (ALDERAAN, Format::Misp),
    (ENDOR, Format::Misp),
    (TELEBOTS, Format::Misp),
    (CRUTCH, Format::Misp),
    (POISON_IVY, Format::Stix),
    (C2, Format::Stix),
];

fn unlabelled_is_clear() -> ImportDefaults {
    ImportDefaults { unlabelled_tlp: Some(Tlp::Clear), ..ImportDefaults::default() }
}

fn all(bytes: &[u8], format: Format, defaults: &ImportDefaults) -> Vec<Imported> {
    import(bytes, format, defaults).collect()
}

/// The drafts of a file that has no problems.
fn drafts(bytes: &[u8], format: Format, defaults: &ImportDefaults) -> Vec<AlertDraft> {
    let draft = |imported: Imported| match imported.result {
        Ok(draft) => draft,
        Err(problem) => panic!("{}: {problem}", imported.place),
    };
    import(bytes, format, defaults).map(draft).collect()
}

/// The problems of a file, with their places.
fn problems(bytes: &[u8], format: Format, defaults: &ImportDefaults) -> Vec<(Place, String)> {
    let problem = |imported: Imported| Some((imported.place, imported.result.err()?.to_string()));
    import(bytes, format, defaults).filter_map(problem).collect()
}

#[test]
fn the_extracts_are_known_by_their_heads() {
    for (bytes, format) in EXTRACTS {
        assert_eq!(detect(&bytes[..bytes.len().min(4096)], "x.json"), Some(format));
    }
}

#[test]
fn a_second_import_finds_the_same_alerts() {
    for (bytes, format) in EXTRACTS {
        let first = all(bytes, format, &unlabelled_is_clear());
        assert!(first.iter().all(|imported| imported.result.is_ok() && !imported.external_id.is_empty()));
        assert_eq!(first, all(bytes, format, &unlabelled_is_clear()));
    }
}

#[test]
fn every_draft_fits_into_one_create() {
    let owner = "UA".parse().expect("a member code");
    for (bytes, format) in EXTRACTS {
        for draft in drafts(bytes, format, &unlabelled_is_clear()) {
            assert_eq!(draft.check(), Ok(()));
            draft.into_create(owner, [0; 16]).expect("an imported draft fits");
        }
    }
}
