//! What verdicts rest on: faults that really happened and that the steps made, and invariants that something tried.

use chaos_tests::scenario::format::Scenario;
use chaos_tests::scenario::format::choice::Nodes;
use chaos_tests::scenario::format::mesh::Topology;
use chaos_tests::scenario::format::quantity::Share;
use chaos_tests::scenario::format::verbs::Verb;
use chaos_tests::scenario::library::LIBRARY;
use chaos_tests::scenario::plan::Plan;
use chaos_tests::scenario::verdict::{INVARIANTS, Outcome, Standing, Verdict};
use chaos_tests::scenario::{report, simulated};

/// Five members, of whom the harness breaks two in the phase after the steps.
const FIVE: &str = r#"
schema = 1
name = "five"
seed = 7
duration = "15s"
settle = "20s"

[mesh]
nodes = ["a", "b", "c", "d", "e"]
byzantine = ["e"]

[workload]
alerts = "5/s"
updates = "20%"

[core]
keep_broken = ["a", "b"]
"#;

fn scenario(more: &str) -> Scenario {
    let scenario = Scenario::read("five", &format!("{FIVE}{more}")).unwrap_or_else(|error| panic!("{error}"));
    simulated::check("five", &scenario).unwrap_or_else(|error| panic!("{error}"));
    scenario
}

fn run(scenario: &Scenario) -> Outcome {
    simulated::run(scenario, scenario.seed).expect("the harness does not panic")
}

/// What was counted of what must bite.
fn bites(more: &str, counters: &[&str]) -> Vec<u64> {
    let wanted: String = counters.iter().map(|counter| format!("{counter} = \">= 0\"\n")).collect();
    let outcome = run(&scenario(&format!("{more}[must_bite]\n{wanted}")));
    assert_eq!(outcome.verdict, Verdict::Pass, "{:?}", outcome.violations);
    outcome.bites.iter().map(|bite| bite.was).collect()
}

fn step(at: &str, text: &str) -> String {
    format!("[[step]]\nat = \"{at}\"\n{text}\n\n")
}

#[test]
fn what_the_harness_breaks_bites_nobody() {
    let counters = ["dropped_by_cut", "dropped_by_kill", "cuts", "kills", "restarts"];
    assert_eq!(bites("", &counters), [0; 5]);
    let cut = step("3s", "do = \"isolate\"\nnode = \"c\"\nfor = \"4s\"");
    let cut = bites(&cut, &counters);
    assert!(cut[0] > 0 && cut[2] == 8, "{cut:?}");
    let kill = step("3s", "do = \"kill\"\nnode = \"c\"\nrestart_after = \"1s\"");
    let kill = bites(&kill, &counters);
    assert!(kill[0] == 0 && kill[1] > 0 && kill[2..] == [0, 1, 1], "{kill:?}");
}

#[test]
fn a_cable_that_is_not_cut_makes_a_cable_cut_void() {
    let (_, text) = LIBRARY.iter().find(|(name, _)| *name == "cable-cut").expect("it is in the library");
    let mut whole = Scenario::read("cable-cut", text).unwrap_or_else(|error| panic!("{error}"));
    whole.steps.retain(|step| step.action.verb != Verb::Partition);
    let outcome = run(&whole);
    assert_eq!(outcome.verdict, Verdict::Void, "{:?}", outcome.bites);
    assert_eq!((outcome.bites[0].was, outcome.bites[1].holds), (0, true), "{:?}", outcome.bites);
}

