//! MISP events.

use serde_json::{Value, json};
use vatra_formats::{Format, ImportDefaults};
use vatra_model::Class;
use vatra_model::draft::AlertDraft;
use vatra_model::schema::words::{AlertKind, Handling, Sector, Severity, Tlp};

use crate::{ALDERAAN, CRUTCH, TELEBOTS, all, drafts, problems, unlabelled_is_clear};

const UUID: &str = "5bad1dfe-05bc-4c68-a9f3-50e00a016219";

fn tags(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"name": name})).collect()
}

/// An event labelled TLP:CLEAR with some fields changed.
fn event(changes: Value) -> Value {
    let mut event = json!({
        "uuid": UUID, "info": "Test", "date": "2026-11-20", "threat_level_id": "1", "timestamp": "1763600000",
        "Tag": tags(&["tlp:clear"]),
        "Attribute": [{"uuid": "6f59e321-b85f-4cbb-8aa8-58c346837b1d", "type": "domain", "value": "a.example"}],
    });
    for (name, value) in changes.as_object().expect("an object") {
        event[name] = value.clone();
    }
    event
}

fn draft(event: &Value, defaults: &ImportDefaults) -> AlertDraft {
    let file = json!({"Event": event}).to_string();
    drafts(file.as_bytes(), Format::Misp, defaults).remove(0)
}

fn problem(event: &Value, defaults: &ImportDefaults) -> String {
    let file = json!({"Event": event}).to_string();
    problems(file.as_bytes(), Format::Misp, defaults).remove(0).1
}

#[test]
fn a_real_event_becomes_an_alert() {
    let draft = drafts(TELEBOTS, Format::Misp, &ImportDefaults::default()).remove(0);
    assert_eq!(draft.external_id.as_deref(), Some("misp:58503e2f-4c78-442d-833f-8ad202de0b81"));
    assert_eq!((draft.kind, draft.severity, draft.tlp), (AlertKind::Threat, Severity::Moderate, Tlp::Clear));
    assert_eq!(draft.class(), Class::Bulk);
    assert_eq!(draft.classification, ["Type:OSINT", "misp-galaxy:threat-actor=\"TeleBots\""]);
    assert_eq!((draft.indicators.len(), draft.references.len()), (78, 17));
    assert_eq!(draft.onset.map(|at| at.to_string()).as_deref(), Some("2016-12-13T00:00:00.000Z"));
    assert_eq!(draft.effective.map(|at| at.to_string()).as_deref(), Some("2016-12-13T18:41:32.000Z"));
    let server = draft.indicators.iter().find(|i| i.value.as_deref() == Some("93.190.137.212")).expect("is there");
    assert_eq!(server.pattern.as_deref(), Some("[ipv4-addr:value = '93.190.137.212']"));
    assert_eq!((server.kind.as_str(), server.to_ids), ("ip-dst", Some(true)));
    let body = draft.body.expect("has a body");
    assert!(body.starts_with("In the second half of 2016"));
    assert!(body.contains("- hostname `api.telegram.org`: Legitimate servers abused by malware authors"));
}

#[test]
fn the_unlabelled_needs_a_decision() {
    for bytes in [ALDERAAN, CRUTCH] {
        let found = problems(bytes, Format::Misp, &ImportDefaults::default());
        assert!(found[0].1.starts_with("Tag: the item has no TLP label"), "{}", found[0].1);
        let draft = drafts(bytes, Format::Misp, &unlabelled_is_clear()).remove(0);
        assert!(draft.body.is_some_and(|body| body.contains("its importer chose TLP:CLEAR")));
    }
}

#[test]
fn restricted_events_are_refused_unless_relabelled() {
    let amber = event(json!({"Tag": tags(&["tlp:clear", "tlp:amber"])}));
    let sharing_group = event(json!({"distribution": "4"}));
    let relabel = ImportDefaults { relabel_tlp: Some(Tlp::Green), ..unlabelled_is_clear() };
    assert!(problem(&amber, &unlabelled_is_clear()).contains("is labelled TLP:AMBER: it needs an explicit audience"));
    assert!(problem(&sharing_group, &unlabelled_is_clear()).contains("is kept to named organisations"));
    for event in [amber, sharing_group] {
        let draft = draft(&event, &relabel);
        assert_eq!(draft.tlp, Tlp::Green);
        assert!(draft.body.is_some_and(|body| body.contains("decided to share it as TLP:GREEN")));
    }
}

#[test]
fn restricted_parts_stay_behind_and_are_counted() {
    let attribute = |value: &str, more: Value| {
        let mut attribute = json!({"type": "domain", "value": value});
        attribute.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
        attribute
    };
    let event = event(json!({
        "Attribute": [
            attribute("open.example", json!({})),
            attribute("green.example", json!({"Tag": tags(&["tlp:green"])})),
            attribute("red.example", json!({"Tag": tags(&["tlp:red"])})),
            attribute("own.example", json!({"distribution": 0})),
            attribute("gone.example", json!({"deleted": true})),
        ],
        "Object": [{"name": "x", "distribution": "4", "Attribute": [attribute("inner.example", json!({}))]}],
        "EventReport": [{"name": "r", "content": "secret", "distribution": "0"}, {"name": "s", "content": "shown"}],
    }));
    let draft = draft(&event, &ImportDefaults::default());
    let values: Vec<_> = draft.indicators.iter().filter_map(|indicator| indicator.value.as_deref()).collect();
    assert_eq!(values, ["open.example", "green.example"]);
    assert_eq!(draft.tlp, Tlp::Green, "a green part makes the whole green");
    let body = draft.body.expect("has a body");
    assert!(body.contains("# s\n\nshown") && !body.contains("secret"));
    assert!(body.contains("3 attributes with a stricter label or distribution were left out."));
    assert!(body.contains("1 event reports with a stricter distribution were left out."));
}

