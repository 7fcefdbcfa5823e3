//! This node's own log: local changes become signed entries.

use vatra_model::change::{LogOpen, PreviousLog};
use vatra_model::charter::MemberRole;
use vatra_model::limits::{CHANGE_BYTES_MAX, ENTRY_BYTES_MAX, ENTRY_CHANGES_MAX};
use vatra_model::wire::LogDescriptor;
use vatra_model::{AudienceId, Change, Class, Entry, EntryDraft, Incarnation, LogId, Realm, Seq};

use crate::input::{Effect, Event, NewLife, Now};
use crate::logs::{Accepted, LogState};
use crate::replica::{Came, Kept, Replica, Staged};

/// Changes of one `flash` entry: few, so that an urgent alert never waits for the signing, checking and
/// transfer of a crowd of others, yet more than one, so that a burst does not cost a signature each.
pub const FLASH_ENTRY_CHANGES_MAX: usize = 8;
/// Bytes of changes of one `flash` entry that has more than one.
pub const FLASH_ENTRY_BYTES_MAX: usize = 16 * 1024;

/// Local changes that wait to be signed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    waiting: Vec<Waiting>,
}

#[derive(Clone, Debug)]
struct Waiting {
    token: u64,
    class: Class,
    changes: Vec<Vec<u8>>,
}

/// Where the changes of one call went.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) token: u64,
    pub(crate) places: Vec<(Seq, u16)>,
}

impl Outbox {
    pub(crate) fn push(&mut self, token: u64, class: Class, changes: Vec<Vec<u8>>) {
        self.waiting.push(Waiting { token, class, changes });
    }

    pub(crate) fn refuse_all(&mut self) -> Vec<u64> {
        self.waiting.drain(..).map(|waiting| waiting.token).collect()
    }
}

/// Changes collected for one entry, with the place in `Placed` that each answers.
#[derive(Default)]
struct Group {
    changes: Vec<Vec<u8>>,
    bytes: usize,
    answers: Vec<(usize, usize)>,
}

impl Group {
    fn has_room(&self, class: Class, bytes: usize) -> bool {
        let (changes_max, bytes_max) = match class {
            Class::Flash => (FLASH_ENTRY_CHANGES_MAX, FLASH_ENTRY_BYTES_MAX),
            _ => (ENTRY_CHANGES_MAX, ENTRY_BYTES_MAX),
        };
        self.changes.is_empty() || (self.changes.len() < changes_max && self.bytes + bytes <= bytes_max)
    }
}

impl Replica {
    /// Takes changes to be signed; those that no entry can hold are refused.
    pub(crate) fn take_publication(
        &mut self,
        token: u64,
        class: Class,
        changes: Vec<Vec<u8>>,
        effects: &mut Vec<Effect>,
    ) {
        if changes.iter().any(|change| change.len() > CHANGE_BYTES_MAX) {
            return effects.push(Effect::Refused { token });
        }
        if changes.is_empty() {
            return effects.push(Effect::Published { token, log: self.own_log, places: Vec::new() });
        }
        self.outbox.push(token, class, changes);
    }

    /// Local calls that wait to be signed.
    #[must_use]
    pub fn unsigned_count(&self) -> usize {
        self.outbox.waiting.len()
    }

    /// A peer's frontier was read: it holds nothing of our log that we lack, or a new life has begun.
    pub(crate) fn confirm(&mut self) {
        self.is_unconfirmed = false;
    }

    /// What nobody has confirmed in time may be an old copy of itself that shows it nowhere. What waits to be written
    /// then goes into a new incarnation, so that nothing is numbered twice.
    pub(crate) fn confirm_or_part(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.is_unconfirmed && !self.outbox.waiting.is_empty() && self.confirm_until <= now.mono {
            self.open_incarnation(NewLife::Unconfirmed, effects);
        }
    }

    /// When a local write that waits for confirmation has waited enough.
    pub(crate) fn confirm_deadline(&self) -> Option<vatra_model::MonoMs> {
        (self.is_unconfirmed && !self.outbox.waiting.is_empty()).then_some(self.confirm_until)
    }

    /// Signs what waits, most urgent first, and stages it. Gives each call's places.
    pub(crate) fn sign_outbox(&mut self, now: Now, effects: &mut Vec<Effect>) -> Vec<Placed> {
        if self.outbox.waiting.is_empty() || self.is_unconfirmed {
            return Vec::new();
        }
        if !self.open_own_log(now, effects) {
            effects.extend(self.outbox.refuse_all().into_iter().map(|token| Effect::Refused { token }));
            return Vec::new();
        }
        let mut waiting = std::mem::take(&mut self.outbox.waiting);
        waiting.sort_by_key(|waiting| waiting.class);
        let mut placed: Vec<Placed> =
            waiting.iter().map(|w| Placed { token: w.token, places: vec![(Seq(0), 0); w.changes.len()] }).collect();
        let mut group = Group::default();
        let mut class = Class::Flash;
        for (call, waiting) in waiting.into_iter().enumerate() {
            for (index, change) in waiting.changes.into_iter().enumerate() {
                if waiting.class != class || !group.has_room(class, change.len()) {
                    self.sign_group(now, class, std::mem::take(&mut group), &mut placed);
                    class = waiting.class;
                }
                group.bytes += change.len();
                group.changes.push(change);
                group.answers.push((call, index));
            }
        }
        self.sign_group(now, class, group, &mut placed);
        placed
    }

