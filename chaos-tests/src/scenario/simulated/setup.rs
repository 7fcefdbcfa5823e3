//! A world made from a scenario.

use vatra_model::charter::MemberRole;
use vatra_model::wire::PROTOCOL_VERSION;
use vatra_replica::Cost;

use crate::scenario::format::Scenario;
use crate::scenario::format::choice::Nodes;
use crate::scenario::format::line::{LineChange, LineCost, Rate};
use crate::scenario::format::mesh::Version;
use crate::scenario::format::quantity::{Bytes, Share};
use crate::scenario::format::step::Argument;
use crate::scenario::format::verbs::Verb;
use crate::scenario::plan::{Plan, links_of};
use crate::sim::checks::l4_recovery::Recovery;
use crate::sim::disk::{Disk, Keep};
use crate::sim::network::{Burst, MTU_MIN};
use crate::sim::{Federation, Setup, Shape, World};

/// A world and who is who in it.
pub(super) struct Cast {
    /// The world.
    pub world: World,
    /// Names of nodes, by index.
    pub names: Vec<String>,
    /// Those that may write.
    pub writers: Vec<bool>,
    /// Those that are of the federation now.
    pub members: Vec<bool>,
}

/// Names that a plan lets join later.
fn joining(plan: &Plan) -> Vec<String> {
    let occurrences = plan.timed.iter().chain(plan.waiting.iter().map(|(_, occurrence)| occurrence));
    let joins = occurrences.filter(|occurrence| occurrence.action.verb == Verb::Join);
    let named = joins.filter_map(|occurrence| match occurrence.action.arguments.get("node") {
        Some(Argument::Nodes(Nodes::Named(names))) => Some(names.clone()),
        _ => None,
    });
    named.flatten().collect()
}

/// The world of a scenario at its beginning. Everybody runs, but for those that join later.
#[must_use]
pub(super) fn cast(scenario: &Scenario, plan: &Plan, seed: u64) -> Cast {
    let later = joining(plan);
    let everybody = || scenario.everybody().map(str::to_owned);
    // The charter's founders come first.
    let names: Vec<String> = everybody()
        .filter(|name| !later.contains(name))
        .chain(everybody().filter(|name| later.contains(name)))
        .collect();
    let founders = names.iter().filter(|name| !later.contains(name)).count();
    let is_observer: Vec<bool> = names.iter().map(|name| scenario.mesh.observers.contains(name)).collect();

    let mut federation = Federation::founded("simulated", seed, names.len(), founders.max(1));
    if is_observer.iter().take(founders).any(|is| *is) {
        federation.next_epoch(|epoch| {
            for (member, is_observer) in epoch.members.iter_mut().zip(&is_observer) {
                member.role = if *is_observer { MemberRole::Observer } else { MemberRole::Member };
            }
        });
    }
    let mut sites = federation.sites().to_vec();
    // Who is in no charter yet cannot start with it; its node starts with the one that names it when it joins.
    let whole = Federation::new("simulated", seed, names.len());
    for (index, site) in sites.iter_mut().enumerate() {
        let charter = if index < founders { federation.charter() } else { whole.charter() };
        site.charter = charter.clone();
    }
    let cost = line_between(scenario, "", "").cost;
    let setup = Setup { cost: cost_of(cost), ..Setup::new(seed, names.len()) };
    let mut world = World::with_sites(setup, federation, sites);
    let linked = links_of(scenario);
    let index = |name: &str| names.iter().position(|other| other == name);
    let pairs: Vec<(usize, usize)> =
        linked.iter().filter_map(|(a, b)| Some((index(a)?, index(b)?))).map(|(a, b)| (a.min(b), a.max(b))).collect();
    world.links.retain(|a, b| pairs.contains(&(a, b)));
    for (a, b) in pairs {
        for (from, to) in [(a, b), (b, a)] {
            let line = line_between(scenario, &names[from], &names[to]);
            shape_line(&mut world, from, to, line);
        }
    }
    for (node, name) in names.iter().enumerate() {
        if later.contains(name) {
            world.crash(node, Keep::Nothing);
            world.nodes[node].disk = Disk::default();
        }
    }
    for (name, version) in &scenario.mesh.version {
        if let (Some(node), Version::Previous) = (index(name), version) {
            change_version(&mut world, node, *version);
        }
    }
    // How the cast was made is nothing that a node recovers from.
    for (node, recovery) in world.watch.recoveries.iter_mut().enumerate() {
        *recovery = Recovery::of_new(world.nodes[node].replica.is_some());
    }
    let writers = is_observer.iter().map(|is| !is).collect();
    let members = names.iter().map(|name| !later.contains(name)).collect();
    Cast { world, names, writers, members }
}

