//! Local calls: each operation becomes a change, an answer, or waits for the next round.

use vatra_model::charter::{AdmitError, MemberRole};
use vatra_model::{Change, Class, Position, RecordId};
use vatra_replica::{Effect, Input, Now};
use vatra_store::{Health, Snapshot};

use super::{Driver, PendingCall};
use crate::config::NotAdmitted;
use crate::node::local::{LocalCall, LocalError, LocalOp, LocalResult, Receipt, encode_change};

/// What an operation comes to.
enum Worked {
    Change(Class, Vec<u8>),
    Nothing(Receipt),
}

impl Driver {
    pub(super) fn take_call(&mut self, now: Now, call: LocalCall, effects: &mut Vec<Effect>) {
        let number = self.number();
        let count = call.ops.len();
        let pending = PendingCall { reply: call.reply, results: vec![None; count], missing: count };
        self.calls.insert(number, pending);
        if count == 0 {
            self.answer_call(number);
            return;
        }
        let snapshot = self.projector.views.reader.snapshot();
        for (index, op) in call.ops.into_iter().enumerate() {
            match &snapshot {
                Ok(snapshot) => self.take_op(now, snapshot, number, index, op, effects),
                Err(error) => self.answer(number, index, Err(LocalError::Unreadable(error.to_string()))),
            }
        }
    }

    pub(super) fn take_deferred(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.deferred.is_empty() {
            return;
        }
        let snapshot = self.projector.views.reader.snapshot();
        for (call, index, op) in std::mem::take(&mut self.deferred) {
            match &snapshot {
                Ok(snapshot) => self.take_op(now, snapshot, call, index, op, effects),
                Err(error) => self.answer(call, index, Err(LocalError::Unreadable(error.to_string()))),
            }
        }
    }

    fn take_op(
        &mut self,
        now: Now,
        snapshot: &Snapshot,
        call: u64,
        index: usize,
        op: LocalOp,
        effects: &mut Vec<Effect>,
    ) {
        let record = op.record(self.member);
        if self.touched.contains(&record) {
            self.deferred.push((call, index, op));
            return;
        }
        match self.work_out(now, snapshot, record, op) {
            Ok(Worked::Change(class, bytes)) => {
                if let Err(error) = self.raise_fence() {
                    self.answer(call, index, Err(error));
                    return;
                }
                self.touched.insert(record);
                self.publishing += 1;
                let token = self.number();
                self.tokens.insert(token, (call, index));
                self.replica.handle(now, Input::Publish { token, class, changes: vec![bytes] }, effects);
            }
            Ok(Worked::Nothing(receipt)) => self.answer(call, index, Ok(receipt)),
            Err(error) => self.answer(call, index, Err(error)),
        }
    }

    fn work_out(&self, now: Now, snapshot: &Snapshot, record: RecordId, op: LocalOp) -> Result<Worked, LocalError> {
        if let Health::ReadOnly { reason, .. } = self.store.health() {
            return Err(LocalError::read_only(reason));
        }
        if let Some(error) = self.not_admitted() {
            return Err(LocalError::NotAdmitted(error));
        }
        let charter = self.replica.trust().charter();
        if charter.current().member(self.member).is_none_or(|member| member.role == MemberRole::Observer) {
            return Err(LocalError::Observer(self.member));
        }
        let unreadable = |error: anyhow::Error| LocalError::Unreadable(format!("{error:#}"));
        if let LocalOp::Create { create, class } = op {
            if let Some(id) = snapshot.id(record)?
                && id.created > Position(0)
                && self.projector.views.is_shown(snapshot, record).map_err(unreadable)?
            {
                return self.standing(snapshot, record, id.created).map(Worked::Nothing);
            }
            let bytes = encode_change(&Change::Create(*create))?;
            return Ok(Worked::Change(class, bytes));
        }
        let loaded = self.projector.views.record(snapshot, record).map_err(unreadable)?;
        let shown = loaded.and_then(|loaded| loaded.view().map(|view| (loaded, view)));
        let Some((loaded, view)) = shown else { return Err(LocalError::Unknown(record)) };
        match op.into_edit(self.member, &loaded, &view, now.wall)? {
            Some((class, edit)) => Ok(Worked::Change(class, encode_change(&Change::Edit(edit))?)),
            None => {
                let latest = snapshot.id(record)?.map_or(Position(0), |id| id.latest);
                self.standing(snapshot, record, latest).map(Worked::Nothing)
            }
        }
    }

    /// Why this node may publish nothing, if the charter in force has revoked its key or left its member out. The
    /// certificate was checked at the start.
    pub(super) fn not_admitted(&self) -> Option<NotAdmitted> {
        let (charter, key, member) = (self.replica.trust().charter(), self.mesh.node(), self.member);
        let why = if charter.is_revoked(&key) {
            AdmitError::Revoked(key)
        } else if charter.current().member(member).is_none() {
            AdmitError::UnknownMember(member)
        } else {
            return None;
        };
        Some(NotAdmitted { epoch: charter.current().epoch, member, why })
    }

    /// The receipt of what is there already.
    fn standing(&self, snapshot: &Snapshot, record: RecordId, position: Position) -> Result<Receipt, LocalError> {
        let row = snapshot.stream_row(position)?;
        let row = row.ok_or_else(|| LocalError::Unreadable(format!("position {position} is gone")))?;
        Ok(Receipt { record, position, log: row.log, seq: row.seq, changed: false, created: false })
    }

    pub(super) fn answer(&mut self, call: u64, index: usize, result: LocalResult) {
        let Some(pending) = self.calls.get_mut(&call) else { return };
        pending.results[index] = Some(result);
        pending.missing -= 1;
        if pending.missing == 0 {
            self.answer_call(call);
        }
    }

    fn answer_call(&mut self, call: u64) {
        let Some(pending) = self.calls.remove(&call) else { return };
        let results = pending.results.into_iter().map(|result| result.expect("none is missing")).collect();
        // A caller that went away needs no answer; what it asked for is done all the same.
        let _ = pending.reply.send(results);
    }
}
