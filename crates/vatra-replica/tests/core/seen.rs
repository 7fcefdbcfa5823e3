//! What status views show of links and of catch-up.

use vatra_model::{Class, Frontier, MonoMs};
use vatra_replica::Input;

use crate::support::*;

#[test]
fn a_member_is_linked_or_it_is_told_since_when_not() {
    let mut node = Node::new(0);
    let lag = |node: &Node| node.replica.status(node.now).behind[&code(1)];
    assert_eq!((lag(&node).linked, lag(&node).unlinked_since), (false, None), "there was no link yet");
    node.greet(1, &Frontier::default());
    node.run_for(5_000);
    assert!(lag(&node).linked && lag(&node).reachable, "{:?}", lag(&node));
    node.act([Input::LinkDown { peer: key(1) }]);
    let ended = node.now.mono;
    node.run_for(5_000);
    assert_eq!((lag(&node).linked, lag(&node).unlinked_since), (false, Some(ended)));
    assert_eq!(ended, MonoMs(1_005_000));
    node.greet(1, &Frontier::default());
    assert_eq!((lag(&node).linked, lag(&node).unlinked_since), (true, None));
}

#[test]
fn catch_up_says_how_long_it_will_take() {
    let mut writer = Node::new(9);
    let log = writer.replica.own_log();
    writer.publish(Class::Routine, 199);
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    let lag = |node: &Node| node.replica.status(node.now).behind[&code(9)];
    for second in 0..4 {
        let places: Vec<_> = (second * 25..second * 25 + 25).map(|seq| (log, seq)).collect();
        let input = writer.sent(&node, 1, Some(7), &places);
        node.act([input, have(1, log, 200)]);
        node.run_for(1_000);
    }
    // A hundred of two hundred came in four seconds.
    assert_eq!((lag(&node).entries, lag(&node).eta_ms), (100, Some(4_000)), "{:?}", lag(&node));
    assert!(lag(&node).behind_ms >= 3_000, "{:?}", lag(&node));
    node.run_for(60_000);
    assert_eq!(lag(&node).eta_ms, None, "nothing comes any more");
    let places: Vec<_> = (100..200).map(|seq| (log, seq)).collect();
    let input = writer.sent(&node, 1, Some(8), &places);
    node.act([input]);
    assert_eq!((lag(&node).entries, lag(&node).eta_ms, lag(&node).behind_ms), (0, None, 0));
}
