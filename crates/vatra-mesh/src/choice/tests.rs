//! Two ends that choose over a simulated pair of nodes, with every order of events that a seed can produce.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn key(n: u8) -> NodeKey {
    NodeKey([n; 32])
}

fn choice(own: u8) -> Choice {
    Choice::new(key(own), 5 * SECOND, 2)
}

fn lost() -> DownReason {
    DownReason::Lost { detail: "gone".into() }
}

fn surplus(link: u64) -> Step {
    Step::Close(LinkId(link), CloseReason::Surplus)
}

#[test]
fn the_smaller_key_chooses_the_first_connection_and_closes_the_rest() {
    let now = Instant::now();
    let mut smaller = choice(1);
    assert_eq!(smaller.established(now, LinkId(1), key(2), false), [Step::Open(LinkId(1))]);
    assert_eq!(smaller.established(now, LinkId(2), key(2), true), [surplus(2)]);
    assert_eq!(smaller.ready(now, LinkId(1)), [Step::Up(LinkId(1))]);
    assert_eq!(smaller.ready(now, LinkId(1)), []);
    assert_eq!(smaller.established(now + SECOND, LinkId(3), key(2), false), [surplus(3)]);
    assert_eq!(smaller.stream_arrived(LinkId(2)), (false, vec![]));
    assert_eq!(smaller.stream_arrived(LinkId(1)), (true, vec![]));
}

#[test]
fn the_larger_key_follows_the_streams() {
    let now = Instant::now();
    let mut larger = choice(3);
    assert_eq!(larger.established(now, LinkId(1), key(2), true), []);
    assert_eq!(larger.established(now, LinkId(2), key(2), false), []);
    assert_eq!(larger.stream_arrived(LinkId(2)), (true, vec![Step::Open(LinkId(2))]));
    assert_eq!(larger.ready(now, LinkId(2)), [Step::Up(LinkId(2))]);
    assert_eq!(larger.closed(LinkId(1), "closed by peer"), []);

    // The chooser restarts: its streams on a new connection end the old link at once.
    assert_eq!(larger.established(now, LinkId(3), key(2), false), []);
    let replaced = DownReason::Replaced;
    let expected = vec![
        Step::Down(LinkId(2), replaced.clone()),
        Step::Close(LinkId(2), CloseReason::Down(replaced)),
        Step::Open(LinkId(3)),
    ];
    assert_eq!(larger.stream_arrived(LinkId(3)), (true, expected));
    assert_eq!(larger.stream_arrived(LinkId(2)), (false, vec![]), "what is closing is never chosen again");
}

#[test]
fn a_peer_that_dials_long_after_the_race_has_lost_its_link() {
    let now = Instant::now();
    let mut smaller = choice(1);
    smaller.established(now, LinkId(1), key(2), true);
    smaller.ready(now, LinkId(1));
    let later = now + RACE_MAX;
    assert_eq!(smaller.established(later, LinkId(2), key(2), true), [surplus(2)]);
    let replaced = DownReason::Replaced;
    let expected = [
        Step::Down(LinkId(1), replaced.clone()),
        Step::Close(LinkId(1), CloseReason::Down(replaced)),
        Step::Open(LinkId(3)),
    ];
    assert_eq!(smaller.established(later, LinkId(3), key(2), false), expected);
}

#[test]
fn what_does_not_form_in_time_is_closed() {
    let now = Instant::now();
    for own in [1, 3] {
        let mut choice = choice(own);
        choice.established(now, LinkId(1), key(2), true);
        assert_eq!(choice.deadline(), Some(now + 5 * SECOND));
        assert_eq!(choice.expire(now + 4 * SECOND), []);
        assert_eq!(choice.expire(now + 5 * SECOND), [Step::Close(LinkId(1), CloseReason::NotFormed)]);
        assert_eq!((choice.deadline(), choice.expire(now + 6 * SECOND)), (None, vec![]));
        assert_eq!(choice.closed(LinkId(1), "local"), []);
        assert_eq!(choice.connected(), BTreeMap::new());
    }
}

#[test]
fn links_are_bounded_on_both_sides_of_the_choice() {
    let now = Instant::now();
    let too_many = |link| Step::Close(LinkId(link), CloseReason::TooManyLinks);
    let mut smaller = choice(1);
    smaller.established(now, LinkId(1), key(2), true);
    smaller.established(now, LinkId(2), key(3), true);
    assert_eq!(smaller.established(now, LinkId(3), key(4), true), [too_many(3)]);
    let mut larger = choice(9);
    for link in 1..=3 {
        larger.established(now, LinkId(link), key(link as u8), true);
    }
    larger.stream_arrived(LinkId(1));
    larger.stream_arrived(LinkId(2));
    assert_eq!(larger.stream_arrived(LinkId(3)), (false, vec![too_many(3)]));
}