/// What the file says of the line from one node to another: later rules stand over earlier ones.
#[must_use]
pub(super) fn line_between(scenario: &Scenario, from: &str, to: &str) -> LineChange {
    let rules = scenario.links.iter().filter(|(links, _)| links.matches(from, to));
    rules.fold(LineChange::default(), |line, (_, change)| change.over(line))
}

/// Makes a line what a scenario says; what it does not say is as between neighbours.
pub(super) fn shape_line(world: &mut World, from: usize, to: usize, line: LineChange) {
    if world.link(from, to).is_none() {
        return;
    }
    world.pipe(from, to).shape = shape_of(line);
    world.set_cost(from, to, line.cost.map(|cost| cost_of(Some(cost))));
}

/// Makes a node run a version from its next start on; it starts now. Whether it is another one than before.
pub(super) fn change_version(world: &mut World, node: usize, version: Version) -> bool {
    world.crash(node, Keep::Unsynced);
    let protocol = match version {
        Version::Current => PROTOCOL_VERSION,
        Version::Previous => PROTOCOL_VERSION - 1,
    };
    let before = std::mem::replace(&mut world.nodes[node].protocol, protocol);
    world.start(node);
    before != protocol
}

/// A shape as the simulator knows it.
#[must_use]
pub(super) fn shape_of(line: LineChange) -> Shape {
    // A line in a burst loses most of its packets, and leaves it after five of them if nothing else is said.
    const BURST_LOSS_PERMILLE: u32 = 600;
    const BURST_END_PERMILLE: u32 = 200;
    let usual = Shape::NEAR;
    let permille = |share: Option<Share>| share.map_or(0, Share::permille);
    let bytes = |size: Bytes| usize::try_from(size.0).unwrap_or(usize::MAX);
    let burst = line.burst.filter(|share| share.0 > 0).map(|share| Burst {
        enter_permille: share.permille(),
        leave_permille: line.burst_end.map_or(BURST_END_PERMILLE, Share::permille),
        loss_permille: BURST_LOSS_PERMILLE,
    });
    Shape {
        delay_us: line.delay.map_or(usual.delay_us, |delay| delay.0),
        jitter_us: line.jitter.map_or(usual.jitter_us, |jitter| jitter.0),
        loss_permille: permille(line.loss),
        burst,
        reorder_permille: permille(line.reorder),
        corrupt_permille: permille(line.corrupt),
        // Damage that the cipher would catch: now and then the decoder must.
        corrupt_deep_permille: permille(line.corrupt).div_ceil(10),
        rate: match line.rate {
            Some(Rate::Limited(rate)) => Some((rate.0 / 8).max(1)),
            Some(Rate::Unlimited) | None => None,
        },
        queue_bytes: line.queue.map_or(usual.queue_bytes, bytes),
        mtu: line.mtu.map_or(usual.mtu, bytes).max(MTU_MIN),
        twice_permille: permille(line.duplicate),
    }
}

fn cost_of(cost: Option<LineCost>) -> Cost {
    match cost {
        Some(LineCost::Lan) => Cost::Lan,
        Some(LineCost::Metered) => Cost::Metered,
        Some(LineCost::Wan) | None => Cost::Wan,
    }
}
