//! A section's Automerge document: made from the record id, extended by derived changes, read as cells.
//!
//! The only file that names automerge. Rules that keep it safe: flat keys at the root; scalars only; each
//! change is its own actor with sequence 1 and time 0, so equal changes are equal bytes on every replica;
//! changes rest on exactly their deps, by a fork where the document holds more.

use automerge::transaction::{CommitOptions, Transactable, Transaction};
use automerge::{ActorId, Automerge, AutomergeError, ChangeHash, ObjId, ROOT, ReadDoc, ScalarValue, Value as AmValue};
use vatra_model::change::Value;
use vatra_model::{ChangeId, RecordId, SectionId};

use crate::meaning::Place;

/// Actor of every section's first change.
const GENESIS_ACTOR: &[u8; 16] = b"vatra genesis v1";
/// Keys of the first change; no name of the schema begins with a slash.
const GENESIS_RECORD: &str = "/record";
const GENESIS_SECTION: &str = "/section";

/// The derived Automerge hash of a change; equal on every replica of one version.
pub(crate) type DerivedHash = [u8; 32];

/// One step of a derived change.
pub(crate) enum Write<'a> {
    /// Put a value.
    Put(Place<'a>, &'a Value),
    /// Delete what is there.
    Delete(Place<'a>),
}

/// One of the values that stand at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedCell {
    pub(crate) key: String,
    pub(crate) value: Value,
    pub(crate) writer: ChangeId,
}

/// Automerge did not take a change or give back a document; the caller discards what it was working on.
#[derive(Debug)]
pub(crate) struct DocumentError;

impl From<AutomergeError> for DocumentError {
    fn from(_: AutomergeError) -> Self {
        DocumentError
    }
}

/// A section's document.
#[derive(Clone)]
pub(crate) struct Document {
    automerge: Automerge,
    genesis: DerivedHash,
}

impl Document {
    /// The document of a section before any change, a function of the ids alone.
    pub(crate) fn genesis(record: RecordId, section: SectionId) -> Document {
        let mut automerge = Automerge::new().with_actor(ActorId::from(GENESIS_ACTOR.as_slice()));
        let mut tx = automerge.transaction();
        let put = tx
            .put(ROOT, GENESIS_RECORD, record.to_string())
            .and_then(|()| tx.put(ROOT, GENESIS_SECTION, section.to_string()));
        put.expect("an empty document takes two texts at its root");
        let (hash, _) = tx.commit_with(at_time_zero());
        let genesis = hash.expect("the change is not empty").0;
        Document { automerge, genesis }
    }

    /// Derives and applies the change `id` that rests on the changes with these hashes.
    pub(crate) fn derive(
        &mut self,
        id: ChangeId,
        deps: &[DerivedHash],
        writes: &[Write<'_>],
    ) -> Result<DerivedHash, DocumentError> {
        let deps: Vec<ChangeHash> = match deps {
            [] => vec![ChangeHash(self.genesis)],
            deps => deps.iter().copied().map(ChangeHash).collect(),
        };
        let actor = ActorId::from(id.0.as_slice());
        let is_tip = {
            let mut sorted = deps.clone();
            sorted.sort_unstable();
            sorted == self.automerge.get_heads()
        };
        if is_tip {
            self.automerge.set_actor(actor);
            return commit(&mut self.automerge, writes);
        }
        let mut fork = self.automerge.fork_at(&deps)?;
        fork.set_actor(actor);
        let hash = commit(&mut fork, writes)?;
        let change = fork.get_change_by_hash(&ChangeHash(hash)).ok_or(DocumentError)?;
        self.automerge.apply_changes([change])?;
        Ok(hash)
    }

    /// All values that stand at any place, those of one place side by side. A derived document holds nothing
    /// but scalars of changes at its root; anything else would be passed over.
    pub(crate) fn cells(&self) -> Vec<OwnedCell> {
        let mut cells = Vec::new();
        let mut push = |key: &str, value: &AmValue<'_>, id: &ObjId| {
            if let (Some(value), Some(writer)) = (read_value(value), writer(id)) {
                cells.push(OwnedCell { key: key.to_owned(), value, writer });
            }
        };
        for item in self.automerge.map_range(ROOT, ..) {
            if item.key.starts_with('/') {
                continue;
            }
            if item.conflict {
                for (value, id) in self.automerge.get_all(ROOT, item.key.as_ref()).unwrap_or_default() {
                    push(&item.key, &value, &id);
                }
            } else {
                let id = item.id();
                push(&item.key, &AmValue::from(item.value), &id);
            }
        }
        cells
    }

