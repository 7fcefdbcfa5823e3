//! Faults by chance: what `[swarm]` draws from, and whole scenarios made from nothing but a seed.

use crate::scenario::format::choice::{Links, Nodes};
use crate::scenario::format::line::{LineChange, PROFILES};
use crate::scenario::format::mesh::{Mesh, Topology, Workload};
use crate::scenario::format::quantity::{Between, Bytes, Offset, Pace, Share, Span};
use crate::scenario::format::step::{Action, Argument, Step, When};
use crate::scenario::format::verbs::{ACTS, Verb};
use crate::scenario::format::{Backend, Expect, Scenario, Swarm, SwarmKind};
use crate::scenario::plan::{draw, share_of};
use crate::sim::chance::Chance;

const MS: u64 = 1_000;
const SECOND: u64 = 1_000 * MS;
/// Power cuts in a thousand that tear what is being written.
const TORN_PERMILLE: u32 = 300;

fn spans(low: u64, high: u64) -> Between<Span> {
    Between { low: Span(low), high: Span(high) }
}

/// The steps that a swarm comes to.
#[must_use]
pub fn steps(swarm: &Swarm, scenario: &Scenario, chance: &mut Chance) -> Vec<Step> {
    let quiet = share_of(scenario.duration, swarm.quiet);
    let end = Span(scenario.duration.0.saturating_sub(quiet.0));
    let mut steps = Vec::new();
    let mut at = draw(chance, swarm.period);
    let kinds: Vec<SwarmKind> = swarm.kinds.iter().copied().filter(|kind| *kind != SwarmKind::Revoke).collect();
    while at < end {
        if let Some(kind) = chance.pick(&kinds).copied() {
            steps.extend(fault(kind, at, scenario, chance));
        }
        at = Span(at.0 + draw(chance, swarm.period).0);
    }
    if swarm.kinds.contains(&SwarmKind::Revoke) {
        let at = Span(chance.between(scenario.duration.0 / 5, scenario.duration.0 * 4 / 5));
        steps.extend(fault(SwarmKind::Revoke, at, scenario, chance));
    }
    steps
}

fn step(at: Span, lasts: Option<Between<Span>>, action: Action) -> Step {
    Step { line: 0, when: When::At(Between::just(at)), lasts, action }
}