    fn sign_group(&mut self, now: Now, class: Class, group: Group, placed: &mut [Placed]) {
        if group.changes.is_empty() {
            return;
        }
        let seq = self.sign_entry(now, class, group.changes);
        for (index, (call, answer)) in (0_u16..).zip(group.answers) {
            placed[call].places[answer] = (seq, index);
        }
    }

    fn sign_entry(&mut self, now: Now, class: Class, changes: Vec<Vec<u8>>) -> Seq {
        self.hlc = self.hlc.tick(now.wall);
        let (seq, prev) = self.logs.next(&self.own_log);
        let draft =
            EntryDraft { realm: Realm::OPS, log: self.own_log, seq, prev, hlc: self.hlc, class, expires_hours: 0 };
        let entry = Entry::sign(&draft, changes, &self.secret).expect("groups stay within the entry limits");
        let offered = self.logs.offer(&entry);
        assert_eq!(offered, Ok(Accepted::New), "our own next entry fits our own log");
        self.staged.push(Staged { entry: std::sync::Arc::new(entry), came: Came::Local, kept: Kept::InPlace });
        seq
    }

    /// Writes entry 0 of this incarnation's log, unless it is there. `false` if this node may not write: it is an
    /// observer's, or revoked, or its log cannot be opened.
    fn open_own_log(&mut self, now: Now, effects: &mut Vec<Effect>) -> bool {
        if self.trust.role(&self.me) != Some(MemberRole::Member) {
            return false;
        }
        let (next, _) = self.logs.next(&self.own_log);
        if next.0 > 0 {
            return self.logs.can_append(&self.own_log);
        }
        let certificate = self.certificate.encode();
        let descriptor = LogDescriptor {
            certificate: certificate.as_slice().into(),
            incarnation: self.incarnation,
            audience: AudienceId::FEDERATION,
            realm: Realm::OPS,
        };
        let checked = match self.trust.check_log(descriptor) {
            Ok(checked) => checked,
            Err(reject) => {
                effects.push(Effect::Event(Event::Rejected { peer: None, reject }));
                return false;
            }
        };
        if let Err(reject) = self.describe(checked) {
            effects.push(Effect::Event(Event::Rejected { peer: None, reject }));
            return false;
        }
        if !self.logs.can_append(&self.own_log) {
            return false;
        }
        let open = LogOpen {
            certificate,
            incarnation: self.incarnation,
            audience: AudienceId::FEDERATION,
            previous: self.previous_log(),
        };
        self.sign_entry(now, Class::Priority, vec![Change::Open(open).encode()]);
        true
    }

    /// The log of this node's life before, as far as it is held: the one of its logs with the latest entry 0
    /// is not known here, so the longest is named.
    fn previous_log(&self) -> Option<PreviousLog> {
        let is_mine = |state: &LogState| (state.member(), state.origin()) == (self.member, self.me);
        let mine = self.logs.iter().filter(|(log, state)| **log != self.own_log && is_mine(state));
        let (log, state) = mine.max_by_key(|(log, state)| (state.accepted().height, **log))?;
        let head = state.accepted();
        Some(PreviousLog { log: *log, height: Seq(head.height), head: head.head })
    }

    /// Where this node's own log ends can no longer be told from the store: it is left, as at a start, before anything
    /// is signed under a place that is taken.
    pub fn leave_own_log(&mut self, effects: &mut Vec<Effect>) {
        self.open_incarnation(NewLife::Damaged, effects);
    }

    /// Begins a new life: the old log is left as it is and pulled back from peers, writing goes on in a new one.
    pub(crate) fn open_incarnation(&mut self, why: NewLife, effects: &mut Vec<Effect>) {
        self.incarnation = Incarnation(self.chance.next_u64());
        // Others go by it which life of a node is the last; an old copy of the store knows only of earlier ones.
        let after = vatra_model::WallMs(self.opened.0.saturating_add(1));
        self.opened = self.wall.max(self.hlc.wall()).max(after);
        self.own_log = LogId::derive(self.member, &self.me, self.incarnation, &AudienceId::FEDERATION);
        self.new_incarnation = Some(why);
        self.is_unconfirmed = false;
        effects.push(Effect::Event(Event::NewIncarnation { incarnation: self.incarnation, why }));
    }
}