#[test]
fn an_import_counts_where_a_running_node_took_something_in() {
    let counters = ["imports", "imports_again"];
    let isolate = step("1s", "do = \"isolate\"\nnode = \"c\"\nfor = \"14s\"");
    let pack = step("8s", "do = \"bundle\"\nnode = \"d\"");
    let read = |at: &str, node: &str, more: &str| step(at, &format!("do = \"import\"\nnode = \"{node}\"\n{more}"));
    let carried = format!("{isolate}{pack}{}{}", read("9s", "c", "times = 3"), read("10s", "c", ""));
    assert_eq!(bites(&carried, &counters), [1, 3], "three times the same, and once more later");
    assert_eq!(bites(&format!("{pack}{}", read("9s", "d", "")), &counters), [0, 1], "its own exporter knows it all");
    let kill = step("8500ms", "do = \"kill\"\nnode = \"c\"");
    let dead = format!("{isolate}{pack}{kill}{}", read("9s", "c", ""));
    assert_eq!(bites(&dead, &counters), [0, 0], "nobody reads at a node that is down");
    assert_eq!(bites(&read("9s", "c", ""), &counters), [0, 0], "there is no such bundle");
}

#[test]
fn a_step_that_changes_nothing_is_not_counted() {
    let one = |text: &str, counter: &str| bites(&step("5s", text), &[counter])[0];
    for (text, counter, count) in [
        ("do = \"clock\"\nnode = \"c\"\noffset = \"0s\"", "clock_changes", 0),
        ("do = \"clock\"\nnode = \"c\"\noffset = \"+1h\"", "clock_changes", 1),
        ("do = \"clock\"\nnode = \"c\"\njump = \"0s\"", "clock_changes", 0),
        ("do = \"clock\"\nnode = \"c\"\ndrift = \"0s\"", "clock_changes", 0),
        ("do = \"clock\"\nnode = [\"c\", \"d\"]\ndrift = \"+1m\"", "clock_changes", 2),
        ("do = \"upgrade\"\nnode = \"c\"\nversion = \"current\"", "upgrades", 0),
        ("do = \"upgrade\"\nnode = \"c\"\nversion = \"previous\"", "upgrades", 1),
        ("do = \"wipe_disk\"\nnode = \"c\"", "wiped_disks", 1),
    ] {
        assert_eq!(one(text, counter), count, "{text}");
    }
    let wipe = |at: &str| step(at, "do = \"wipe_disk\"\nnode = \"c\"");
    assert_eq!(bites(&format!("{}{}", wipe("5s"), wipe("6s")), &["wiped_disks"]), [1], "it was empty");
    let isolate = |at: &str| step(at, "do = \"isolate\"\nnode = \"c\"\nfor = \"5s\"");
    assert_eq!(bites(&format!("{}{}", isolate("5s"), isolate("6s")), &["cuts"]), [8], "its lines were cut already");
    let lie = |at: &str| step(at, "do = \"disk\"\nnode = \"c\"\nfault = \"lie\"");
    assert_eq!(bites(&format!("{}{}", lie("5s"), lie("6s")), &["lies"]), [1], "it lied already");
}

#[test]
fn a_hostile_member_counts_once_it_can_act() {
    let counters = ["hostile_acts", "malformed"];
    let act = step("6s", "do = \"byz\"\nnode = \"e\"\nact = \"malformed\"");
    let acts = bites(&act, &counters);
    assert!(acts[0] == 1 && acts[1] > 5, "{acts:?}");
    let kill = step("5s", "do = \"kill\"\nnode = \"e\"");
    assert_eq!(bites(&format!("{kill}{act}"), &counters), [0, 0], "it is down");
    let revoke = step("5s", "do = \"revoke\"\nkey = \"e\"");
    assert_eq!(bites(&format!("{revoke}{act}"), &counters), [0, 0], "it stopped when it lost its key");
    let start = step("8s", "do = \"start\"\nnode = \"e\"");
    let late = bites(&format!("{kill}{act}{start}"), &counters);
    assert!(late[0] == 1 && late[1] > 5, "it acts when it is started: {late:?}");
    // A thief goes on, and nobody is linked with it any more.
    let early = step("4s", "do = \"byz\"\nnode = \"e\"\nact = \"write_on\"");
    let thief = format!("{early}{revoke}{}", act.replace("6s", "11s"));
    assert_eq!(bites(&thief, &counters), [1, 0]);
}