/// One fault of a kind; some need more than one step.
fn fault(kind: SwarmKind, at: Span, scenario: &Scenario, chance: &mut Chance) -> Vec<Step> {
    let one = |verb: Verb| Action::new(verb).with("node", Argument::Nodes(Nodes::Random(1)));
    let restart = |action: Action| action.with("restart_after", Argument::Span(spans(100 * MS, 8 * SECOND)));
    let a_while = Some(spans(200 * MS, 10 * SECOND));
    let later = |ms: u64| Span(at.0 + ms * MS);
    match kind {
        SwarmKind::Partition => vec![step(at, a_while, shape_of_a_cut(chance))],
        SwarmKind::OneWay => {
            let verb = *chance.pick(&[Verb::Deaf, Verb::Mute]).unwrap_or(&Verb::Deaf);
            vec![step(at, a_while, one(verb))]
        }
        SwarmKind::Flap => {
            let flap = Action::new(Verb::Flap)
                .with("link", Argument::Links(Links::Random))
                .with("period", Argument::Span(spans(100 * MS, SECOND)));
            vec![step(at, Some(spans(SECOND, 8 * SECOND)), flap)]
        }
        SwarmKind::Swizzle => {
            let some = Argument::Nodes(Nodes::Minority);
            vec![step(at, Some(spans(2 * SECOND, 8 * SECOND)), Action::new(Verb::Swizzle).with("node", some))]
        }
        SwarmKind::Lines => {
            let profile = chance.pick(PROFILES).map(|profile| profile.line);
            let set = Action { line: profile, ..Action::new(Verb::Set).with("link", Argument::Links(Links::Random)) };
            vec![step(at, a_while, set)]
        }
        SwarmKind::Kill => vec![step(at, None, restart(one(Verb::Kill)))],
        SwarmKind::Pause => vec![step(at, Some(spans(100 * MS, 6 * SECOND)), one(Verb::Pause))],
        SwarmKind::Power => {
            let victims = if chance.permille(150) { Nodes::All } else { Nodes::Random(1) };
            let loss = Action::new(Verb::PowerLoss).with("node", Argument::Nodes(victims));
            // Drawn apart, so that everything else that a seed draws stays as it is.
            let tears = Chance::new(scenario.seed, &format!("torn at {at}")).permille(TORN_PERMILLE);
            let loss = if tears { loss.with("keep", Argument::Word("torn")) } else { loss };
            vec![step(at, None, restart(loss))]
        }
        SwarmKind::Clock => {
            let wrong = [60 * 1_000, 3_600 * 1_000, 400 * 86_400 * 1_000].map(|ms: i64| ms * 1_000);
            let size = *chance.pick(&wrong).unwrap_or(&0);
            let offset = if chance.permille(500) { size } else { -size };
            vec![step(at, a_while, one(Verb::Clock).with("jump", Argument::Offset(Offset(offset))))]
        }
        SwarmKind::Disk => {
            let disk = one(Verb::Disk);
            let disk = match chance.below(3) {
                0 => disk.with("fault", Argument::Word("full")),
                1 => disk.with("fault", Argument::Word("eio")).with("share", Argument::Share(Share(200_000))),
                _ => {
                    disk.with("fault", Argument::Word("slow")).with("delay", Argument::Span(spans(20 * MS, 2 * SECOND)))
                }
            };
            vec![step(at, a_while, disk)]
        }
        SwarmKind::Rollback => rollback(at, later(1_000 + chance.below(9_000)), scenario, chance),
        SwarmKind::Wipe => vec![step(at, None, restart(one(Verb::WipeDisk)))],
        SwarmKind::Byz => {
            let act = *chance.pick(ACTS).unwrap_or(&ACTS[0]);
            vec![step(at, a_while, one(Verb::Byz).with("act", Argument::Word(act)))]
        }
        SwarmKind::Rot => {
            let count = Argument::Count(chance.between(1, 30));
            vec![step(at, None, one(Verb::Bitflip).with("count", count))]
        }
        // Once in a run: a federation loses no more members than it must.
        SwarmKind::Revoke => {
            let hostile = chance.pick(&scenario.mesh.byzantine).cloned().filter(|_| chance.permille(700));
            let whose = hostile.map_or(Nodes::Random(1), |name| Nodes::Named(vec![name]));
            vec![step(at, None, Action::new(Verb::Revoke).with("key", Argument::Nodes(whose)))]
        }
        SwarmKind::Bundle => {
            let import = Action::new(Verb::Import).with("node", Argument::Nodes(Nodes::Random(1)));
            vec![step(at, None, one(Verb::Bundle)), step(later(500), None, import)]
        }
    }
}

fn shape_of_a_cut(chance: &mut Chance) -> Action {
    let groups = |first: Nodes| vec![first, Nodes::All];
    match chance.below(8) {
        0 => Action::new(Verb::Isolate).with("node", Argument::Nodes(Nodes::Random(1))),
        1 => Action::new(Verb::Ring),
        2 => Action::new(Verb::Line),
        3 => Action::new(Verb::Star),
        4 => Action::new(Verb::Cut).with("link", Argument::Links(Links::Random)),
        5 => Action::new(Verb::Cut).with("link", Argument::Links(Links::All)),
        _ => Action::new(Verb::Partition).with("groups", Argument::Groups(groups(Nodes::Minority))),
    }
}

/// A store is copied, and the copy comes back later on the same node.
fn rollback(at: Span, back: Span, scenario: &Scenario, chance: &mut Chance) -> Vec<Step> {
    let names: Vec<&str> = scenario.everybody().collect();
    let Some(name) = chance.pick(&names).copied() else { return Vec::new() };
    if back >= scenario.duration {
        return Vec::new();
    }
    let node = || Argument::Nodes(Nodes::Named(vec![name.to_owned()]));
    // One copy for each moment: several of them may be under way.
    let label = || Argument::Label(format!("copy-{}", at.ms()));
    let restore = Action::new(Verb::RestoreDisk)
        .with("node", node())
        .with("name", label())
        .with("restart_after", Argument::Span(spans(100 * MS, 3 * SECOND)));
    let copy = Action::new(Verb::SnapshotDisk).with("node", node()).with("name", label());
    vec![step(at, None, copy), step(back, None, restore)]
}

