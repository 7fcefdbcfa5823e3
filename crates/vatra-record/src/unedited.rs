//! Records with a create and no edit, which most are: shown straight from the create, without Automerge.

use std::collections::BTreeMap;

use vatra_model::change::{Create, RecordKind, SectionId};
use vatra_model::schema::Table;
use vatra_model::view::View;
use vatra_model::{ChangeId, Hlc, MemberCode, RecordId};

use crate::authority::Identity;
use crate::graph::Standing;
use crate::meaning::{Meaning, Moment, meaning, status_given};
use crate::project::{self, Cell, CoreFacts, Facts};

/// The view of a record of which there is one create and nothing else; the same as [`crate::Record`] shows.
/// `None` for a create that its author may not make, and for kinds that this version cannot show.
#[must_use]
pub fn view_of_create(record: RecordId, id: ChangeId, author: MemberCode, hlc: Hlc, create: &Create) -> Option<View> {
    let identity = Identity::of_create(record, author, create).ok()?;
    let table = Table::of(create.kind, SectionId::Core);
    let mut is_newer = false;
    let mut cells: Vec<Cell<'_>> = Vec::with_capacity(create.ops.len());
    let mut repeats = false;
    for op in &create.ops {
        match meaning(table, Moment::Creation, op) {
            Meaning::Put(place, value) => cells.push(Cell { place, value, hlc, writer: id }),
            Meaning::Delete(place) => cells.retain(|cell| cell.place != place),
            Meaning::Nothing => {}
            Meaning::Newer => is_newer = true,
        }
    }
    // The last put of a place counts. The sort is stable, so it is the last of its group.
    cells.sort_by_key(|cell| cell.place);
    repeats |= cells.windows(2).any(|pair| pair[0].place == pair[1].place);
    if repeats {
        cells = cells.chunk_by(|a, b| a.place == b.place).filter_map(|group| group.last().copied()).collect();
    }
    let core = CoreFacts {
        facts: Facts { heads: vec![id], newest: hlc, is_newer },
        standing: match (create.kind, status_given(table, &create.ops)) {
            (RecordKind::Alert, Some(status)) => Standing { status, ..Standing::active() },
            _ => Standing::active(),
        },
        created: hlc,
    };
    project::assemble(record, &identity, &cells, core, BTreeMap::new())
}
