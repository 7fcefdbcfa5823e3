use vatra_model::schema::words::Tlp;
use vatra_store::{Commit, EntryRow};
use vatra_stream::Filter;

use super::*;
use crate::node::projector::tests::{Desk, UA, create};

/// So many alerts, each in an entry of its own, and what lists need.
fn listed(count: u32) -> (Desk, RwLock<Listing>) {
    let mut desk = Desk::new();
    let entries = (0..count).map(|number| desk.entry(UA, &[Change::Create(create(number))])).collect();
    desk.take(entries);
    let listing = RwLock::new(Listing::load(&desk.store.reader()).expect("readable"));
    (desk, listing)
}

fn query(text: Option<&str>, limit: usize) -> ListQuery {
    let filter = Filter::parse(text.map(|text| ("text", text))).expect("a good filter");
    ListQuery { filter, clearance: Tlp::Green, since: None, before: None, limit }
}

/// Follows pages to the end: positions of pages by their number of items, and the totals that they told.
fn follow(mut query: ListQuery, read: impl Fn(&ListQuery) -> Page<ViewJson>) -> (Vec<usize>, Vec<u64>) {
    let (mut sizes, mut totals) = (Vec::new(), Vec::new());
    loop {
        let page = read(&query);
        sizes.push(page.items.len());
        totals.push(page.total);
        assert!(sizes.len() < 20, "pages come to an end");
        match page.next {
            Some(next) => query.before = Some(next),
            None => return (sizes, totals),
        }
    }
}

#[test]
fn pages_hold_everything_once_and_tell_the_total() {
    let (desk, listing) = listed(10);
    let views = &desk.projector.views;
    let read = |query: &ListQuery| page(&listing, views, RecordKind::Alert, query).expect("readable");
    assert_eq!(follow(query(None, 4), read), (vec![4, 4, 2], vec![10; 3]));
    assert_eq!(follow(query(None, 5), read), (vec![5, 5], vec![10; 2]));
}

#[test]
fn a_search_that_is_cut_goes_on_with_the_next_page() {
    let (desk, listing) = listed(10);
    let views = &desk.projector.views;
    let read = |max: usize| {
        let listing = &listing;
        move |query: &ListQuery| search(listing, views, RecordKind::Alert, query, max).expect("readable")
    };
    assert_eq!(follow(query(Some("t"), 4), read(10)), (vec![4, 4, 2], vec![10; 3]), "all can be looked into");
    assert_eq!(follow(query(Some("t"), 4), read(6)).0.iter().sum::<usize>(), 10, "six at a time");
    assert_eq!(follow(query(Some("none like it"), 4), read(3)), (vec![0; 4], vec![0; 4]));
}

#[test]
fn a_label_that_became_stricter_is_heeded() {
    let (desk, listing) = listed(3);
    let stricter = ListQuery { clearance: Tlp::Clear, ..query(None, 9) };
    let read = |query: &ListQuery| page(&listing, &desk.projector.views, RecordKind::Alert, query).expect("readable");
    assert_eq!((read(&stricter).items.len(), read(&query(None, 9)).items.len()), (0, 3));
    let snapshot = desk.store.reader().snapshot().expect("memory");
    let row = *listing.read().expect("whole").newest_first(None).next().expect("three");
    let seen = shown(&desk.projector.views, &snapshot, row.record, &stricter).expect("readable");
    assert!(seen.is_none(), "the row was chosen by the label before");
}

#[test]
fn one_damaged_entry_does_not_take_the_list_away() {
    let (mut desk, listing) = listed(9);
    let damaged = listing.read().expect("whole").oldest_first(None).next().copied().expect("nine");
    let snapshot = desk.store.reader().snapshot().expect("memory");
    let place = snapshot.stream_row(damaged.created).expect("readable").expect("there");
    drop(snapshot);
    let entries = vec![EntryRow { log: place.log, seq: place.seq, bytes: b"damaged".to_vec() }];
    desk.store.commit(&Commit { entries, ..Commit::default() }).expect("memory has room");
    let page = page(&listing, &desk.projector.views, RecordKind::Alert, &query(None, 20)).expect("a list");
    assert_eq!(page.items.len(), 8);
}
