//! STIX bundles.

use serde_json::{Value, json};
use vatra_formats::{Format, ImportDefaults, Place};
use vatra_model::draft::AlertDraft;
use vatra_model::schema::words::{AlertKind, Sector, Severity, Tlp};

use crate::{C2, POISON_IVY, all, drafts, problems, unlabelled_is_clear};

const CLEAR: &str = "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487";
const GREEN_TLP1: &str = "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da";
const AMBER_STRICT: &str = "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003";
const OWNER: &str = "identity--00000000-0000-4000-8000-000000000009";

fn id(kind: &str, number: u32) -> String {
    format!("{kind}--00000000-0000-4000-8000-{number:012}")
}

/// An object marked TLP:CLEAR, with some properties changed.
fn object(kind: &str, number: u32, changes: Value) -> Value {
    let mut object = json!({
        "type": kind, "spec_version": "2.1", "id": id(kind, number), "name": format!("{kind} {number}"),
        "created": "2026-11-20T09:00:00.000Z", "modified": "2026-11-20T09:00:00.000Z",
        "created_by_ref": OWNER, "object_marking_refs": [CLEAR],
    });
    for (name, value) in changes.as_object().expect("an object") {
        object[name] = value.clone();
    }
    object
}

fn indicator(number: u32, changes: Value) -> Value {
    let pattern = format!("[domain-name:value = '{number}.example']");
    let mut object = object("indicator", number, changes);
    object["pattern"] = json!(pattern);
    object["pattern_type"] = json!("stix");
    object["valid_from"] = json!("2026-11-20T08:00:00Z");
    object
}

fn bundle(objects: Value) -> Vec<u8> {
    json!({"type": "bundle", "id": id("bundle", 1), "objects": objects}).to_string().into_bytes()
}

fn read(objects: Value) -> Vec<AlertDraft> {
    drafts(&bundle(objects), Format::Stix, &ImportDefaults::default())
}

#[test]
fn a_real_report_becomes_one_alert() {
    let drafts = drafts(POISON_IVY, Format::Stix, &unlabelled_is_clear());
    assert_eq!(drafts.len(), 1, "everything in it belongs to the report");
    let draft = &drafts[0];
    assert_eq!(draft.external_id.as_deref(), Some("report--f2b63e80-b523-4747-a069-35c002c690db"));
    assert_eq!(draft.title, "Poison Ivy: Assessing Damage and Extracting Intelligence");
    assert_eq!((draft.indicators.len(), draft.vulnerabilities.len()), (25, 6));
    assert_eq!(draft.indicators[0].kind, "ipv4-addr");
    assert_eq!(draft.indicators[0].value.as_deref(), Some("219.76.208.163"));
    assert_eq!(draft.effective.map(|at| at.to_string()).as_deref(), Some("2013-08-21T00:00:00.000Z"));
    assert!(draft.instruction.as_deref().is_some_and(|text| text.starts_with("Calamine is a set of free tools")));
    assert!(draft.body.as_deref().is_some_and(|body| body.contains("- campaign: admin@338, th3bug, menuPass")));
}

#[test]
fn objects_that_no_report_refers_to_stand_alone() {
    let drafts = drafts(C2, Format::Stix, &unlabelled_is_clear());
    let ids: Vec<_> = drafts.iter().filter_map(|draft| draft.external_id.as_deref()).collect();
    assert_eq!(
        ids,
        ["indicator--53fe3b22-0201-47cf-85d0-97c02164528d", "indicator--a932fcc6-e032-476c-826f-cb970a5a1ade"]
    );
    assert_eq!(drafts[1].indicators[0].kind, "sha256");
    let kinds: Vec<AlertKind> = read(json!([
        object("campaign", 1, json!({"first_seen": "2026-01-01T00:00:00Z"})),
        object(
            "vulnerability",
            2,
            json!({"external_references": [{"source_name": "cve", "external_id": "CVE-2026-2"}]})
        ),
        object("incident", 3, json!({})),
        object("report", 4, json!({"report_types": ["incident"], "object_refs": [id("indicator", 9)]})),
        object("malware", 5, json!({})),
    ]))
    .iter()
    .map(|draft| draft.kind)
    .collect();
    assert_eq!(kinds, [AlertKind::Incident, AlertKind::Campaign, AlertKind::Vulnerability, AlertKind::Incident]);
}

