use super::*;
use crate::change::{Change, Edit, Naming, Op, SectionId, Value};
use crate::class::Class;
use crate::ids::{MemberCode, RecordId};
use crate::limits::CHANGE_BYTES_MAX;
use crate::schema::words::{AlertStatus, Severity};
use crate::time::WallMs;

const SMALLEST: &str = r#"{"kind":"incident","title":"T","severity":"severe","sectors":["energy"],"tlp":"green"}"#;

fn ua() -> MemberCode {
    "UA".parse().expect("a code")
}

/// The smallest alert with more fields.
fn with(fields: &str) -> String {
    format!("{},{fields}}}", SMALLEST.trim_end_matches('}'))
}

fn refusal(json: &str) -> (String, String) {
    let error = AlertDraft::from_json(json.as_bytes()).expect_err(json);
    (error.field.clone(), error.to_string())
}

#[test]
fn the_smallest_alert_becomes_five_ops() {
    let draft = AlertDraft::from_json(SMALLEST.as_bytes()).expect("valid");
    assert_eq!(draft.class(), Class::Flash);
    let create = draft.into_create(ua(), [7; 16]).expect("fits");
    assert_eq!(create.writers, vec![ua()]);
    assert_eq!(create.naming, Naming::Nonce([7; 16]));
    assert_eq!(create.ops.len(), 5);
    let element = Op::Add { set: "sectors".into(), key: "energy".into(), value: Value::Bool(true) };
    assert_eq!(create.ops[4], element);
}