#[test]
fn exercises_are_refused() {
    for tag in ["exercise:locked-shields=\"2024\"", "EXERCISE"] {
        let event = event(json!({"Tag": tags(&["tlp:clear", tag])}));
        assert!(problem(&event, &unlabelled_is_clear()).contains("belongs to an exercise"));
    }
}

#[test]
fn tags_are_read_for_what_they_mean() {
    let draft = draft(
        &event(json!({"Tag": tags(&[
            "tlp:green", "TLP:EX:CHR", "PAP:RED", "nis2:impact-sectors-impacted=\"energy\"", "rsit:availability=\"outage\"",
            "misp:confidence-level=\"usually-confident\"", "misp-galaxy:sector=\"Bank\"",
        ])})),
        &ImportDefaults::default(),
    );
    assert_eq!(draft.sectors, [Sector::Energy, Sector::Banking]);
    assert_eq!(draft.handling, [Handling::ChathamHouse, Handling::PapRed]);
    assert_eq!((draft.kind, draft.confidence, draft.tlp), (AlertKind::Outage, Some(75), Tlp::Green));
    assert!(!draft.classification.iter().any(|code| code.to_lowercase().starts_with("tlp")));
    assert_eq!(draft.severity, Severity::Severe);
}

#[test]
fn too_many_indicators_are_cut_with_a_note_and_the_detectable_come_first() {
    let attributes: Vec<Value> =
        (0..700).map(|n| json!({"type": "domain", "value": format!("{n}.example"), "to_ids": n >= 400})).collect();
    let draft = draft(&event(json!({"Attribute": attributes})), &ImportDefaults::default());
    let count = draft.indicators.len();
    assert!((200..256).contains(&count), "{count}");
    assert!(draft.indicators[..100].iter().all(|indicator| indicator.to_ids == Some(true)));
    let note = format!("{count} of 700 indicators are here; the source has the others.");
    assert!(draft.body.is_some_and(|body| body.contains(&note)));
}

#[test]
fn large_indicators_and_texts_still_fit_into_one_create() {
    let attributes: Vec<Value> = (0..200)
        .map(|n| json!({"type": "yara", "value": format!("rule r{n} {}", "x".repeat(4000))}))
        .chain([json!({"type": "comment", "value": "ї".repeat(60_000)})])
        .collect();
    let draft = draft(&event(json!({"Attribute": attributes, "info": "ї".repeat(300)})), &ImportDefaults::default());
    assert_eq!(draft.title.chars().count(), 256);
    assert!(draft.title.ends_with('…'));
    let body = draft.body.clone().expect("has a body");
    assert!(body.starts_with(&"ї".repeat(300)), "the body begins with the whole title");
    assert!(body.contains("\n[cut]") && body.contains("of 200 indicators are here"));
    draft.into_create("UA".parse().expect("a code"), [0; 16]).expect("fits");
}

#[test]
fn values_that_are_no_values_are_counted() {
    let draft = draft(
        &event(json!({
            "Attribute": [7, {"type": "domain"}, {"type": "link", "value": "no address"}, {"type": "size-in-bytes", "value": 5},
                {"type": "vulnerability", "value": "CVE-2026-1"}, {"type": "mutex", "value": "a\u{0}b"}],
            "Object": {"name": "single", "Attribute": {"type": "md5", "value": "00"}},
            "threat_level_id": 3, "timestamp": 1_763_600_000, "Galaxy": null, "Orgc": null,
        })),
        &ImportDefaults::default(),
    );
    let body = draft.body.expect("has a body");
    for part in [
        "1 of 2 indicators are here",
        "2 attributes or objects could not be read.",
        "A reference is no address: no address",
        "Attributes that stayed at the source: size-in-bytes 1.",
    ] {
        assert!(body.contains(part), "{part:?} is not in {body:?}");
    }
    assert_eq!(draft.vulnerabilities, ["CVE-2026-1"]);
    assert_eq!(draft.severity, Severity::Minor);
    assert_eq!(draft.timeline[0].at.to_string(), "2025-11-20T00:53:20.000Z");
}

#[test]
fn lists_and_answers_are_read_event_by_event() {
    let other = event(json!({"uuid": UUID.replace('5', "6")}));
    let broken = event(json!({"uuid": "not-a-uuid"}));
    let events = json!([{"Event": event(json!({}))}, other, {"Event": broken}, {"Object": []}]);
    for file in [events.to_string(), json!({"response": events}).to_string()] {
        let imported = all(file.as_bytes(), Format::Misp, &ImportDefaults::default());
        let outcomes: Vec<bool> = imported.iter().map(|item| item.result.is_ok()).collect();
        assert_eq!(outcomes, [true, true, false, false]);
        assert_eq!(imported[0].external_id, format!("misp:{UUID}"));
    }
    let found = problems(b"{\"response\": {\"Attribute\": []}}", Format::Misp, &ImportDefaults::default());
    assert!(found[0].1.contains("expected a list"), "{}", found[0].1);
}