/// A whole scenario from a seed: its mesh, its lines, what people do and what goes wrong. Kinds of faults are left
/// out at random, since the absence of one often lets another bite.
#[must_use]
pub fn scenario(seed: u64, able: &[SwarmKind]) -> Scenario {
    let mut chance = Chance::new(seed, "scenario");
    let count = if chance.permille(100) { chance.between(8, 13) } else { chance.between(2, 6) };
    let nodes: Vec<String> = (1..=count).map(|number| format!("n{number}")).collect();
    let topologies = [Topology::Full, Topology::Full, Topology::Ring, Topology::Line, Topology::Star];
    let topology = chance.pick(&topologies).cloned().unwrap_or(Topology::Full);
    let usual: Vec<SwarmKind> = able.iter().copied().filter(|kind| *kind != SwarmKind::Revoke).collect();
    let mut kinds: Vec<SwarmKind> = usual.iter().copied().filter(|_| chance.permille(500)).collect();
    if kinds.is_empty() {
        kinds.extend(chance.pick(&usual));
    }
    // A hostile member that all others are linked through can keep anything from them.
    let hostile = kinds.contains(&SwarmKind::Byz) && count >= 4 && topology == Topology::Full;
    if !hostile {
        kinds.retain(|kind| *kind != SwarmKind::Byz);
    }
    if kinds.is_empty() {
        kinds.push(SwarmKind::Partition);
    }
    let period = chance.between(500, 4_000) * MS;
    let duration = Span(chance.between(15, 40) * SECOND);
    let paces = [2, 5, 10];
    let alerts = Pace { count: chance.pick(&paces).copied().unwrap_or(5), per_us: SECOND };
    // Who loses its key must not be the only one that links others.
    let revokes = able.contains(&SwarmKind::Revoke) && topology == Topology::Full && count >= 3;
    let mut drawn = Scenario {
        name: format!("seed-{seed}"),
        why: "drawn from the seed alone".to_owned(),
        seed,
        backends: vec![Backend::Sim],
        duration,
        settle: Span(60 * SECOND),
        links: lines(&mut chance, &nodes),
        mesh: Mesh {
            byzantine: if hostile { nodes.iter().take(1 + nodes.len() / 4).cloned().collect() } else { Vec::new() },
            nodes,
            observers: Vec::new(),
            version: std::collections::BTreeMap::new(),
            topology,
        },
        workload: Workload {
            alerts,
            updates: Share(chance.below(40) * 10_000),
            retracts: Share(chance.below(10) * 10_000),
            size: crate::scenario::format::mesh::SizeLaw::Zipf(Between { low: Bytes(0), high: Bytes(2_000) }),
            ..Workload::default()
        },
        steps: Vec::new(),
        swarm: Some(Swarm {
            kinds,
            period: spans(period / 2, period * 3 / 2),
            quiet: Share(chance.below(4) * 100_000),
        }),
        keep_broken: None,
        expect: Expect::default(),
        must_bite: Vec::new(),
    };
    if let Some(swarm) = drawn.swarm.as_mut().filter(|_| revokes && chance.permille(300)) {
        swarm.kinds.push(SwarmKind::Revoke);
    }
    drawn
}

fn lines(chance: &mut Chance, nodes: &[String]) -> Vec<(Links, LineChange)> {
    let usual = ["local", "near", "near", "far", "rough"];
    let of = |name: &str| PROFILES.iter().find(|profile| profile.name == name).map(|profile| profile.line);
    let mut lines = Vec::new();
    let profile = chance.pick(&usual).copied().unwrap_or("near");
    lines.extend(of(profile).map(|line| (Links::All, line)));
    if chance.permille(250) {
        let thin = *chance.pick(&["satellite", "narrow"]).unwrap_or(&"satellite");
        let end = chance.pick(nodes).cloned();
        lines.extend(of(thin).map(|line| (Links::Matching { from: end, to: None, both: true }, line)));
    }
    lines
}
