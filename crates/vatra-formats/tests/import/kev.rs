//! The catalogue of CISA.

use serde_json::{Value, json};
use vatra_formats::{Format, ImportDefaults, Place};
use vatra_model::Class;
use vatra_model::schema::words::{Action, AlertKind, Sector, Severity, Tlp};

use crate::{KEV, all, drafts, problems};

fn catalogue(entries: Value) -> Vec<u8> {
    json!({"catalogVersion": "1", "count": 1, "vulnerabilities": entries}).to_string().into_bytes()
}

#[test]
fn an_entry_becomes_an_alert() {
    let drafts = drafts(KEV, Format::Kev, &ImportDefaults::default());
    assert_eq!(drafts.len(), 60);
    let draft = &drafts[0];
    assert_eq!(draft.external_id.as_deref(), Some("kev:CVE-2025-48384"));
    assert_eq!(draft.title, "CVE-2025-48384: Git Link Following Vulnerability");
    assert_eq!((draft.kind, draft.severity, draft.tlp), (AlertKind::Vulnerability, Severity::Moderate, Tlp::Clear));
    assert_eq!((draft.class, &draft.sectors[..]), (Some(Class::Bulk), &[Sector::DigitalInfrastructure][..]));
    assert_eq!(draft.vulnerabilities, ["CVE-2025-48384"]);
    assert_eq!(draft.actions, [Action::Patch]);
    assert_eq!(draft.effective.map(|at| at.to_string()).as_deref(), Some("2025-08-25T00:00:00.000Z"));
    assert_eq!(draft.expires, None, "the due date binds US agencies only");
    assert!(draft.instruction.as_deref().is_some_and(|text| text.ends_with("US federal agencies: 2025-09-15.")));
    let nvd = draft.references.last().expect("has references");
    assert_eq!(nvd.url.as_deref(), Some("https://nvd.nist.gov/vuln/detail/CVE-2025-48384"));
    assert_eq!(nvd.id.as_deref(), Some("CVE-2025-48384"));
    assert_eq!(draft.references.len(), 6);
}

#[test]
fn ransomware_makes_it_severe_but_not_flash() {
    let drafts = drafts(KEV, Format::Kev, &ImportDefaults::default());
    let severe: Vec<_> = drafts.iter().filter(|draft| draft.severity == Severity::Severe).collect();
    assert_eq!(severe.len(), 5);
    assert!(severe.iter().all(|draft| draft.class() == Class::Bulk));
    let urgent = ImportDefaults { class: Some(Class::Priority), ..ImportDefaults::default() };
    assert!(crate::drafts(KEV, Format::Kev, &urgent).iter().all(|draft| draft.class() == Class::Priority));
}

#[test]
fn the_title_names_the_product_once() {
    let entries = json!([
        {"cveID": "CVE-2026-0001", "vendorProject": "Acme", "product": "Acme Router", "vulnerabilityName": "Overflow"},
        {"cveID": "CVE-2026-0002", "vendorProject": "Acme", "product": "Router", "vulnerabilityName": "Acme Router Bug"},
    ]);
    let titles: Vec<String> =
        drafts(&catalogue(entries), Format::Kev, &ImportDefaults::default()).into_iter().map(|d| d.title).collect();
    assert_eq!(titles, ["CVE-2026-0001: Acme Router: Overflow", "CVE-2026-0002: Acme Router Bug"]);
}

#[test]
fn bad_entries_are_named_and_the_others_imported() {
    let good = json!({"cveID": "CVE-2026-0001", "vulnerabilityName": "a"});
    let file = catalogue(json!([
        good,
        {"cveID": "CVE-26-1", "vulnerabilityName": "a"},
        {"vulnerabilityName": "a"},
        {"cveID": "CVE-2026-0002", "vulnerabilityName": 7},
        {"cveID": "CVE-2026-0003", "vulnerabilityName": "a", "dateAdded": "yesterday"},
        7,
        good,
        {"cveID": "CVE-2026-0004", "vulnerabilityName": "b"},
    ]));
    let expected = [
        (2, "cveID: is not a CVE number: \"CVE-26-1\""),
        (3, "missing field `cveID`"),
        (4, "invalid type: integer `7`, expected a string"),
        (5, "dateAdded: is not a day such as 2025-08-25: \"yesterday\""),
        (6, "invalid type: integer `7`, expected struct Entry"),
        (7, "external_id: kev:CVE-2026-0001 stands at item 1 already"),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(item, text)| (Place::Item(item), text.to_owned())).collect();
    assert_eq!(problems(&file, Format::Kev, &ImportDefaults::default()), expected);
    assert_eq!(all(&file, Format::Kev, &ImportDefaults::default()).iter().filter(|i| i.result.is_ok()).count(), 2);
}

#[test]
fn a_catalogue_cut_off_gives_what_came_before() {
    let cut = &KEV[..KEV.len() / 2];
    let imported = all(cut, Format::Kev, &ImportDefaults::default());
    let (last, whole) = imported.split_last().expect("has items");
    assert!(whole.len() > 20 && whole.iter().all(|item| item.result.is_ok()));
    assert_eq!(last.place, Place::Item(whole.len() + 1));
    let problem = last.result.as_ref().expect_err("the file breaks off").to_string();
    assert!(problem.starts_with("cannot be read further: EOF"), "{problem}");
}

#[test]
fn a_file_without_entries_is_a_problem() {
    let found = problems(b"{\"catalogVersion\": \"1\"}", Format::Kev, &ImportDefaults::default());
    assert_eq!(found, [(Place::Item(1), "vulnerabilities: is missing".to_owned())]);
}
