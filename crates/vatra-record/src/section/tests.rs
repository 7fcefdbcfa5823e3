use vatra_model::change::{Op, Value};
use vatra_model::schema::Table;
use vatra_model::{ChangeId, Hlc, NodeKey, RecordId, SectionId};

use super::{Body, Section};
use crate::meaning::Moment;
use crate::record::{Applied, QuarantineReason};

const ALERT: Option<Table> = Some(Table::Alert);

fn id(number: u8) -> ChangeId {
    ChangeId([number; 16])
}

fn title(text: &str, deps: &[u8]) -> Body {
    Body {
        author: "UA".parse().expect("a code"),
        origin: NodeKey([1; 32]),
        hlc: Hlc(1),
        deps: deps.iter().map(|number| id(*number)).collect(),
        ops: vec![Op::Set { field: "title".into(), value: Value::Text(text.into()) }],
        moment: Moment::Later,
    }
}

fn titles(section: &Section) -> Vec<Value> {
    section.document.cells().into_iter().map(|cell| cell.value).collect()
}

#[test]
fn a_panic_quarantines_its_change_and_nothing_else() {
    let mut section = Section::new(RecordId([0; 16]), SectionId::Core);
    assert_eq!(section.take(ALERT, id(1), title("one", &[])), Applied::Applied);
    // What rests on the bad change waits for it, and rests on what was before it once it is there.
    assert_eq!(section.take(ALERT, id(3), title("three", &[2])), Applied::Waiting);
    let verdict = section.take(ALERT, id(2), title("panic, please", &[1]));
    assert_eq!(verdict, Applied::Quarantined(QuarantineReason::Underivable));
    assert_eq!(titles(&section), [Value::Text("three".into())]);
    assert_eq!(section.deps_for_edit(), [id(3)]);
    assert_eq!(section.take(ALERT, id(4), title("aside", &[1])), Applied::Applied);
    assert_eq!(titles(&section).len(), 2);
}

#[test]
fn quarantined_changes_do_not_change_what_others_derive() {
    let mut with = Section::new(RecordId([0; 16]), SectionId::Core);
    with.take(ALERT, id(1), title("one", &[]));
    with.take(ALERT, id(2), title("panic, please", &[1]));
    with.take(ALERT, id(3), title("three", &[2]));
    let mut without = Section::new(RecordId([0; 16]), SectionId::Core);
    without.take(ALERT, id(1), title("one", &[]));
    without.take(ALERT, id(3), title("three", &[1]));
    let derived = |section: &Section| section.graph.node(&id(3)).and_then(crate::graph::Node::derived);
    assert!(derived(&with).is_some());
    assert_eq!(derived(&with), derived(&without));
}
