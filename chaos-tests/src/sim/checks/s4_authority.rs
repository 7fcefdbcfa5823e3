//! S4: an alert is changed only by the members that it names as its writers; answers only by who gives them.

use vatra_model::view::View;

use crate::sim::world::World;

/// Views whose owner or answers are of nobody that the charter ever named, or whose owner is not among its writers.
#[must_use]
pub fn check(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for (index, node) in world.nodes.iter().enumerate().filter(|(index, _)| world.is_honest(*index)) {
        let Some(replica) = &node.replica else { continue };
        let charter = replica.trust().charter();
        let is_member = |code| charter.epochs().iter().any(|epoch| epoch.epoch().member(code).is_some());
        for view in node.views.shown() {
            let View::Alert(alert) = &*view else { continue };
            if !is_member(alert.owner) || !alert.writers.contains(&alert.owner) {
                found.push(format!("node {index} shows {} as {}'s, who may not own it (S4)", alert.id, alert.owner));
            }
            if let Some(stranger) = alert.responses.keys().find(|code| !is_member(**code)) {
                found.push(format!("node {index} shows an answer of {stranger}, who is no member (S4)"));
            }
        }
        for (record, author) in node.views.trespasses() {
            found.push(format!("node {index} applied a change of {author} to the core of {record} (S4)"));
        }
    }
    found
}