#[test]
fn a_report_takes_in_what_it_refers_to() {
    let refs = [id("indicator", 2), id("vulnerability", 3), id("identity", 4), id("location", 5), id("tool", 6)];
    let drafts = read(json!([
        object(
            "report",
            1,
            json!({
                "object_refs": refs, "labels": ["severity:severe", "sector:water", "apt"], "confidence": 85, "lang": "uk",
                "external_references": [{"source_name": "blog", "url": "https://a.example/x"}],
            })
        ),
        indicator(2, json!({})),
        object("vulnerability", 3, json!({"name": "CVE-2026-3"})),
        object("identity", 4, json!({"identity_class": "class", "sectors": ["energy", "defense"]})),
        object("location", 5, json!({"country": "ua"})),
        object("tool", 6, json!({"name": "Hammer"})),
        object("note", 7, json!({"object_refs": [id("report", 1)], "content": "Seen again", "authors": ["Desk"]})),
        object(
            "note",
            8,
            json!({"object_refs": [id("report", 1)], "content": "Foreign", "created_by_ref": id("identity", 4)})
        ),
    ]));
    assert_eq!(drafts.len(), 1);
    let draft = &drafts[0];
    assert_eq!((draft.severity, draft.confidence, draft.lang.as_deref()), (Severity::Severe, Some(85), Some("uk")));
    assert_eq!(draft.sectors, [Sector::Energy, Sector::Water, Sector::DefenceCivil]);
    assert_eq!((&draft.countries[..], &draft.classification[..]), (&["UA".to_owned()][..], &["apt".to_owned()][..]));
    assert_eq!(draft.vulnerabilities, ["CVE-2026-3"]);
    assert_eq!(draft.indicators[0].value.as_deref(), Some("2.example"));
    assert_eq!(draft.references[0].url.as_deref(), Some("https://a.example/x"));
    let timeline: Vec<_> = draft.timeline.iter().map(|e| (e.author.as_deref(), e.text.as_str())).collect();
    assert_eq!(timeline, [(Some("Desk"), "Seen again")]);
    assert!(draft.body.as_deref().is_some_and(|body| body.contains("- tool: Hammer")));
}

#[test]
fn markings_of_all_kinds_decide_the_label() {
    let own = "marking-definition--00000000-0000-4000-8000-000000000077";
    let definition = |value: Value| {
        let mut marking = json!({"type": "marking-definition", "spec_version": "2.1", "id": own});
        marking.as_object_mut().expect("an object").extend(value.as_object().cloned().expect("an object"));
        marking
    };
    let label = |markings: Value, definition: Option<Value>| -> Result<Tlp, String> {
        let mut objects = vec![indicator(1, markings)];
        objects.extend(definition);
        let imported = all(&bundle(json!(objects)), Format::Stix, &ImportDefaults::default()).remove(0);
        imported.result.map(|draft| draft.tlp).map_err(|problem| problem.detail)
    };
    assert_eq!(label(json!({"object_marking_refs": [CLEAR, GREEN_TLP1]}), None), Ok(Tlp::Green));
    let statement = definition(json!({"definition_type": "statement", "definition": {"statement": "(c)"}}));
    assert_eq!(label(json!({"object_marking_refs": [CLEAR, own]}), Some(statement)), Ok(Tlp::Clear));
    let custom = definition(json!({"definition_type": "tlp", "definition": {"tlp": "green"}}));
    assert_eq!(label(json!({"object_marking_refs": [own]}), Some(custom)), Ok(Tlp::Green));
    let extended = json!({"extensions": {"extension-definition--1": {"tlp_2_0": "red"}}});
    let refused = [
        (json!({"object_marking_refs": [CLEAR, AMBER_STRICT]}), None, "TLP:AMBER+STRICT"),
        (json!({"object_marking_refs": [CLEAR, own]}), None, "TLP:AMBER+STRICT"),
        (json!({"object_marking_refs": [CLEAR, own]}), Some(definition(extended)), "TLP:RED"),
        (
            json!({"granular_markings": [{"marking_ref": AMBER_STRICT, "selectors": ["name"]}]}),
            None,
            "TLP:AMBER+STRICT",
        ),
        (json!({"labels": ["tlp:amber"]}), None, "TLP:AMBER"),
        (json!({"object_marking_refs": []}), None, "has no TLP label"),
    ];
    for (markings, definition, part) in refused {
        let detail = label(markings.clone(), definition).expect_err("too strict");
        assert!(detail.contains(part), "{markings}: {detail}");
    }
}

