//! What the tests of this crate share: changes with authors, and short ways to write them.

use std::collections::BTreeSet;

use vatra_model::change::{Change, Create, Edit, Naming, Op, RecordKind, Value, record_id};
use vatra_model::view::{AlertView, View};
use vatra_model::{ChangeId, Hlc, MemberCode, NodeKey, RecordId, SectionId, WallMs};
use vatra_record::{Applied, AuthoredChange, Record};

/// A change that somebody made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) id: ChangeId,
    pub(crate) author: MemberCode,
    pub(crate) hlc: Hlc,
    pub(crate) change: Change,
}

impl Made {
    pub(crate) fn authored(&self) -> AuthoredChange<'_> {
        let origin = NodeKey([self.author.padded()[0]; 32]);
        AuthoredChange { id: self.id, author: self.author, origin, hlc: self.hlc, change: &self.change }
    }
}

pub(crate) fn member(code: &str) -> MemberCode {
    code.parse().expect("a member code")
}

pub(crate) fn id(number: u8) -> ChangeId {
    ChangeId([number; 16])
}

pub(crate) fn hlc(ms: u64) -> Hlc {
    Hlc::new(WallMs(1_800_000_000_000 + ms), 0)
}

pub(crate) fn set(field: &str, value: &str) -> Op {
    Op::Set { field: field.into(), value: Value::Text(value.into()) }
}

pub(crate) fn set_int(field: &str, value: i64) -> Op {
    Op::Set { field: field.into(), value: Value::Int(value) }
}

pub(crate) fn clear(field: &str) -> Op {
    Op::Set { field: field.into(), value: Value::Null }
}

pub(crate) fn add(set: &str, key: &str) -> Op {
    Op::Add { set: set.into(), key: key.into(), value: Value::Bool(true) }
}

pub(crate) fn add_json(set: &str, key: &str, json: &str) -> Op {
    Op::Add { set: set.into(), key: key.into(), value: Value::Text(json.into()) }
}

pub(crate) fn remove(set: &str, key: &str) -> Op {
    Op::Remove { set: set.into(), key: key.into() }
}

/// An alert of UA that UA and LT may write.
pub(crate) fn joint_create(ops: Vec<Op>) -> Create {
    Create {
        kind: RecordKind::Alert,
        writers: vec![member("LT"), member("UA")],
        naming: Naming::External("vatra-test:1".into()),
        ops,
    }
}

pub(crate) fn alert_ops() -> Vec<Op> {
    vec![
        set("kind", "incident"),
        set("title", "Grid control down"),
        set("severity", "severe"),
        set("tlp", "green"),
        add("sectors", "energy"),
    ]
}

pub(crate) fn joint_record() -> RecordId {
    record_id(member("UA"), &joint_create(Vec::new()))
}

pub(crate) fn create(number: u8, at: u64, ops: Vec<Op>) -> Made {
    Made { id: id(number), author: member("UA"), hlc: hlc(at), change: Change::Create(joint_create(ops)) }
}

/// A contact of UA.
pub(crate) fn contact_create(number: u8, ops: Vec<Op>) -> (RecordId, Made) {
    let create = Create { kind: RecordKind::Contact, writers: vec![member("UA")], naming: Naming::Nonce([9; 16]), ops };
    let record = record_id(member("UA"), &create);
    (record, Made { id: id(number), author: member("UA"), hlc: hlc(0), change: Change::Create(create) })
}

pub(crate) fn edit_of(record: RecordId, number: u8, author: &str, at: u64, deps: &[u8], ops: Vec<Op>) -> Made {
    edit_in(record, SectionId::Core, number, author, at, deps, ops)
}

pub(crate) fn edit(number: u8, author: &str, at: u64, deps: &[u8], ops: Vec<Op>) -> Made {
    edit_of(joint_record(), number, author, at, deps, ops)
}

pub(crate) fn answer(number: u8, author: &str, at: u64, deps: &[u8], ops: Vec<Op>) -> Made {
    let section = SectionId::Response(member(author));
    edit_in(joint_record(), section, number, author, at, deps, ops)
}

pub(crate) fn edit_in(
    record: RecordId,
    section: SectionId,
    number: u8,
    author: &str,
    at: u64,
    deps: &[u8],
    ops: Vec<Op>,
) -> Made {
    let deps: BTreeSet<ChangeId> = deps.iter().map(|number| id(*number)).collect();
    let edit = Edit { record, section, deps: deps.into_iter().collect(), ops };
    Made { id: id(number), author: member(author), hlc: hlc(at), change: Change::Edit(edit) }
}

/// The joint record with these changes, all of which must be applied.
pub(crate) fn built(changes: &[Made]) -> Record {
    built_of(joint_record(), changes)
}

pub(crate) fn built_of(record: RecordId, changes: &[Made]) -> Record {
    let mut built = Record::new(record);
    for made in changes {
        assert_eq!(built.apply(made.authored()), Applied::Applied, "{made:?}");
    }
    built
}

pub(crate) fn alert(record: &Record) -> AlertView {
    match record.view() {
        Some(View::Alert(alert)) => *alert,
        other => panic!("not an alert: {other:?}"),
    }
}

/// The view of changes in the order given and in the opposite one, which must be equal.
pub(crate) fn alert_of(changes: &[Made]) -> AlertView {
    let mut backwards = Record::new(joint_record());
    for made in changes.iter().rev() {
        backwards.apply(made.authored());
    }
    let view = alert(&built(changes));
    assert_eq!(view, alert(&backwards));
    view
}
