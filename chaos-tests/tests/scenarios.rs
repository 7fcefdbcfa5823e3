//! Scenario files through the real command line: exit codes tell what happened, runs repeat.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use chaos_tests::scenario::format::Scenario;
use chaos_tests::scenario::library::LIBRARY;
use serde_json::Value;

/// Three members; one is cut off, another dies.
const SMALL: &str = r#"
schema = 1
name = "small"
why = "a test"
seed = 7
duration = "8s"
settle = "5s"

[mesh]
nodes = ["ee", "lv", "lt"]

[workload]
alerts = "10/s"

[[step]]
at = "2s"
do = "isolate"
node = "ee"
for = "3s"

[[step]]
at = "3s"
do = "kill"
node = "lv"
restart_after = "1s"

[[step]]
at = "7s"
do = "check"
within = "1s"

[core]
keep_broken = []
"#;

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vatra-chaos")).arg("sim").args(arguments).output().expect("it starts")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A file with the small scenario and something added to it.
fn file(dir: &Path, name: &str, more: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, format!("{SMALL}{more}")).expect("it can be written");
    path
}

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("there is room")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn exit_codes_tell_what_happened() {
    let dir = dir();
    let good = file(dir.path(), "good.toml", "");
    let passed = sim(&["run", text(&good)]);
    assert_eq!(passed.status.code(), Some(0), "{}", out(&passed));
    assert!(out(&passed).contains("PASS") && !out(&passed).contains("to reproduce"), "{}", out(&passed));
    assert!(out(&passed).lines().all(|line| line.chars().count() <= 100), "{}", out(&passed));
    assert!(!out(&passed).contains('\u{1b}'), "colors where there is no terminal");

    let safety = file(dir.path(), "safety.toml", "[expect.metric]\nkills = \"== 0\"\n");
    let failed = sim(&["run", text(&safety)]);
    assert_eq!(failed.status.code(), Some(1), "{}", out(&failed));

    let late = file(dir.path(), "late.toml", "[expect]\nconverge_after_heal = \"<= 1ms\"\n");
    let failed = sim(&["run", text(&late), "--seed", "42"]);
    assert_eq!(failed.status.code(), Some(2), "{}", out(&failed));
    let line = format!("to reproduce: vatra-chaos sim run {} --seed 42", text(&late));
    assert_eq!(out(&failed).lines().filter(|found| *found == line).count(), 1, "{}", out(&failed));

    let void = file(dir.path(), "void.toml", "[must_bite]\nkills = \">= 100\"\n");
    let nothing = sim(&["run", text(&void)]);
    assert_eq!(nothing.status.code(), Some(3), "{}", out(&nothing));
    assert!(out(&nothing).contains("kills 1, wanted >= 100"), "{}", out(&nothing));

    for (more, says) in [
        ("[must_bite]\nkils = \">= 1\"\n", "must_bite.kils: \"kils\" is no counter; did you mean \"kills\"?"),
        (
            "[[step]]\nat = \"1s\"\ndo = \"cpu\"\nnode = \"ee\"\nshare = \"5%\"\n",
            "step[4]: backend sim cannot do this: the verb \"cpu\"",
        ),
        (
            "[[step]]\nat = \"1s\"\ndo = \"webhook\"\nnode = \"ee\"\nmode = \"dead\"\n",
            "backends that can: netns, compose",
        ),
        ("[workload2]\nx = 1\n", "workload2: this key is not known; did you mean \"workload\"?"),
    ] {
        let bad = file(dir.path(), "bad.toml", more);
        let refused = sim(&["run", text(&bad)]);
        assert_eq!(refused.status.code(), Some(4), "{}", told(&refused));
        assert!(told(&refused).contains(says), "{}\nshould say {says}", told(&refused));
    }
    let bad = file(dir.path(), "bad.toml", "[[step]]\nat = \"1s\"\ndo = \"leave\"\nnode = \"*\"\n");
    let refused = sim(&["run", text(&bad)]);
    assert_eq!(refused.status.code(), Some(4), "{}", told(&refused));
    assert!(told(&refused).contains("step[4].node: all full members would leave"), "{}", told(&refused));
    for arguments in
        [&["run", "no-such-file.toml"][..], &["seeds", "5..5"], &["seeds", "x..9"], &["fly"], &["explain", "nonsense"]]
    {
        let refused = sim(arguments);
        assert_eq!(refused.status.code(), Some(4), "{arguments:?}: {}", told(&refused));
    }
    assert_eq!(sim(&["--help"]).status.code(), Some(0));
}

