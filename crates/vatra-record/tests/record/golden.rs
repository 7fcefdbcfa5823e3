//! Bytes that must never change: views are compared between nodes, changes are signed.
//!
//! A golden file is never edited. When the format must change, a new version gets a new file.

use vatra_model::change::Change;
use vatra_model::draft::AlertDraft;
use vatra_model::view::Digest;
use vatra_model::{SectionId, record_id};
use vatra_record::{Record, view_of_create};

use crate::support::*;

/// Compares with a kept file; a difference is printed as text and as hexadecimal.
fn check(kept: &[u8], found: &[u8]) {
    let shown = |bytes: &[u8]| format!("{}\n{}", String::from_utf8_lossy(bytes), hex::encode(bytes));
    assert!(kept == found, "kept:\n{}\nfound:\n{}", shown(kept), shown(found));
}

#[test]
fn the_view_of_a_full_alert() {
    let draft = AlertDraft::from_json(include_bytes!("../golden/full-draft.json")).expect("valid");
    let create = draft.into_create(member("UA"), [7; 16]).expect("fits");
    let record = record_id(member("UA"), &create);
    let view = view_of_create(record, id(5), member("UA"), hlc(7), &create).expect("an alert");
    check(include_bytes!("../golden/full-alert.view.json"), &view.canonical_bytes());
    check(include_bytes!("../golden/full-alert.change.cbor"), &Change::Create(create).encode());
    let digest = Digest(view.digest_item()).to_string();
    check(include_bytes!("../golden/full-alert.digest"), digest.as_bytes());
}

#[test]
fn the_view_of_an_alert_with_conflicts_and_answers() {
    let made = [
        create(1, 0, alert_ops()),
        edit(2, "UA", 10, &[1], vec![set("title", "Mine"), set("severity", "extreme"), set("status", "cancelled")]),
        edit(3, "LT", 20, &[1], vec![set("title", "Theirs"), set_int("confidence", 40), add("countries", "LT")]),
        answer(
            4,
            "PL",
            30,
            &[],
            vec![
                set("assessment", "not-affected"),
                set("acknowledged", r#"{"by":"duty desk","at":"2026-11-24T02:30:00.000Z"}"#),
            ],
        ),
    ];
    let record = Record::from_changes(joint_record(), made.iter().map(Made::authored));
    check(include_bytes!("../golden/conflicts.view.json"), &record.view().expect("an alert").canonical_bytes());
    check(include_bytes!("../golden/conflicts.edit.cbor"), &made[2].change.encode());
    let hashes: Vec<String> =
        record.derived_hashes().iter().map(|(id, hash)| format!("{id} {}\n", hex::encode(hash))).collect();
    check(include_bytes!("../golden/conflicts.derived.txt"), hashes.concat().as_bytes());
    assert_eq!(record.heads(SectionId::Core), [id(2), id(3)]);
}

#[test]
fn changes_decode_to_what_was_encoded() {
    let bytes = include_bytes!("../golden/conflicts.edit.cbor");
    let change = Change::decode(bytes).expect("decodes");
    assert_eq!(change.encode(), bytes);
}
