//! The urgent entries of a backlog: asked for before the rest of it, class by class.
//!
//! An answer without any is normal, as most ranges hold none, but it is also all that a peer needs to say to have them
//! come last. So it counts once a peer of another member has said the same, where one can be asked.

use vatra_model::wire::WantClasses;
use vatra_model::{Class, LogId, MemberCode, NodeKey};

use crate::peers::{Asked, Peer};
use crate::planner::held_height;
use crate::ranges::{Ranges, without};
use crate::replica::Replica;

/// Missing entries of a log above which urgent ones are asked for first.
const URGENT_PASS_MIN: u64 = 32;
/// Protocol version that asks for flash and priority entries apart.
const CLASSES_SINCE: u16 = 2;
/// Answers without an entry that wait for a second one; the oldest is believed when there are more.
const DOUBTS_MAX: usize = 32;

/// For which ranges of a log its urgent entries came, as far as the peers that were asked hold them.
#[derive(Clone, Debug, Default)]
pub(crate) struct UrgentAnswers {
    flash: Ranges,
    priority: Ranges,
    doubts: Vec<Doubt>,
}

/// Somebody says that a range holds no entry of a class.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    class: Class,
    range: (u64, u64),
    by: MemberCode,
}

impl UrgentAnswers {
    /// A request was answered by a node of a member, whole or up to where its answer got.
    pub(crate) fn settle(&mut self, asked: &Asked, is_whole: bool, by: Option<MemberCode>) {
        let (from, to) = (asked.want.from, asked.want.to);
        let range = (from, if is_whole { to } else { asked.next.min(to) });
        let classes = asked.want.classes;
        for class in [Class::Flash, Class::Priority] {
            if !classes.is_urgent() || !classes.include(class) {
                continue;
            }
            match by {
                Some(by) if is_whole && asked.received == 0 => self.doubt(Doubt { class, range, by }),
                _ => self.ranges(class).add(range),
            }
        }
    }

    fn doubt(&mut self, new: Doubt) {
        let (from, to) = new.range;
        let confirmed = |known: &&Doubt| known.class == new.class && known.by != new.by;
        let confirmed: Vec<_> = self.doubts.iter().filter(confirmed).map(|known| known.range).collect();
        for (a, b) in confirmed {
            self.ranges(new.class).add((a.max(from), b.min(to)));
        }
        if self.doubts.len() >= DOUBTS_MAX {
            let oldest = self.doubts.remove(0);
            self.ranges(oldest.class).add(oldest.range);
        }
        self.doubts.push(new);
    }

    fn ranges(&mut self, class: Class) -> &mut Ranges {
        if class == Class::Flash { &mut self.flash } else { &mut self.priority }
    }

    /// Ranges of which a peer need not be asked: their answers came, or it was asked itself, or its member was, or
    /// nobody else could be.
    fn taken(&self, class: Class, by: Option<MemberCode>, is_last: impl Fn(MemberCode) -> bool) -> Vec<(u64, u64)> {
        let answered = if class == Class::Flash { &self.flash } else { &self.priority };
        let doubts = self.doubts.iter().filter(|doubt| doubt.class == class);
        let doubts = doubts.filter(|doubt| by == Some(doubt.by) || is_last(doubt.by)).map(|doubt| doubt.range);
        answered.0.iter().copied().chain(doubts).collect()
    }

    /// How many ranges are remembered.
    pub(crate) fn len(&self) -> usize {
        self.flash.0.len() + self.priority.0.len() + self.doubts.len()
    }
}

impl Replica {
    /// The first range, if it is large, or others are being filled, of which a peer is to be asked for its urgent
    /// entries: first for those of class flash, then for those of class priority.
    pub(crate) fn urgent_range(&self, log: &LogId, top: u64, key: &NodeKey) -> Option<((u64, u64), WantClasses)> {
        let peer = self.peers.get(key)?;
        let (held, ripening) = (held_height(self.logs.get(log)), self.ripening.get(log)?);
        let mut wants = self.peers.values().flat_map(|peer| peer.wants.values());
        let busy =
            wants.any(|asked| !asked.want.classes.is_urgent() && asked.want.to - asked.want.from >= URGENT_PASS_MIN);
        let least = if busy { 1 } else { URGENT_PASS_MIN };
        let asked = self.asked_before(log, peer);
        let member = self.member_of(key);
        let is_last = |by: MemberCode| {
            let may_differ = |(key, peer): (&NodeKey, &Peer)| {
                peer.greeted && peer.known(log) > held && self.member_of(key).is_some_and(|member| member != by)
            };
            !self.peers.iter().any(may_differ)
        };
        let open = |class: Class| {
            let asked = asked.iter().filter(|want| want.classes.is_urgent() && want.classes.include(class));
            let taken = asked.map(|want| (want.from, want.to)).chain(ripening.urgent.taken(class, member, is_last));
            let gaps = taken.fold(vec![(held, top)], without);
            gaps.into_iter().filter(|(from, to)| to > from && to - from >= least).min()
        };
        let (flash, priority) = (open(Class::Flash), open(Class::Priority));
        if peer.version < CLASSES_SINCE {
            return priority.map(|range| (range, WantClasses::Urgent));
        }
        let flash = flash.map(|range| (range, WantClasses::Flash));
        flash.or_else(|| priority.map(|range| (range, WantClasses::Priority)))
    }

    /// The member whose node a key is, as far as it is known.
    pub(crate) fn member_of(&self, node: &NodeKey) -> Option<MemberCode> {
        self.trust.node(node).map(|certificate| certificate.member)
    }
}
