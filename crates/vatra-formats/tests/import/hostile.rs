//! Hostile bytes: whatever comes in, an import ends, does not panic, and yields only drafts that pass their check.

use proptest::prelude::*;
use proptest::sample::Index;
use vatra_formats::import::INPUT_BYTES_MAX;
use vatra_formats::{Format, ImportDefaults, Place, detect};
use vatra_model::Class;
use vatra_model::schema::words::Tlp;

use crate::{EXTRACTS, KEV, all, problems, unlabelled_is_clear};

fn open_to_everything() -> ImportDefaults {
    ImportDefaults { relabel_tlp: Some(Tlp::Green), class: Some(Class::Routine), ..unlabelled_is_clear() }
}

fn check(bytes: &[u8], format: Format, defaults: &ImportDefaults) {
    for imported in all(bytes, format, defaults) {
        match imported.result {
            Ok(draft) => {
                assert_eq!(draft.check(), Ok(()));
                assert_eq!(draft.external_id, Some(imported.external_id));
                draft.into_create("UA".parse().expect("a code"), [0; 16]).expect("fits");
            }
            Err(problem) => {
                let text = problem.to_string();
                assert!(!text.chars().any(char::is_control) && text.len() < 2000, "{text:?}");
            }
        }
    }
}

#[test]
fn a_file_that_is_too_large_is_refused_unread() {
    let bytes = vec![b' '; INPUT_BYTES_MAX + 1];
    for format in Format::ALL {
        let found = problems(&bytes, format, &ImportDefaults::default());
        assert_eq!(found, [(Place::File, "has 268435457 bytes, the limit is 268435456".to_owned())]);
    }
}

#[test]
fn deep_nesting_is_refused_in_every_format() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let files = [
        (
            Format::Kev,
            format!(r#"{{"vulnerabilities":[{{"cveID":"CVE-2026-0001","vulnerabilityName":"a","x":{deep}}}]}}"#),
        ),
        (Format::Misp, format!(r#"{{"Event":{{"uuid":"5bad1dfe-05bc-4c68-a9f3-50e00a016219","x":{deep}}}}}"#)),
        (Format::Stix, format!(r#"{{"objects":[{{"type":"report","id":"a","x":{deep}}}]}}"#)),
        (Format::Ndjson, format!(r#"{{"kind":{deep}}}"#)),
    ];
    for (format, file) in files {
        let found = problems(file.as_bytes(), format, &open_to_everything());
        assert!(
            found.iter().any(|(_, problem)| problem.contains("nests deeper than 64 levels")),
            "{format}: {found:?}"
        );
    }
}

#[test]
fn broken_utf8_ends_a_document_where_it_stands() {
    let mut bytes = KEV.to_vec();
    let at = bytes.len() / 2 + bytes[KEV.len() / 2..].iter().position(|&byte| byte == b'V').expect("a letter");
    bytes[at] = 0xff;
    let imported = all(&bytes, Format::Kev, &ImportDefaults::default());
    assert!(imported.len() > 20);
    assert!(imported.last().is_some_and(|last| last.result.is_err()));
    assert!(imported[..imported.len() - 1].iter().all(|item| item.result.is_ok()));
}

fn format() -> impl Strategy<Value = Format> {
    prop::sample::select(&Format::ALL[..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), format in format()) {
        check(&bytes, format, &open_to_everything());
        let _ = detect(&bytes, "x.json");
    }

    #[test]
    fn random_json_like_text_never_panics(text in r#"([\[\]{},:"\\]|"Event"|"objects"|"response"|null|true|-1e9|"[a-z]"){0,200}"#,
        format in format())
    {
        check(text.as_bytes(), format, &open_to_everything());
        let _ = detect(text.as_bytes(), "x");
    }

    #[test]
    fn mutated_extracts_never_panic(
        which in 0..EXTRACTS.len(),
        mutations in prop::collection::vec((any::<Index>(), any::<u8>(), 0..4_u8), 1..30),
        read_as in prop::option::weighted(0.2, format()),
    ) {
        let (bytes, own) = EXTRACTS[which];
        let mut bytes = bytes.to_vec();
        for (index, byte, how) in mutations {
            let at = index.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, byte),
                _ => { let end = (at + 40).min(bytes.len()); let piece = bytes[at..end].to_vec(); bytes.extend(piece); }
            }
        }
        check(&bytes, read_as.unwrap_or(own), &open_to_everything());
    }

    /// Values of the extracts replaced by others, so that the JSON stays whole and the mapping is reached.
    #[test]
    fn foreign_values_never_make_an_invalid_draft(
        which in 0..EXTRACTS.len(), seed in any::<u64>(), words in prop::collection::vec(r"(?s).{0,300}", 1..6),
    ) {
        let (bytes, format) = EXTRACTS[which];
        let mut value: serde_json::Value = serde_json::from_slice(bytes).expect("the extracts are JSON");
        let mut state = seed | 1;
        replace(&mut value, &mut state, &words);
        check(value.to_string().as_bytes(), format, &open_to_everything());
    }

    #[test]
    fn every_cut_gives_a_prefix(which in 0..EXTRACTS.len(), cut in any::<Index>()) {
        let (bytes, format) = EXTRACTS[which];
        let whole = all(bytes, format, &unlabelled_is_clear());
        let part = all(&bytes[..cut.index(bytes.len())], format, &unlabelled_is_clear());
        for (at, imported) in part.iter().enumerate().filter(|(_, imported)| imported.result.is_ok()) {
            prop_assert_eq!(imported, &whole[at]);
        }
    }
}

/// Replaces about one in sixteen values (xorshift; the seed makes it repeatable).
fn replace(value: &mut serde_json::Value, state: &mut u64, words: &[String]) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    let pick = *state >> 32;
    if pick.is_multiple_of(16) {
        *value = match pick / 16 % 8 {
            0 => serde_json::Value::Null,
            1 => (pick as i64).into(),
            2 => true.into(),
            3 => serde_json::json!([words[0]]),
            4 => serde_json::json!({"name": words[0]}),
            _ => words[(pick / 128) as usize % words.len()].clone().into(),
        };
        return;
    }
    match value {
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| replace(item, state, words)),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, state, words)),
        _ => {}
    }
}
