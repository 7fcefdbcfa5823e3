//! What verdicts rest on: faults that really happened and that the steps made, and invariants that something tried.

use chaos_tests::scenario::format::Scenario;
use chaos_tests::scenario::format::verbs::Verb;
use chaos_tests::scenario::library::LIBRARY;
use chaos_tests::scenario::simulated;
use chaos_tests::scenario::verdict::{Outcome, Verdict};

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