#[test]
fn a_backend_that_the_file_does_not_name_refuses_it() {
    let dir = dir();
    let path = dir.path().join("other.toml");
    fs::write(&path, SMALL.replace("seed = 7", "backends = [\"netns\"]")).expect("it can be written");
    let refused = sim(&["run", text(&path)]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(told(&refused).contains("does not name \"sim\""), "{}", told(&refused));
}

/// The lines of JSON of a command.
fn lines(output: &Output) -> Vec<Value> {
    out(output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn seeds_are_half_open_and_tell_a_line_each_that_repeats() {
    let dir = dir();
    let good = file(dir.path(), "good.toml", "");
    let runs: Vec<Output> =
        (0..2).map(|_| sim(&["seeds", "3..6", "--scenario", text(&good), "--json", "--jobs", "2"])).collect();
    for run in &runs {
        assert_eq!(run.status.code(), Some(0), "{}{}", out(run), told(run));
    }
    let (first, second) = (lines(&runs[0]), lines(&runs[1]));
    let seeds: Vec<u64> = first.iter().filter_map(|line| line["seed"].as_u64()).collect();
    assert_eq!(seeds, [3, 4, 5]);
    for (a, b) in first.iter().zip(&second) {
        assert_eq!(a["verdict"], "pass");
        assert_eq!(a["history_hash"], b["history_hash"], "a seed went two ways");
        assert!(a["simulated_s"].as_f64().is_some_and(|seconds| seconds >= 8.0));
        assert!(a["wall_s"].is_f64() && a["violations"].as_array().is_some_and(Vec::is_empty));
    }
    assert_ne!(first[0]["history_hash"], first[1]["history_hash"], "two seeds went the same way");
}

#[test]
fn seeds_draw_their_own_scenarios_that_replay() {
    let drawn = sim(&["seeds", "0..2", "--json"]);
    assert_eq!(drawn.status.code(), Some(0), "{}{}", out(&drawn), told(&drawn));
    let replayed = sim(&["replay", "1", "--json"]);
    assert_eq!(lines(&replayed)[0]["history_hash"], lines(&drawn)[1]["history_hash"]);
    // What a seed draws is a file that runs the same.
    let dir = dir();
    let path = dir.path().join("drawn.toml");
    fs::write(&path, out(&sim(&["replay", "1", "--print"]))).expect("it can be written");
    let run = sim(&["run", text(&path), "--json"]);
    assert_eq!(lines(&run)[0]["history_hash"], lines(&drawn)[1]["history_hash"], "{}", told(&run));
}

#[test]
fn the_largest_seeds_replay_from_what_is_printed() {
    let dir = dir();
    for seed in [1 << 63, u64::MAX] {
        let path = dir.path().join("large.toml");
        fs::write(&path, out(&sim(&["replay", &seed.to_string(), "--print"]))).expect("it can be written");
        let scenario = Scenario::read("large", &fs::read_to_string(&path).expect("a file")).expect("it reads");
        assert_eq!(scenario.seed, seed);
    }
}

#[test]
fn the_last_full_member_stays() {
    let dir = dir();
    let leave = |node: &str| format!("[[step]]\nat = \"4s\"\ndo = \"leave\"\nnode = \"{node}\"\n");
    let path = file(dir.path(), "leave.toml", &["ee", "lv", "lt"].map(leave).concat());
    let run = &lines(&sim(&["run", text(&path), "--json"]))[0];
    assert_eq!((&run["verdict"], &run["counters"]["left"]), (&"pass".into(), &2.into()), "{run}");
}

#[test]
fn a_step_waits_for_the_proof_of_a_fork() {
    let dir = dir();
    let path = dir.path().join("forked.toml");
    // Nobody owes anything to who is revoked.
    let small = SMALL.replace("do = \"check\"\nwithin = \"1s\"", "do = \"heal\"");
    let forked = small.replace("\"lt\"]", "\"lt\", \"pl\"]\nbyzantine = [\"pl\"]");
    let steps = "[[step]]\nat = \"1s\"\ndo = \"byz\"\nnode = \"pl\"\nact = \"equivocate\"\n\n\
                 [[step]]\nwhen = \"lv.fork_proofs >= 1\"\ndo = \"revoke\"\nkey = \"pl\"\n\n\
                 [must_bite]\nrevoked = \"== 1\"\nfork_proofs = \">= 3\"\n";
    fs::write(&path, format!("{forked}{steps}")).expect("it can be written");
    let run = sim(&["run", text(&path)]);
    assert_eq!(run.status.code(), Some(0), "{}{}", out(&run), told(&run));
}

#[test]
fn the_time_to_settle_is_a_limit_to_the_millisecond() {
    let dir = dir();
    let path = dir.path().join("settle.toml");
    fs::write(&path, SMALL.replace("settle = \"5s\"", "settle = \"1ms\"")).expect("it can be written");
    let run = sim(&["run", text(&path)]);
    assert_eq!(run.status.code(), Some(2), "{}", out(&run));
    assert!(out(&run).contains("do not agree after 1ms"), "{}", out(&run));
}

#[test]
fn a_report_replays_and_shrinks_to_what_fails() {
    let dir = dir();
    // Fails with the one kill, whatever else happens.
    let failing = file(dir.path(), "failing.toml", "[expect.metric]\nkills = \"== 0\"\n");
    let report = dir.path().join("report.json");
    let failed = sim(&["run", text(&failing), "--seed", "9", "--report", text(&report)]);
    assert_eq!(failed.status.code(), Some(1));
    let told_report: Value = serde_json::from_slice(&fs::read(&report).expect("a report")).expect("JSON");
    assert_eq!((&told_report["verdict"], &told_report["exit_code"]), (&Value::from("fail"), &Value::from(1)));
    assert_eq!(sim(&["replay", text(&report)]).status.code(), Some(1));

    let smallest = dir.path().join("smallest.toml");
    let shrunk = sim(&["shrink", text(&report), "--seconds", "60", "--out", text(&smallest)]);
    assert_eq!(shrunk.status.code(), Some(1), "{}", told(&shrunk));
    let scenario = Scenario::read("smallest", &fs::read_to_string(&smallest).expect("a file")).expect("it reads");
    assert_eq!(scenario.steps.len(), 1, "{scenario}");
    assert!(scenario.everybody().count() < 3, "{scenario}");
    assert!(told(&shrunk).contains("# to reproduce: vatra-chaos sim run"), "{}", told(&shrunk));
    assert_eq!(sim(&["run", text(&smallest)]).status.code(), Some(1));

    let good = file(dir.path(), "good.toml", "");
    let nothing = sim(&["shrink", text(&good)]);
    assert_eq!(nothing.status.code(), Some(4));
    assert!(told(&nothing).contains("does not fail"), "{}", told(&nothing));
}

#[test]
fn histories_part_where_runs_do_and_entries_have_ways() {
    let dir = dir();
    let good = file(dir.path(), "good.toml", "");
    let history = dir.path().join("history");
    assert_eq!(sim(&["run", text(&good), "--history", text(&history)]).status.code(), Some(0));
    let same = sim(&["diff", text(&history), &format!("{}@7", text(&good))]);
    assert_eq!(same.status.code(), Some(0), "{}", out(&same));
    assert!(out(&same).starts_with("the same: "), "{}", out(&same));
    let other = sim(&["diff", "7", "8", "--scenario", text(&good)]);
    assert_eq!(other.status.code(), Some(1));
    assert!(out(&other).contains("then they part") && out(&other).contains("\nB   "), "{}", out(&other));

    // The first entry that became durable anywhere, by the beginning of its hash.
    let events = fs::read_to_string(&history).expect("a history");
    let durable = events.lines().find_map(|line| line.split(" durable ").nth(1)).expect("something was written");
    let why = sim(&["why", durable, "--run", text(&good)]);
    assert_eq!(why.status.code(), Some(0), "{}", told(&why));
    let ways = out(&why);
    assert!(
        ways.contains("written here")
            && ways.contains("by ee at") | ways.contains("by lv at") | ways.contains("by lt at"),
        "{ways}"
    );
    assert_eq!(ways.matches("durable at").count(), 3, "{ways}");
    // The place of the first line, as evidence shows it, and its whole log.
    let place = ways.lines().next().and_then(|line| line.split(" at ").nth(1)?.split(", ").next()).expect("a place");
    let (log, number) = place.split_once('/').expect("a log and a number");
    for same in [place, &format!("{log} {number}"), &format!("{}/{number}", &log[..8])] {
        assert_eq!(out(&sim(&["why", same, "--run", text(&good)])), ways, "{same}");
    }
    let whole = out(&sim(&["why", log, "--run", text(&good)]));
    assert!(whole.contains(&ways) && whole.contains("entries more"), "{whole}");
    let apart = "[[step]]\nat = \"4s\"\ndo = \"check\"\nwithin = \"100ms\"\n";
    let failing = file(dir.path(), "apart.toml", apart);
    let failed = out(&sim(&["run", text(&failing)])).split_whitespace().collect::<Vec<_>>().join(" ");
    let evidence = failed.split(" has no ").nth(1).and_then(|rest| rest.split(' ').next());
    let evidence = evidence.filter(|place| place.contains('/')).unwrap_or_else(|| panic!("{failed}"));
    assert_eq!(sim(&["why", evidence, "--run", text(&failing)]).status.code(), Some(0), "{evidence}");
    assert_eq!(sim(&["why", "ffffffffffffffffffff", "--run", text(&good)]).status.code(), Some(4));
}

#[test]
fn a_reader_that_leaves_ends_a_command_without_a_word() {
    let dir = dir();
    let good = text(&file(dir.path(), "good.toml", "")).to_owned();
    let failing = text(&file(dir.path(), "failing.toml", "[expect.metric]\nkills = \"== 0\"\n")).to_owned();
    let many = ["seeds", "0..4", "--scenario", &good];
    for arguments in [
        &["list"][..],
        &["explain"],
        &["run", &good],
        &["run", &good, "--json"],
        &many,
        &[&many[..], &["--json"]].concat(),
        &["replay", "1", "--print"],
        &["shrink", &failing, "--seconds", "1"],
        &["diff", "7", "8", "--scenario", &good],
        &["why", "0", "--run", &good],
    ] {
        // The reading end is closed before anything is printed.
        let (reader, writer) = std::io::pipe().expect("there is room for a pipe");
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_vatra-chaos"));
        let output = command.arg("sim").args(arguments).stdout(writer).output().expect("it starts");
        assert_eq!(output.status.code(), Some(141), "{arguments:?}: {}", told(&output));
        assert!(!told(&output).contains("panicked") && !told(&output).contains("error"), "{}", told(&output));
    }
    // Nobody hears the summary.
    let (reader, writer) = std::io::pipe().expect("there is room for a pipe");
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_vatra-chaos"));
    let command = command.arg("sim").args(many).arg("--json").stderr(writer);
    assert_eq!(command.output().expect("it starts").status.code(), Some(0));
}

#[test]
fn what_a_healthy_mesh_sends_is_in_every_report() {
    let dir = dir();
    let good = file(dir.path(), "good.toml", "");
    let run = &lines(&sim(&["run", text(&good), "--json"]))[0];
    assert_eq!((&run["invariants"]["R4"], &run["invariants"]["R2"]), (&"pass".into(), &"not tested".into()), "{run}");
    assert!(run["traffic"]["spread"]["deliveries"].as_u64().is_some_and(|count| count >= 48), "{run}");
    let told = out(&sim(&["run", text(&good)]));
    assert!(told.contains("R4   pass") && told.contains("  healthy      1."), "{told}");
    assert!(out(&sim(&["explain", "R4"])).contains("copies and bytes"), "{told}");

    // What hostile members send counts for nothing.
    let path = dir.path().join("hostile.toml");
    let hostile = SMALL.replace("\"lt\"]", "\"lt\", \"pl\"]\nbyzantine = [\"pl\"]");
    fs::write(&path, hostile).expect("it can be written");
    let run = &lines(&sim(&["run", text(&path), "--json"]))[0];
    assert_eq!(run["invariants"]["R4"], "not tested", "{run}");
    assert_eq!(run["untested"]["R4"], "a member was hostile", "{run}");
}

#[test]
fn everything_known_is_listed_and_explained() {
    let listed = out(&sim(&["list"]));
    assert_eq!(listed.lines().count(), LIBRARY.len());
    assert!(listed.contains("cable-cut"));
    let words = out(&sim(&["explain"]));
    for line in words.lines() {
        let (_, names) = line.split_once(": ").expect("a title and its words");
        for word in names.split(", ") {
            let explained = sim(&["explain", word]);
            assert_eq!(explained.status.code(), Some(0), "{word}");
            assert!(out(&explained).len() > word.len() + 10, "{word}");
        }
    }
    let refused = "verbs that the simulator refuses: cpu, memory, fds, truncate, subscriber, webhook\n";
    assert!(words.contains(refused), "{words}");
    for (verb, says) in [
        ("cpu", "refuses it: it has no processes. Backends that can: netns, compose.\n"),
        ("disk", "refuses fault = \"flip\": "),
        ("import", "refuses damage = \"flipped\": its bundles are no files."),
    ] {
        let explained = out(&sim(&["explain", verb]));
        assert!(explained.contains(says), "{explained}");
    }
    assert!(!out(&sim(&["explain", "kill"])).contains("refuses"));
    assert!(out(&sim(&["explain", "cable-cut"])).contains("partition groups=[[ee, lv], [*]] for 40s"));
}