#[test]
fn what_nothing_tried_is_not_tested() {
    let untested = |more: &str| {
        let text = format!("{FIVE}{more}").replace("[\"a\", \"b\"]", "[]");
        let scenario = Scenario::read("five", &text).unwrap_or_else(|error| panic!("{error}"));
        let outcome = run(&scenario);
        assert_eq!(outcome.verdict, Verdict::Pass, "{:?}", outcome.violations);
        for invariant in INVARIANTS.iter().filter(|invariant| outcome.untested.contains_key(invariant.id)) {
            assert_eq!(outcome.standing(invariant), Standing::NotTested);
        }
        outcome.untested
    };
    let quiet = untested("");
    // Bounds and traffic of members that may be hostile are not looked at in any case.
    let never = ["L4", "O1", "R2", "R4", "S11", "S12", "S5", "S6"];
    assert_eq!(quiet.keys().map(String::as_str).collect::<Vec<_>>(), never);
    assert_eq!(quiet["S5"], "no log was forked");
    let byz = |at: &str, act: &str| step(at, &format!("do = \"byz\"\nnode = \"e\"\nact = \"{act}\""));
    let revoke = step("6s", "do = \"revoke\"\nkey = \"e\"");
    let isolate = step("5s", "do = \"isolate\"\nnode = \"a\"\nfor = \"5s\"");
    for (steps, tried) in [
        (step("5s", "do = \"kill\"\nnode = \"c\"\nrestart_after = \"1s\""), &["L4", "S6"][..]),
        (step("5s", "do = \"bitflip\"\nnode = \"c\""), &["O1"]),
        (step("5s", "do = \"clock\"\nnode = \"c\"\njump = \"-1h\""), &["S12"]),
        (byz("5s", "clock_lies"), &["S12"]),
        (byz("5s", "equivocate"), &["S5"]),
        (format!("{}{isolate}{revoke}", byz("4s", "write_on")), &["S11"]),
    ] {
        let left = untested(&steps);
        let tried_now: Vec<&str> = never.into_iter().filter(|id| !left.contains_key(*id)).collect();
        assert!(tried.iter().all(|id| tried_now.contains(id)), "{steps}tried {tried_now:?}");
    }
    let revoked = untested(&step("6s", "do = \"revoke\"\nkey = \"e\""));
    assert_eq!(revoked["S11"], "no node holds anything that a revoked key wrote after its end");
    let mut plain = scenario("");
    (plain.workload.updates, plain.workload.retracts) = (Share(0), Share(0));
    assert_eq!(run(&plain).untested["S7"], "nobody edited anything");
    let mut alone = scenario("");
    alone.mesh.topology = Topology::Links(Vec::new());
    assert_eq!(run(&alone).untested["L2"], "fewer than two linked nodes were healed");
}

#[test]
fn a_report_says_where_everybody_is() {
    let mut scenario = scenario(&step("5s", "do = \"leave\"\nnode = \"d\""));
    scenario.mesh.nodes.push("f".to_owned());
    scenario.keep_broken = Some(Nodes::Named(vec!["c".to_owned()]));
    let pairs = [("a", "b"), ("a", "c"), ("a", "d"), ("a", "e")];
    scenario.mesh.topology = Topology::Links(pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec());
    let text = report::text(&run(&scenario), false);
    let line = "  healed       a, b; kept broken: c; hostile: e; no members: d; unlinked: f\n";
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_core_is_left_whoever_is_drawn_to_stay_broken() {
    let mut scenario = scenario("");
    scenario.keep_broken = None;
    scenario.mesh.topology = Topology::Line;
    scenario.mesh.byzantine = vec!["b".to_owned(), "d".to_owned()];
    scenario.mesh.nodes.push("f".to_owned());
    // Only e and f are linked with each other without a hostile node between them.
    for seed in 0..50 {
        let drawn = Plan::new(&scenario, seed).fixed(&scenario, seed).to_string();
        Scenario::read("drawn", &drawn).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{drawn}"));
    }
}