    /// What the change with this hash wrote: keys with values, `None` for what it deleted.
    pub(crate) fn writes_of(&self, hash: &DerivedHash) -> Option<Vec<(String, Option<Value>)>> {
        let change = self.automerge.get_change_by_hash(&ChangeHash(*hash))?.decode();
        let writes = change.operations.into_iter().filter_map(|op| {
            let automerge::legacy::Key::Map(key) = &op.key else { return None };
            let value = op.primitive_value().and_then(|scalar| scalar_value(&scalar));
            Some((key.to_string(), value))
        });
        Some(writes.collect())
    }

    /// Hash of the first change.
    pub(crate) fn genesis_hash(&self) -> DerivedHash {
        self.genesis
    }

    /// The document as bytes for this store; they differ between equal replicas and are never compared.
    pub(crate) fn save(&self) -> Vec<u8> {
        self.automerge.save_nocompress()
    }

    /// A document from bytes that [`Document::save`] made on this node. Bytes of others must never come here:
    /// Automerge can be made to panic, to hang or to exhaust memory by them.
    pub(crate) fn load(genesis: DerivedHash, bytes: &[u8]) -> Result<Document, DocumentError> {
        Ok(Document { automerge: Automerge::load_unverified_heads(bytes)?, genesis })
    }
}

fn at_time_zero() -> CommitOptions {
    CommitOptions::default().with_time(0)
}

fn commit(automerge: &mut Automerge, writes: &[Write<'_>]) -> Result<DerivedHash, DocumentError> {
    let mut tx = automerge.transaction();
    for write in writes {
        perform(&mut tx, write)?;
    }
    if tx.pending_ops() > 0 {
        let (hash, _) = tx.commit_with(at_time_zero());
        return hash.map(|hash| hash.0).ok_or(DocumentError);
    }
    // A change without effect still stands in the graph: later ones may rest on it.
    tx.rollback();
    Ok(automerge.empty_commit(at_time_zero()).0)
}

fn perform(tx: &mut Transaction<'_>, write: &Write<'_>) -> Result<(), AutomergeError> {
    match write {
        Write::Delete(place) => tx.delete(ROOT, place.to_key()),
        Write::Put(place, value) => {
            let key = place.to_key();
            let new = to_scalar(value);
            // Automerge drops a put of the value that is there, and with it what the author affirmed against
            // concurrent changes. Deleting first makes the put count.
            let repeats = match tx.get(ROOT, key.as_str())? {
                Some((AmValue::Scalar(old), _)) => *old == new,
                Some(_) | None => false,
            };
            if repeats {
                tx.delete(ROOT, key.as_str())?;
            }
            tx.put(ROOT, key, new)
        }
    }
}

fn to_scalar(value: &Value) -> ScalarValue {
    match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(yes) => ScalarValue::Boolean(*yes),
        Value::Int(number) => ScalarValue::Int(*number),
        Value::Text(text) => ScalarValue::Str(text.as_str().into()),
    }
}

fn read_value(value: &AmValue<'_>) -> Option<Value> {
    match value {
        AmValue::Scalar(scalar) => scalar_value(scalar),
        AmValue::Object(_) => None,
    }
}

fn scalar_value(scalar: &ScalarValue) -> Option<Value> {
    match scalar {
        ScalarValue::Null => Some(Value::Null),
        ScalarValue::Boolean(yes) => Some(Value::Bool(*yes)),
        ScalarValue::Int(number) => Some(Value::Int(*number)),
        ScalarValue::Str(text) => Some(Value::Text(text.to_string())),
        _ => None,
    }
}

/// The change that wrote a value: its actor.
fn writer(id: &ObjId) -> Option<ChangeId> {
    match id {
        ObjId::Id(_, actor, _) => ChangeId::from_slice(actor.to_bytes()),
        ObjId::Root => None,
    }
}
