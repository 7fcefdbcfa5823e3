//! Local changes become entries: grouping, limits, lives.

use vatra_model::limits::CHANGE_BYTES_MAX;
use vatra_model::wire::Message;
use vatra_model::{Class, Frontier, LogId};
use vatra_replica::{Effect, Event, FLASH_ENTRY_CHANGES_MAX, Input, NewLife};

use crate::support::*;

fn publication(token: u64, class: Class, changes: usize, bytes: usize) -> Input {
    Input::Publish { token, class, changes: vec![vec![1; bytes]; changes] }
}

#[test]
fn one_round_makes_few_entries_and_flash_goes_first() {
    let mut node = Node::new(0);
    let routine = (0..300).map(|token| publication(token, Class::Routine, 1, 100));
    let flash = (300..320).map(|token| publication(token, Class::Flash, 1, 100));
    let effects = node.act(routine.chain(flash));
    assert_eq!(published(&effects), 320);
    let log = node.replica.own_log();
    let counts: Vec<(Class, usize)> =
        node.entries.values().map(|entry| (entry.header().class, entry.entry().changes.len())).collect();
    let eight = FLASH_ENTRY_CHANGES_MAX;
    assert_eq!(
        counts,
        [
            (Class::Priority, 1),
            (Class::Flash, eight),
            (Class::Flash, eight),
            (Class::Flash, 20 - 2 * eight),
            (Class::Routine, 256),
            (Class::Routine, 44),
        ]
    );
    let place = |token: u64| {
        effects.iter().find_map(|effect| match effect {
            Effect::Published { token: found, log, places } if *found == token => Some((*log, places.clone())),
            _ => None,
        })
    };
    assert_eq!(place(299), Some((log, vec![(vatra_model::Seq(5), 43)])));
    assert_eq!(place(300), Some((log, vec![(vatra_model::Seq(1), 0)])));
}

#[test]
fn large_changes_share_no_more_than_an_entry_holds() {
    let mut node = Node::new(0);
    let effects = node.act((0..5).map(|token| publication(token, Class::Routine, 1, CHANGE_BYTES_MAX)));
    assert_eq!(published(&effects), 5);
    assert_eq!(node.entries.len(), 1 + 3, "two of 64 KiB fill an entry");
    let effects =
        node.act([publication(9, Class::Routine, 1, CHANGE_BYTES_MAX + 1), publication(10, Class::Bulk, 0, 0)]);
    assert_eq!((refused(&effects), published(&effects)), (1, 1));
}

#[test]
fn a_node_that_is_told_of_entries_it_lost_goes_on_in_a_new_log() {
    let mut node = Node::new(0);
    node.publish(Class::Routine, 2);
    let first = node.replica.own_log();
    node.greet(1, &Frontier::default());
    // The claim comes while a batch is being written: its answer must name the log that it went to.
    let mut effects = Vec::new();
    node.replica.handle(node.now, publication(7, Class::Routine, 1, 10), &mut effects);
    node.replica.flush(node.now, &mut effects);
    node.replica.handle(node.now, have(1, first, 50), &mut effects);
    assert_ne!(node.replica.own_log(), first);
    let batch = effects.iter().find_map(|effect| match effect {
        Effect::Persist(batch) => Some(batch.id),
        _ => None,
    });
    let mut answers = Vec::new();
    node.replica.handle(node.now, Input::Persisted { batch: batch.expect("a batch") }, &mut answers);
    let answered: Vec<LogId> = answers
        .iter()
        .filter_map(|effect| match effect {
            Effect::Published { log, .. } => Some(*log),
            _ => None,
        })
        .collect();
    assert_eq!(answered, [first]);
    assert!(events(&effects).iter().any(|event| matches!(event, Event::NewIncarnation { why: NewLife::Revealed, .. })));
    let next = node.replica.own_log();
    node.publish(Class::Routine, 1);
    assert_eq!((node.height(next), node.height(first)), (2, 4));
}

#[test]
fn hostile_claims_on_every_life_do_not_mute_a_node() {
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    for _ in 0..20 {
        let log = node.replica.own_log();
        node.act([message(1, Message::Have { heights: vec![(log, u64::MAX)] })]);
        assert_eq!(published(&node.publish(Class::Flash, 1)), 1);
    }
}
