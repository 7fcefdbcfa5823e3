//! The short way for records with one create shows what the long way shows.

use proptest::prelude::*;
use vatra_model::change::{Change, Create, Naming, Op, RecordKind, Value, record_id};
use vatra_model::draft::{AlertDraft, ContactDraft};
use vatra_model::view::View;
use vatra_record::{Record, view_of_create};

use crate::support::*;

fn both(create: &Create) -> (Option<View>, Option<View>) {
    let record = record_id(member("UA"), create);
    let made = Made { id: id(5), author: member("UA"), hlc: hlc(7), change: Change::Create(create.clone()) };
    let short = view_of_create(record, made.id, made.author, made.hlc, create);
    (short, Record::from_changes(record, [made.authored()]).view())
}

#[test]
fn an_alert_with_everything_is_shown_the_same_and_as_it_was_sent() {
    let json = include_str!("../golden/full-draft.json");
    let draft = AlertDraft::from_json(json.as_bytes()).expect("valid");
    let create = draft.clone().into_create(member("UA"), [7; 16]).expect("fits");
    let (short, long) = both(&create);
    assert_eq!(short, long);
    let Some(View::Alert(view)) = short else { panic!("not an alert") };
    assert!(!view.newer_than_node && view.conflicts.is_empty());
    assert_eq!((view.title, view.body, view.expires), (draft.title, draft.body, draft.expires));
    assert_eq!(view.translations, draft.translations);
    assert_eq!((view.references, view.indicators), (draft.references, draft.indicators));
    assert_eq!((view.attachments, view.timeline), (draft.attachments, draft.timeline));
    assert_eq!((view.supersedes, view.actions), (draft.supersedes, draft.actions));
    assert_eq!((view.external_id, view.sectors), (draft.external_id, draft.sectors));
}

#[test]
fn a_contact_with_everything_is_shown_the_same_and_as_it_was_sent() {
    let json = include_str!("../golden/full-contact.json");
    let draft = ContactDraft::from_json(json.as_bytes()).expect("valid");
    let create = draft.clone().into_create(member("UA"), [7; 16]).expect("fits");
    let (short, long) = both(&create);
    assert_eq!(short, long);
    let Some(View::Contact(view)) = short else { panic!("not a contact") };
    assert!(!view.newer_than_node && view.conflicts.is_empty());
    assert_eq!((view.name, view.role, view.hours), (draft.name, draft.role, draft.hours));
    assert_eq!((view.phones, view.emails, view.keys), (draft.phones, draft.emails, draft.keys));
    assert_eq!((view.chat, view.shifts, view.languages), (draft.chat, draft.shifts, draft.languages));
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (0_i64..200).prop_map(Value::Int),
        "[a-z{}:\"\n]{0,12}".prop_map(Value::Text),
        prop_oneof![Just("severe"), Just("green"), Just("threat"), Just("cancelled"), Just("priority"), Just("left")]
            .prop_map(|word| Value::Text(word.into())),
        Just(Value::Text(r#"{"url":"https://a"}"#.into())),
        Just(Value::Text(r#"{"number":"+38044","mood":1}"#.into())),
    ]
}

fn any_name() -> impl Strategy<Value = String> {
    use vatra_model::schema::Table;
    let known: Vec<String> = [Table::Alert, Table::Contact, Table::Response]
        .iter()
        .flat_map(|table| table.rules())
        .map(|(name, _)| (*name).to_owned())
        .collect();
    prop_oneof![8 => proptest::sample::select(known), 1 => "[a-z/\u{0}]{0,6}"]
}

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("energy".to_owned()),
        Just("https://a".to_owned()),
        Just("+38044".to_owned()),
        Just("uk".to_owned()),
        Just(String::new()),
        "[a-zA-Z/\u{0}\u{1b}]{0,4}",
    ]
}

pub(crate) fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (any_name(), any_value()).prop_map(|(field, value)| Op::Set { field, value }),
        3 => (any_name(), any_key(), any_value()).prop_map(|(set, key, value)| Op::Add { set, key, value }),
        1 => (any_name(), any_key()).prop_map(|(set, key)| Op::Remove { set, key }),
        1 => any::<u64>().prop_map(|code| Op::Unknown { code }),
    ]
}

proptest! {
    #[test]
    fn any_create_is_shown_the_same(
        kind in prop_oneof![Just(RecordKind::Alert), Just(RecordKind::Contact), Just(RecordKind::Annex)],
        ops in proptest::collection::vec(any_op(), 0..20),
    ) {
        let naming = Naming::Nonce([3; 16]);
        let create = Create { kind, writers: vec![member("UA")], naming, ops };
        let (short, long) = both(&create);
        prop_assert_eq!(short.is_none(), kind == RecordKind::Annex);
        prop_assert_eq!(short.map(|view| view.canonical_bytes()), long.map(|view| view.canonical_bytes()));
    }
}