#[test]
fn errors_name_the_field_the_limit_and_what_was_found() {
    let long = "x".repeat(257);
    let table = [
        (r#"{"kind":"incident","title":"T","severity":"severe","sectors":["energy"]}"#.to_owned(), "tlp", "is missing"),
        (with(r#""colour":"red""#), "colour", "is not a known field"),
        (with(r#""severity":"minor""#), "severity", "duplicate field"),
        (SMALLEST.replace("severe", "loud"), "severity", "must be one of unknown, minor"),
        (SMALLEST.replace("energy", "magic"), "sectors[0]", "not \"magic\""),
        (SMALLEST.replace("\"energy\"", ""), "sectors", "is empty"),
        (SMALLEST.replace("\"T\"", "5"), "title", "must be a string, not integer `5`"),
        (SMALLEST.replace('T', &long), "title", "has 257 characters, the limit is 256"),
        (SMALLEST.replace("green", "amber"), "tlp", "needs an explicit audience, which this version cannot seal yet"),
        (with(r#""confidence":101"#), "confidence", "is 101, allowed are 0 to 100"),
        (with(r#""expires":"tomorrow""#), "expires", "is not acceptable: a time is RFC 3339"),
        (with(r#""countries":["Ukraine"]"#), "countries[0]", "not a country code"),
        (with(r#""references":[{"url":"https://a"},{"url":"b"}]"#), "references[1].url", "has no scheme"),
        (with(r#""references":[{"uri":"https://a"}]"#), "references[0].uri", "is not a known field"),
        (with(r#""indicators":[{"iid":"1","type":"domain"}]"#), "indicators[0].value", "is missing"),
        (with(r#""translations":{"u":{"title":"a"}}"#), "translations.u", "is not a language tag"),
        (with(r#""translations":{"uk":{"title":""}}"#), "translations.uk.title", "is empty"),
        (with(r#""exercise":{"exercise_id":"x"}"#), "exercise", "realm"),
        (with(r#""supersedes":["xyz"]"#), "supersedes[0]", "32 hexadecimal"),
        (with(r#""class":"soon""#), "class", "must be one of flash, priority, routine, bulk, not \"soon\""),
        (with(r#""writers":["ua"]"#), "writers[0]", "is not acceptable: a member code is 2 to 8 characters"),
        (" []".to_owned(), "", "must be one JSON object"),
        ("7".to_owned(), "", "must be struct"),
        ("{".to_owned(), "", "is not JSON"),
        (format!("{SMALLEST} x"), "", "is not JSON"),
    ];
    for (json, field, part) in table {
        let (found, message) = refusal(&json);
        assert_eq!(found, field, "{message}");
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn hostile_nesting_is_refused() {
    let (_, message) = refusal(&with(&format!(r#""exercise":{}{}"#, "[".repeat(5000), "]".repeat(5000))));
    assert!(message.contains("is not JSON"), "{message}");
}

#[test]
fn an_alert_that_one_change_cannot_hold_is_refused() {
    let mut draft = AlertDraft::from_json(SMALLEST.as_bytes()).expect("valid");
    draft.body = Some("x".repeat(60_000));
    let create = draft.clone().into_create(ua(), [0; 16]).expect("fits");
    assert!(Change::Create(create).encode().len() <= CHANGE_BYTES_MAX);
    draft.body = Some("x".repeat(65_000));
    assert_eq!(draft.check(), Ok(()));
    assert!(draft.clone().into_create(ua(), [0; 16]).is_err_and(|error| error.problem.contains("one change holds")));
    draft.body = None;
    draft.vulnerabilities = (0..200).map(|n| format!("CVE-2026-{n:05}")).collect();
    draft.countries = vec!["UA".into(); 60];
    assert!(draft.into_create(ua(), [0; 16]).is_err_and(|error| error.problem.contains("one change holds 256")));
}

#[test]
fn writers_include_the_owner() {
    let draft = AlertDraft::from_json(with(r#""writers":["UA","LT"]"#).as_bytes()).expect("valid");
    let create = draft.clone().into_create(ua(), [0; 16]).expect("fits");
    assert_eq!(create.writers, vec!["LT".parse().expect("a code"), ua()]);
    let error = draft.into_create("PL".parse().expect("a code"), [0; 16]).expect_err("PL is not among them");
    assert_eq!(error.field, "writers");
}

#[test]
fn repeated_elements_are_refused() {
    let json = with(r#""references":[{"url":"https://a"},{"url":"https://b"},{"url":"https://a","source":"x"}]"#);
    let draft = AlertDraft::from_json(json.as_bytes()).expect("valid");
    let error = draft.into_create(ua(), [0; 16]).expect_err("two with one key");
    assert_eq!((error.field.as_str(), error.problem.as_str()), ("references[2]", "repeats references[0]"));
}

#[test]
fn what_cannot_change_is_refused_with_the_way_on() {
    for (json, field) in [(r#"{"kind":"threat"}"#, "kind"), (r#"{"writers":["UA"]}"#, "writers")] {
        let error = AlertPatch::from_json(json.as_bytes()).expect_err(json);
        assert_eq!(error.field, field);
        assert!(error.remedy.contains("supersedes"), "{error}");
    }
    for json in [r#"{"title":null}"#, r#"{"tlp":null}"#, r#"{"sectors":[]}"#, r#"{"timeline":{"remove":["x"]}}"#] {
        assert!(AlertPatch::from_json(json.as_bytes()).is_err(), "{json} was accepted");
    }
}

#[test]
fn drafts_and_patches_survive_json() {
    let draft = AlertDraft::from_json(with(r#""class":"bulk","confidence":7"#).as_bytes()).expect("valid");
    let json = serde_json::to_vec(&draft).expect("serialises");
    assert_eq!(AlertDraft::from_json(&json), Ok(draft));
    let patch = AlertPatch {
        title: Patched::To("New".into()),
        body: Patched::Clear,
        countries: SetPatch::Change { add: vec!["UA".into()], remove: vec!["LT".into()] },
        related: SetPatch::Exactly(vec![RecordId([1; 16])]),
        severity: Patched::To(Severity::Minor),
        status: Patched::To(AlertStatus::Resolved),
        ..AlertPatch::default()
    };
    let json = serde_json::to_string(&patch).expect("serialises");
    assert!(json.contains(r#""body":null"#) && !json.contains("urgency"), "{json}");
    assert_eq!(AlertPatch::from_json(json.as_bytes()), Ok(patch));
}

#[test]
fn an_acknowledgement_is_stamped_and_counts_as_seen() {
    let draft = ResponseDraft::from_json(br#"{"acknowledged":{"by":"duty"},"note":null}"#).expect("valid");
    let ops = draft.into_ops(WallMs(1000), None).expect("fits");
    let expected = [
        Op::Set { field: "seen_at".into(), value: Value::Int(1000) },
        Op::Set {
            field: "acknowledged".into(),
            value: Value::Text(r#"{"by":"duty","at":"1970-01-01T00:00:01.000Z"}"#.into()),
        },
        Op::Set { field: "note".into(), value: Value::Null },
    ];
    assert_eq!(ops, expected);
    let error = ResponseDraft::from_json(br#"{"sightings":[{"id":"a","count":-1}]}"#).expect_err("negative");
    assert_eq!(error.field, "sightings[0].count");
}

#[test]
fn a_contact_needs_a_name_only() {
    let draft = ContactDraft::from_json(br#"{"name":"Duty","phones":[{"number":"+380 44 1"}]}"#).expect("valid");
    let create = draft.into_create(ua(), [0; 16]).expect("fits");
    assert_eq!(create.ops.len(), 2);
    for (json, field) in [
        (r#"{"role":"head"}"#, "name"),
        (r#"{"name":"a","emails":[{"address":"nobody"}]}"#, "emails[0].address"),
        (r#"{"name":"a","hours":[{"days":["mon"],"from":"9","to":"17:00"}]}"#, "hours[0].from"),
        (r#"{"name":"a","phone":"1"}"#, "phone"),
        (r#"{"name":"a","tlp":"red"}"#, "tlp"),
    ] {
        assert_eq!(ContactDraft::from_json(json.as_bytes()).expect_err(json).field, field);
    }
}

#[test]
fn the_largest_patch_fits_into_a_change() {
    let title = Op::Set { field: "body".into(), value: Value::Text("x".repeat(CHANGE_BYTES_MAX - 1024 - 20)) };
    let edit = Edit {
        record: RecordId([0; 16]),
        section: SectionId::Core,
        deps: vec![crate::ids::ChangeId([0; 16]); crate::limits::CHANGE_DEPS_MAX],
        ops: vec![title],
    };
    assert!(Change::Edit(edit).encode().len() <= CHANGE_BYTES_MAX);
}
