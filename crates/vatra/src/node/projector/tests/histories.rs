//! What the history of a record tells after a revocation: the changes that still have an effect, and only these.

use vatra_api::HistoryQuery;

use super::retracting::{id_of, made_by_another_node, retitled, revoking};
use super::*;
use crate::node::service::lists::history_page;

/// The changes that pages of two tell, and the total that each page names.
fn told(desk: &Desk, record: RecordId) -> (Vec<ChangeId>, Vec<u64>) {
    let (mut changes, mut totals, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let page = history_page(&desk.projector.views, record, HistoryQuery { after, limit: 2 });
        let page = page.expect("readable").expect("shown");
        changes.extend(page.items.iter().map(|item| item.change));
        totals.push(page.total);
        assert!(totals.len() < 20, "pages come to an end");
        match page.next {
            Some(next) => after = Some(next),
            None => return (changes, totals),
        }
    }
}

/// LT answers in time, lies, and UA builds on the lie.
fn built_on_a_lie(desk: &mut Desk) -> (RecordId, [Arc<CheckedEntry>; 4]) {
    let shared = Create { writers: vec![member(LT), member(UA)], ..create(1) };
    let record = record_id(member(UA), &shared);
    let created = desk.entry(UA, &[Change::Create(shared)]);
    let answered = desk.entry(LT, &[answer(record, "in time")]);
    let lied = desk.entry(LT, &[retitled(record, vec![id_of(&created)], "a lie")]);
    let built = desk.entry(UA, &[retitled(record, vec![id_of(&lied)], "built on it")]);
    let all = [created, answered, lied, built];
    desk.take(all.to_vec());
    (record, all)
}

#[test]
fn neither_a_revoked_change_nor_one_that_waits_for_it_is_told() {
    let mut desk = Desk::new();
    let (record, [created, answered, lied, built]) = built_on_a_lie(&mut desk);
    let ids = [&created, &answered, &lied, &built].map(|entry| id_of(entry));
    assert_eq!(told(&desk, record), (ids.to_vec(), vec![4, 4]));
    desk.take_charter(&revoking(LT, Some(&answered)));
    let (changes, totals) = told(&desk, record);
    assert_eq!(changes, ids[..2]);
    assert!(totals.iter().all(|total| *total == 2), "{totals:?}");
    // Its author writes it again, on what is valid.
    let again = desk.entry(UA, &[retitled(record, vec![ids[0]], "again")]);
    desk.take(vec![again.clone()]);
    assert_eq!(told(&desk, record).0, [ids[0], ids[1], id_of(&again)]);
    assert_eq!(told(&desk, record).0.len() as u64, told(&desk, record).1[0]);
}

#[test]
fn damage_past_the_end_takes_no_history_away() {
    let mut desk = Desk::new();
    let (record, [created, answered, lied, _]) = built_on_a_lie(&mut desk);
    let charter = revoking(LT, Some(&answered));
    desk.take_charter(&charter);
    let row = EntryRow { log: log_of(LT), seq: lied.header().seq, bytes: b"damaged".to_vec() };
    desk.store.commit(&Commit { entries: vec![row], ..Commit::default() }).expect("memory has room");
    desk.restart(&charter);
    assert_eq!(told(&desk, record).0, [id_of(&created), id_of(&answered)]);
}

/// What waits for its record is told again when that is made again, and stands in one place of the history.
#[test]
fn a_change_that_is_told_again_stands_where_it_was_told_last() {
    let mut desk = Desk::new();
    let named = Create { naming: Naming::External("kev:1".into()), ..create(1) };
    let record = record_id(member(UA), &named);
    let past = desk.entry(UA, &[Change::Create(named.clone())]);
    let answered = desk.entry(LT, &[answer(record, "seen")]);
    desk.take(vec![past.clone(), answered.clone()]);
    assert_eq!(told(&desk, record).0, [id_of(&past), id_of(&answered)]);
    desk.take_charter(&revoking(UA, None));
    let again = made_by_another_node(named);
    let made = again.entries[0].clone();
    desk.part(&again);
    desk.finish();
    let (changes, totals) = told(&desk, record);
    assert_eq!(changes, [id_of(&made), id_of(&answered)]);
    assert!(totals.iter().all(|total| *total == 2), "{totals:?}");
}