#[test]
fn an_end_is_told_once() {
    let now = Instant::now();
    let mut choice = choice(1);
    choice.established(now, LinkId(1), key(2), true);
    choice.ready(now, LinkId(1));
    choice.established(now, LinkId(2), key(3), true);
    let steps = choice.end_node(key(2), &DownReason::Cut);
    assert_eq!(
        steps,
        [Step::Down(LinkId(1), DownReason::Cut), Step::Close(LinkId(1), CloseReason::Down(DownReason::Cut))]
    );
    assert_eq!(choice.closed(LinkId(1), "local"), []);
    assert_eq!(choice.end_node(key(3), &DownReason::Cut).len(), 1, "a forming link was never up");
    assert_eq!(choice.end(LinkId(7), lost()), []);
}

/// A member may certify many nodes, and all of them may dial.
#[test]
fn others_leave_room_for_configured_peers() {
    let now = Instant::now();
    for own in [1, 90] {
        let mut choice = Choice::new(key(own), 5 * SECOND, 3);
        choice.keep_room_for([key(50), key(51)].into());
        let mut is_linked = |node: u8| {
            let link = LinkId(node.into());
            let mut steps = choice.established(now, link, key(node), false);
            if own > node {
                steps.extend(choice.stream_arrived(link).1);
            }
            steps == [Step::Open(link)]
        };
        let linked: Vec<u8> = [60, 61, 62, 50, 63, 51, 64].into_iter().filter(|node| is_linked(*node)).collect();
        assert_eq!(linked, [60, 50, 51], "of node {own}");
    }
}

/// One connection as both ends see it.
#[derive(Clone, Copy, Default)]
struct Wire {
    seen: [bool; 2],
    opened: [bool; 2],
    closed: [bool; 2],
}

proptest! {
    /// Whatever the order in which connections, streams and closings arrive at the two ends, the ends agree
    /// on one connection in the end, if any connection is left that both have seen.
    #[test]
    fn both_ends_keep_the_same_connection(
        dialers in proptest::collection::vec(any::<bool>(), 1..5),
        order in proptest::collection::vec(any::<(u8, u8)>(), 0..200),
    ) {
        let now = Instant::now();
        let mut ends = [choice(1), choice(2)];
        let mut wires = vec![Wire::default(); dialers.len()];
        let settle = (0..200).map(|n| (n, 0_u8)).chain((0..200).map(|n| (n, 1)));
        let rounds = order.into_iter().chain(settle.clone().map(|(n, side)| (n as u8, side))).chain(settle.map(|(n, s)| (n as u8, s)));
        for (index, what) in rounds {
            let index = usize::from(index) % wires.len();
            let (side, other) = if what % 2 == 0 { (0, 1) } else { (1, 0) };
            let link = LinkId(index as u64);
            let mut steps = Vec::new();
            if !wires[index].seen[side] {
                wires[index].seen[side] = true;
                let peer = key(other as u8 + 1);
                steps = ends[side].established(now, link, peer, dialers[index] == (side == 0));
            } else if wires[index].closed[other] && !wires[index].closed[side] {
                wires[index].closed[side] = true;
                steps = ends[side].closed(link, "closed by peer");
            } else if wires[index].opened[other] && !wires[index].closed[side] {
                steps = ends[side].stream_arrived(link).1;
            }
            for step in steps {
                match step {
                    Step::Open(link) => wires[link.0 as usize].opened[side] = true,
                    Step::Close(link, _) => wires[link.0 as usize].closed[side] = true,
                    Step::Up(_) | Step::Down(..) => {}
                }
            }
        }
        let chosen: Vec<Vec<LinkId>> = ends.iter().map(|end| end.chosen.values().copied().collect()).collect();
        prop_assert_eq!(&chosen[0], &chosen[1]);
        prop_assert_eq!(chosen[0].len(), 1);
        let open: Vec<usize> = (0..wires.len()).filter(|&n| wires[n].closed == [false, false]).collect();
        prop_assert_eq!(open, vec![chosen[0][0].0 as usize]);
    }
}