#[test]
fn strict_and_withdrawn_parts_of_a_report_are_left_out_and_counted() {
    let refs = [id("indicator", 2), id("indicator", 3), id("indicator", 4), id("indicator", 5), id("indicator", 6)];
    let drafts = read(json!([
        object("report", 1, json!({"object_refs": refs})),
        indicator(2, json!({})),
        indicator(3, json!({"object_marking_refs": [AMBER_STRICT]})),
        indicator(4, json!({"revoked": true})),
        indicator(5, json!({"object_marking_refs": [GREEN_TLP1]})),
    ]));
    assert_eq!(drafts.len(), 1);
    assert_eq!((drafts[0].tlp, drafts[0].indicators.len()), (Tlp::Green, 2));
    let body = drafts[0].body.as_deref().expect("has a body");
    for part in [
        "1 objects with a stricter label were left out.",
        "1 objects were withdrawn by their source and left out.",
        "1 objects that it refers to are not in the bundle.",
    ] {
        assert!(body.contains(part), "{part:?} is not in {body:?}");
    }
}

#[test]
fn the_newest_version_counts() {
    let drafts = read(json!([
        object("report", 1, json!({"name": "new", "modified": "2026-11-20T09:00:00.5Z", "object_refs": []})),
        object(
            "report",
            1,
            json!({"name": "old", "modified": "2026-11-20T09:00:00Z", "object_refs": [id("indicator", 2)]})
        ),
        indicator(2, json!({})),
    ]));
    let titles: Vec<_> = drafts.iter().map(|draft| draft.title.as_str()).collect();
    assert_eq!(titles, ["new", "indicator 2"], "only the old version referred to the indicator");
}

#[test]
fn what_cannot_become_an_alert_is_named() {
    let file = bundle(json!([
        object("report", 1, json!({"revoked": true})),
        indicator(2, json!({"labels": ["exercise:locked-shields"]})),
        indicator(3, json!({"spec_version": "2.0"})),
        {"type": "indicator"},
        indicator(4, json!({"id": "indicator--x"})),
        indicator(5, json!({"name": "", "confidence": 900})),
    ]));
    let found = problems(&file, Format::Stix, &ImportDefaults::default());
    let expected = [
        (4, "missing field `id`"),
        (1, "revoked: was withdrawn by its source; cancel the alert if it was imported before"),
        (2, "labels: the object belongs to an exercise"),
        (3, "spec_version: is not 2.1"),
        (5, "id: is not a STIX id: \"indicator--x\""),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(item, text)| (Place::Item(item), text.to_owned())).collect();
    assert_eq!(found, expected);
    let last = all(&file, Format::Stix, &ImportDefaults::default()).pop().expect("has items");
    let draft = last.result.expect("an indicator without a name has its pattern as title");
    assert_eq!((draft.title.as_str(), draft.confidence), ("Indicator [domain-name:value = '5.example']", None));
}

#[test]
fn whole_files_are_refused_when_nothing_in_them_can_be_trusted() {
    let refused = |bytes: &[u8]| problems(bytes, Format::Stix, &unlabelled_is_clear()).remove(0);
    let (place, problem) = refused(&POISON_IVY[..POISON_IVY.len() / 2]);
    assert_eq!(place, Place::File);
    assert!(problem.starts_with("cannot be read further: EOF"), "{problem}");
    let old = json!({"type": "bundle", "spec_version": "2.0", "objects": []}).to_string();
    assert_eq!(refused(old.as_bytes()).1, "spec_version: is 2.0: convert the bundle to STIX 2.1");
    let nothing = bundle(json!([object("malware", 1, json!({}))]));
    assert!(refused(&nothing).1.starts_with("objects: none of 1 objects is a report"));
    assert_eq!(refused(b"{\"type\":\"bundle\"}").1, "objects: is missing");
}
