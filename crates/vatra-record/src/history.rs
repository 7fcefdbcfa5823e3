//! Who changed what and when, change by change.

use serde::Serialize;
use vatra_model::change::Value;
use vatra_model::time::WallMs;
use vatra_model::view::Scalar;
use vatra_model::{ChangeId, MemberCode, NodeKey, SectionId};

use crate::graph::{Node, Outcome};
use crate::record::Record;
use crate::section::Section;

/// One change in the history of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryItem {
    /// The change.
    pub change: ChangeId,
    /// When, by its author's clock.
    pub at: WallMs,
    /// The member whose node signed it.
    pub member: MemberCode,
    /// The node that signed it.
    pub node: NodeKey,
    /// The section, `core` or `response(UA)`.
    pub section: String,
    /// Whether it made the record.
    pub creates: bool,
    /// The changes it rests on.
    pub deps: Vec<ChangeId>,
    /// Why it has no effect, if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<String>,
    /// What it set, in the order of the fields' names.
    pub fields: Vec<HistoryField>,
}

/// A field that a change wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryField {
    /// Its name; an element of a set as `set/key`.
    pub field: String,
    /// Its new value; null when it was cleared or removed. Structured values are their JSON text.
    pub value: Scalar,
}

impl Record {
    /// The applied and quarantined changes of the record, oldest first by their authors' clocks.
    #[must_use]
    pub fn history(&self) -> Vec<HistoryItem> {
        let mut items: Vec<_> = self
            .sections
            .iter()
            .flat_map(|(id, section)| {
                section.graph.iter().map(move |(change, node)| (node.hlc, item(*id, section, change, node)))
            })
            .collect();
        items.sort_by_key(|(hlc, item)| (*hlc, item.change));
        items.into_iter().map(|(_, item)| item).collect()
    }
}

fn item(section_id: SectionId, section: &Section, change: &ChangeId, node: &Node) -> HistoryItem {
    let (fields, quarantined) = match node.outcome {
        Outcome::Derived(hash) => (section.document.writes_of(&hash).unwrap_or_default(), None),
        Outcome::Quarantined(reason) => (Vec::new(), Some(reason.to_string())),
    };
    let mut fields: Vec<HistoryField> =
        fields.into_iter().map(|(field, value)| HistoryField { field, value: scalar(value) }).collect();
    // Where a value was deleted first and then put again, the put says what happened.
    fields.sort_by(|a, b| a.field.cmp(&b.field));
    fields.dedup_by(|later, earlier| {
        let same = later.field == earlier.field;
        if same {
            earlier.value = std::mem::replace(&mut later.value, Scalar::Null(()));
        }
        same
    });
    HistoryItem {
        change: *change,
        at: node.hlc.wall(),
        member: node.author,
        node: node.origin,
        section: section_id.to_string(),
        creates: node.is_create,
        deps: node.deps.clone(),
        quarantined,
        fields,
    }
}

fn scalar(value: Option<Value>) -> Scalar {
    match value {
        None | Some(Value::Null) => Scalar::Null(()),
        Some(Value::Bool(yes)) => Scalar::Bool(yes),
        Some(Value::Int(number)) => Scalar::Int(number),
        Some(Value::Text(text)) => Scalar::Text(text),
    }
}
