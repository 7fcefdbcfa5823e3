//! The lives of a node's store: which there were, when each was opened and why, and an order to open the next.
//!
//! A life is one incarnation. The notes are for people: no rule of replication reads them. The order is written
//! into a store that is not open in a node, by restoring or cloning it, and is part of that copy, so that it cannot
//! be left behind.

use anyhow::Context;
use vatra_model::{Incarnation, WallMs, codec};
use vatra_replica::NewLife;
use vatra_store::{Commit, MetaKey, Reader};

/// Lives that are remembered; more say nothing that the latest do not.
pub(crate) const LIVES_MAX: usize = 16;

const LIVES: MetaKey = MetaKey::new("lives");
const ORDER: MetaKey = MetaKey::new("life order");

/// Why a life is opened while the node runs: another process may write in its name. Notes of older versions go on
/// after this.
pub(crate) const REVEALED: &str = "peers showed entries of this node that its store lacked";

/// An incarnation as people read it everywhere: in logs, status and doctor.
pub(crate) fn shown(incarnation: Incarnation) -> String {
    format!("{:016x}", incarnation.0)
}

/// Why a life is opened while the node runs.
pub(crate) fn reason_of(why: NewLife) -> &'static str {
    match why {
        NewLife::Revealed => REVEALED,
        NewLife::Unconfirmed => "no peer confirmed after the start that the store lacks nothing of this node's log",
        NewLife::Damaged => "a part of this node's log is damaged in its store, and nobody had it to give back",
    }
}

/// One life of the store.
#[derive(Clone, Debug, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub(crate) struct Life {
    pub(crate) incarnation: Incarnation,
    pub(crate) opened: WallMs,
    /// Why it was opened; `None` for the first, and where it was not noted.
    pub(crate) reason: Option<String>,
}

/// What an operator's command asks of the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// A backup of this node's store was put in place of it.
    Restored,
    /// The store came from another node.
    Cloned,
}

impl Order {
    /// Why the life is opened.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Order::Restored => "the store was restored from a backup by `vatra node restore`",
            Order::Cloned => "the store was taken from another node by `vatra node clone`",
        }
    }

    fn byte(self) -> u8 {
        match self {
            Order::Restored => 1,
            Order::Cloned => 2,
        }
    }

    /// The order that a store carries, if any.
    pub(crate) fn read(reader: &Reader) -> anyhow::Result<Option<Order>> {
        match reader.meta(ORDER)?.as_deref() {
            None | Some([]) => Ok(None),
            Some([1]) => Ok(Some(Order::Restored)),
            Some([2]) => Ok(Some(Order::Cloned)),
            Some(other) => {
                anyhow::bail!("the store holds an order of {} bytes that this version cannot read", other.len())
            }
        }
    }

    /// Puts the order into a store's next commit.
    pub(crate) fn give(self, commit: &mut Commit) {
        if self == Order::Cloned {
            // They are the lives of the other node, and tell nothing of this one.
            commit.meta.push((LIVES, codec::encode(&Vec::<Life>::new())));
        }
        commit.meta.push((ORDER, vec![self.byte()]));
    }

    /// Marks an order as carried out, in the commit that carries it out.
    pub(crate) fn carried_out(commit: &mut Commit) {
        commit.meta.push((ORDER, Vec::new()));
    }
}

/// The lives noted in a store, the latest last.
pub(crate) fn read(reader: &Reader) -> anyhow::Result<Vec<Life>> {
    match reader.meta(LIVES)? {
        None => Ok(Vec::new()),
        Some(bytes) => codec::decode(&bytes, "the lives of the store").context("run `vatra fsck`"),
    }
}

/// Notes a life in the commit that opens it. One that is noted already keeps its reason.
pub(crate) fn note(commit: &mut Commit, mut lives: Vec<Life>, life: Life) {
    if lives.last().is_none_or(|last| last.incarnation != life.incarnation) {
        lives.push(life);
    }
    let surplus = lives.len().saturating_sub(LIVES_MAX);
    lives.drain(..surplus);
    commit.meta.push((LIVES, codec::encode(&lives)));
}

#[cfg(test)]
mod tests {
    use vatra_store::{MemoryDisk, Store};

    use super::*;

    fn life(number: u64, reason: Option<&str>) -> Life {
        Life { incarnation: Incarnation(number), opened: WallMs(number), reason: reason.map(str::to_owned) }
    }

    #[test]
    fn lives_are_noted_once_and_the_oldest_are_forgotten() {
        let disk = MemoryDisk::new();
        let mut store = Store::open_memory(&disk).unwrap();
        for number in 0..=LIVES_MAX as u64 {
            for reason in [Some("first"), Some("again")] {
                let mut commit = Commit::default();
                note(&mut commit, read(&store.reader()).unwrap(), life(number, reason));
                store.commit(&commit).unwrap();
            }
        }
        let lives = read(&store.reader()).unwrap();
        let expected: Vec<Life> = (1..=LIVES_MAX as u64).map(|number| life(number, Some("first"))).collect();
        assert_eq!(lives, expected);
    }

    #[test]
    fn a_clone_begins_without_the_lives_of_the_other_node() {
        let disk = MemoryDisk::new();
        let mut store = Store::open_memory(&disk).unwrap();
        for (order, left) in [(Order::Restored, 1), (Order::Cloned, 0)] {
            let mut commit = Commit::default();
            note(&mut commit, Vec::new(), life(1, Some("first")));
            store.commit(&commit).unwrap();
            let mut commit = Commit::default();
            order.give(&mut commit);
            store.commit(&commit).unwrap();
            assert_eq!(read(&store.reader()).unwrap().len(), left, "{order:?}");
        }
    }

    #[test]
    fn an_order_stays_until_it_is_carried_out() {
        let disk = MemoryDisk::new();
        let mut store = Store::open_memory(&disk).unwrap();
        assert_eq!(Order::read(&store.reader()).unwrap(), None);
        for order in [Order::Restored, Order::Cloned] {
            let mut commit = Commit::default();
            order.give(&mut commit);
            store.commit(&commit).unwrap();
            assert_eq!(Order::read(&store.reader()).unwrap(), Some(order));
        }
        let mut commit = Commit::default();
        Order::carried_out(&mut commit);
        store.commit(&commit).unwrap();
        assert_eq!(Order::read(&store.reader()).unwrap(), None);
    }
}
