//! What files say, what is wrong with them, and that a printed scenario reads as itself.

use proptest::prelude::*;

use super::choice::{Links, Nodes};
use super::compare::{Comparison, Condition};
use super::mesh::{SizeLaw, Version};
use super::quantity::{Between, BitRate, Bytes, Offset, Pace, Quantity, Share, Span};
use super::step::When;
use super::verbs::{ROWS, Verb};
use super::*;

const SMALL: &str = r#"
schema = 1
name = "small"
duration = "10s"
[mesh]
nodes = ["ee", "lv", "lt"]
"#;

fn read(text: &str) -> Scenario {
    Scenario::read("x.toml", text).unwrap_or_else(|error| panic!("{error}"))
}

/// What is wrong with the small scenario and something added to it.
fn error(more: &str) -> String {
    Scenario::read("x.toml", &format!("{SMALL}{more}")).expect_err("it is wrong").to_string()
}

#[test]
fn a_file_says_everything_that_the_manual_knows() {
    let scenario = read(
        r#"
        schema = 1
        name = "cable-cut"
        why = "a cable is cut"
        seed = 42
        backends = ["sim", "netns", "compose"]
        duration = "5m"
        settle = "15s"
        [mesh]
        nodes = ["ee", "lv", "lt", "pl", "ua", "us"]
        observers = ["nato"]
        byzantine = ["pl"]
        version = { lt = "previous" }
        topology = "full"
        [link."ua<->*"]
        profile = "satellite"
        rate = "64kbit"
        [link.default]
        delay = "18ms"
        jitter = "4ms"
        loss = "0.1%"
        rate = "50mbit"
        [workload]
        alerts = "20/s"
        updates = "20%"
        retracts = "2%"
        sealed = "10%"
        size = "zipf 200B..16KiB"
        subscribers = 3
        readers = "5/s"
        [[step]]
        at = "30s"
        do = "partition"
        groups = [["ee", "lv"], ["*"]]
        for = "60s"
        [[step]]
        from = "1m"
        to = "3m"
        every = "5s..9s"
        do = "kill"
        node = "random"
        restart_after = "0.5s..4s"
        [[step]]
        when = "ee.fork_proofs >= 1"
        do = "revoke"
        key = "pl"
        [swarm]
        kinds = ["partition", "kill", "pause", "clock", "disk", "byz"]
        period = "30s"
        quiet = "25%"
        [core]
        keep_broken = ["us"]
        [expect]
        converge_after_heal = "<= 5s"
        local_write_p99 = "<= 50ms"
        metric."vatra_panics_total" = "== 0"
        [must_bite]
        dropped_by_cut = ">= 100"
        kills = ">= 5"
        "#,
    );
    assert_eq!((scenario.seed, scenario.duration, scenario.settle), (42, Span(300_000_000), Span(15_000_000)));
    assert_eq!(scenario.backends, [Backend::Sim, Backend::Netns, Backend::Compose]);
    assert_eq!(scenario.everybody().last(), Some("nato"));
    assert_eq!(scenario.mesh.version["lt"], Version::Previous);
    // The default stands first, whatever the file's order is, and a key stands over its profile.
    assert_eq!(scenario.links[0].0, Links::All);
    assert_eq!(scenario.links[1].1.pairs()[3], ("rate", "64kbit".to_owned()));
    assert_eq!(scenario.workload.size, SizeLaw::Zipf(Between { low: Bytes(200), high: Bytes(16_384) }));
    assert_eq!(scenario.steps[0].action.groups("groups")[1], Nodes::All);
    assert!(matches!(scenario.steps[1].when, When::Every { every: Between { low: Span(5_000_000), .. }, .. }));
    let When::Once(condition) = &scenario.steps[2].when else { panic!("it waits") };
    assert_eq!(condition.to_string(), "ee.fork_proofs >= 1");
    assert_eq!(scenario.keep_broken, Some(Nodes::Named(vec!["us".to_owned()])));
    assert_eq!(scenario.expect.metrics[0].0, "vatra_panics_total");
    assert_eq!(scenario.must_bite[0], ("dropped_by_cut".to_owned(), ">= 100".parse().expect("it compares")));
    assert_eq!(read(&scenario.to_string()), unnumbered(scenario));
}

/// A scenario as it is read from its own print: lines are others then.
fn unnumbered(mut scenario: Scenario) -> Scenario {
    let printed = read(&scenario.to_string());
    for (step, other) in scenario.steps.iter_mut().zip(&printed.steps) {
        step.line = other.line;
    }
    scenario
}

#[test]
fn errors_say_where_what_and_what_instead() {
    let cases = [
        ("sed = 3", "x.toml:7: mesh.sed: this key is not known; known here:", "topology"),
        ("topolgy = \"full\"", "x.toml:7: mesh.topolgy: this key is not known; did you mean \"topology\"?", ""),
        ("[link.default]\ndealy = \"1ms\"", "x.toml:8: link.default.dealy:", "did you mean \"delay\"?"),
        ("[link.default]\ndelay = \"18\"", "x.toml:8: link.default.delay: \"18\": the unit is missing", "\"250ms\""),
        ("[link.default]\ndelay = \"18mbit\"", "\"mbit\" is no unit here; units are us, ms, s, m, h, d", ""),
        ("[link.default]\ndelay = 18", "x.toml:8: link.default.delay: a number stands here; a duration", ""),
        ("[link.default]\nloss = \"120%\"", "it is more than 100%", "a share such as"),
        ("[link.default]\nrate = \"fast\"", "link.default.rate: \"fast\": there is no number", "\"unlimited\""),
        ("[link.default]\nrate = \"10bit\"", "less than 1kbit carries nothing", ""),
        ("[link.default]\nprofile = \"satelite\"", "\"satelite\" is no profile; did you mean \"satellite\"?", ""),
        ("[link.default]\nmtu = \"100B\"", "QUIC needs packets of 1200B", ""),
        ("[link.default]\nburst_end = \"0%\"", "a burst that never ends", ""),
        ("[link.\"ee\"]\ndelay = \"1ms\"", "x.toml:7: link.ee: \"ee\": an arrow is missing", "a<->b"),
        ("[link.\"ee<->ee\"]\ndelay = \"1ms\"", "both ends are the same", ""),
        ("[link.\"ee<->xx\"]\ndelay = \"1ms\"", "\"xx\" is no node of this mesh", "known: ee, lt, lv"),
        ("[link.random]\ndelay = \"1ms\"", "cannot be chosen by chance here", ""),
        ("[workload]\nalerts = \"20\"", "workload.alerts: \"20\": the unit is missing; units are s, m, h", ""),
        ("[workload]\nalerts = \"0.5/s\"", "it is finer than a whole number; use /m or /h", ""),
        ("[workload]\nsize = \"9KiB..1KiB\"", "the range ends before it begins", "zipf"),
        ("[workload]\nupdates = \"60%\"\nretracts = \"50%\"", "more than 100% together", ""),
        (
            "[workload]\nsubscribers = 65",
            "workload.subscribers: \"65\": it is out of bounds; a whole number from 0",
            "",
        ),
        ("[[step]]\ndo = \"heal\"", "step[1].at: this key is missing; \"at\", or \"from\"", ""),
        ("[[step]]\nat = \"1s\"", "step[1].do: this key is missing", ""),
        ("[[step]]\nat = \"1s\"\ndo = \"kil\"", "\"kil\" is no verb; did you mean \"kill\"?", "known: partition"),
        ("[[step]]\nat = \"1s\"\ndo = \"kill\"", "step[1].node: this key is missing", "whom it hits"),
        ("[[step]]\nat = \"1s\"\ndo = \"kill\"\nnod = \"ee\"", "step[1].node: this key is missing", "\"nod\" in line"),
        ("[[step]]\nat = \"1s\"\ndo = \"kill\"\nnode = \"EE\"", "\"EE\" is no name", ""),
        (
            "[[step]]\nat = \"1s\"\ndo = \"kill\"\nnode = \"ef\"",
            "x.toml:7: step[1]: \"ef\" is no node",
            "did you mean \"ee\"?",
        ),
        ("[[step]]\nat = \"1s\"\ndo = \"kill\"\nnode = \"random(0)\"", "\"0\" is no number of nodes", ""),
        ("[[step]]\nat = \"1s\"\ndo = \"kill\"\nnode = []", "the list is empty", ""),
        ("[[step]]\nat = \"1s\"\ndo = \"kill\"\nnode = [\"ee\", \"random\"]", "stands for several nodes", ""),
        (
            "[[step]]\nat = \"1s\"\ndo = \"kill\"\nnode = \"ee\"\nfor = \"1s\"",
            "step[1].for: \"kill\" is over at once",
            "",
        ),
        ("[[step]]\nat = \"1s\"\ndo = \"pause\"\nnode = \"ee\"", "step[1].for: this key is missing", ""),
        (
            "[[step]]\nat = \"1s\"\ndo = \"kill\"\nnode = \"ee\"\nafter = \"1s\"",
            "step[1].after: this key is not known",
            "",
        ),
        ("[[step]]\nat = \"11s\"\ndo = \"heal\"", "step[1]: it begins after the run's end at 10s", ""),
        ("[[step]]\nat = \"1s\"\nwhen = \"kills > 1\"\ndo = \"heal\"", "give one of them", ""),
        ("[[step]]\nfrom = \"3s\"\nto = \"1s\"\nevery = \"1s\"\ndo = \"heal\"", "it ends before it begins", ""),
        ("[[step]]\nfrom = \"3s\"\nevery = \"1s\"\ndo = \"heal\"", "step[1].to: this key is missing", ""),
        ("[[step]]\nfrom = \"1s\"\nto = \"3s\"\nevery = \"1us\"\ndo = \"heal\"", "steps are at least 1ms apart", ""),
        ("[[step]]\nwhen = \"kills\"\ndo = \"heal\"", "it does not begin with one of <=", "a condition such as"),
        ("[[step]]\nwhen = \"a b > 1\"\ndo = \"heal\"", "\"a b\" is no name of a counter", ""),
        ("[[step]]\nwhen = \"xx.links > 1\"\ndo = \"heal\"", "\"xx\" is no node of this mesh", ""),
        ("[[step]]\nat = \"1s\"\ndo = \"partition\"\ngroups = [[\"ee\"]]", "needs at least two groups", ""),
        ("[[step]]\nat = \"1s\"\ndo = \"partition\"\ngroups = \"ee\"", "a text stands here; a list of lists", ""),
        ("[[step]]\nat = \"1s\"\ndo = \"set\"\nlink = \"*\"", "nothing is set", ""),
        (
            "[[step]]\nat = \"1s\"\ndo = \"set\"\nlink = \"ee<->lv\"\nlos = \"20%\"",
            "x.toml:11: step[1].los: this key is not known; did you mean \"loss\"?",
            "",
        ),
        (
            "[[step]]\nat = \"1s\"\ndo = \"clock\"\nnode = \"ee\"\nofset = \"1h\"",
            "step[1].ofset: this key is not known; did you mean \"offset\"?",
            "",
        ),
        ("[[step]]\nat = \"1s\"\ndo = \"clock\"\nnode = \"ee\"", "exactly one of offset, jump and drift", ""),
        ("[[step]]\nat = \"1s\"\ndo = \"disk\"\nnode = \"ee\"\nfault = \"slow\"", "needs \"delay\"", ""),
        ("[[step]]\nat = \"1s\"\ndo = \"disk\"\nnode = \"ee\"\nfault = \"eio\"", "needs \"share\"", ""),
        (
            "[[step]]\nat = \"1s\"\ndo = \"disk\"\nnode = \"ee\"\nfault = \"broken\"",
            "\"broken\" is no word for this",
            "full",
        ),
        (
            "[[step]]\nat = \"1s\"\ndo = \"flap\"\nlink = \"*\"\nperiod = \"1ms\"\nfor = \"1s\"",
            "faster than every 10ms",
            "",
        ),
        ("[[step]]\nat = \"1s\"\ndo = \"byz\"\nnode = \"ee\"\nact = \"flood\"", "not named in mesh.byzantine", ""),
        ("[[step]]\nat = \"1s\"\ndo = \"bundle\"\nnode = \"ee\"\nname = \"A B\"", "it is no such word", ""),
        ("[swarm]\nkinds = []\nperiod = \"1s\"", "the list is empty", ""),
        ("[swarm]\nkinds = [\"kils\"]\nperiod = \"1s\"", "\"kils\" is no kind of fault; did you mean \"kill\"?", ""),
        ("[swarm]\nkinds = [\"kill\"]", "swarm.period: this key is missing", ""),
        ("[core]\nkeep_brokn = [\"ee\"]", "core.keep_brokn: this key is not known; did you mean \"keep_broken\"?", ""),
        ("[core]\nkeep_broken = [\"xx\"]", "core.keep_broken: \"xx\" is no node", ""),
        (
            "[core]\nkeep_broken = [\"ee\", \"lv\", \"lt\"]",
            "core.keep_broken: no core is left",
            "name fewer, so that two linked nodes at least",
        ),
        ("[core]\nkeep_broken = [\"ee\", \"lv\"]", "core.keep_broken: no core is left", ""),
        ("[core]\nkeep_broken = \"all but ee\"", "core.keep_broken: no core is left", ""),
        ("[core]\nkeep_broken = \"*\"", "core.keep_broken: no core is left", ""),
        ("[core]\nkeep_broken = \"random(2)\"", "core.keep_broken: no core is left", ""),
        ("byzantine = [\"ee\"]\n[core]\nkeep_broken = \"lv\"", "core.keep_broken: no core is left", "mesh.byzantine"),
        ("topology = \"star\"\n[core]\nkeep_broken = \"ee\"", "core.keep_broken: no core is left", "linked"),
        ("byzantine = [\"ee\", \"lv\", \"lt\"]", "mesh.byzantine: all nodes may turn hostile", "leave one out"),
        (
            "[swarm]\nkinds = [\"kill\", \"byz\"]\nperiod = \"1s\"",
            "swarm.kinds: \"byz\" draws from mesh.byzantine, which names nobody",
            "",
        ),
        ("[expect]\nconverge_after_heal = \"5s\"", "it does not begin with one of <=", "\"<= 5s\""),
        ("[expect]\nconverge_after_heal = \"<= 5\"", "\"5\" cannot be read: the unit is missing", ""),
        ("[expect.metric]\nx = \"== many\"", "expect.metric.x: \"== many\": \"many\" cannot be read", ""),
        ("[must_bite]\nkills = 5", "must_bite.kills: a number stands here; a comparison", ""),
        ("[must_bite]\nkills = \">= 0.5\"", "cannot be read", "whole number"),
        ("links = [\"ee-lv\"]", "mesh.links: \"ee-lv\": it names no two nodes", ""),
        ("links = [\"ee<->xx\"]", "mesh.links: \"xx\" is no node", ""),
        ("links = [\"ee<->lv\"]\ntopology = \"ring\"", "give either \"topology\" or \"links\"", ""),
        ("observers = [\"ee\"]", "a member or an observer, not both", ""),
        ("byzantine = [\"xx\"]", "mesh.byzantine: \"xx\" is no node", ""),
        ("version = { ee = \"next\" }", "\"next\" is no version", "known: current, previous"),
        ("version = { xx = \"previous\" }", "mesh.version: \"xx\" is no node", ""),
    ];
    for (more, first, second) in cases {
        let text = error(more);
        assert!(text.contains(first) && text.contains(second), "{more}\n{text}\nshould say: {first} .. {second}");
    }
}

#[test]
fn errors_of_the_whole_file_are_told() {
    let error = |text: &str| Scenario::read("x.toml", text).expect_err("it is wrong").to_string();
    assert!(error("schema = ").starts_with("x.toml:1: this is no TOML:"), "{}", error("schema = "));
    assert_eq!(error("name = \"x\""), "x.toml:1: schema: this key is missing; schema = 1 is expected");
    assert_eq!(error("\nschema = 2"), "x.toml:2: schema: schema 2 is not known here; this version reads schema 1");
    assert!(error("schema = \"1\"").contains("no whole number stands here"));
    assert!(error("schema = 1").contains("name: this key is missing"));
    assert!(error("schema = 1\nname = \"x\"").contains("duration: this key is missing; a duration such as"));
    assert!(error("schema = 1\nname = \"x\"\nduration = \"1s\"").contains("mesh: this key is missing"));
    let seeded = SMALL.replace("name", "sed = 1\nname");
    assert!(error(&seeded).contains("x.toml:3: sed: this key is not known; did you mean \"seed\"?"));
    let many = SMALL.replace("[\"ee\", \"lv\", \"lt\"]", "65");
    assert!(error(&many).contains("mesh.nodes: \"65\": it is out of bounds; a whole number from 1 to 64"));
    let twice = SMALL.replace("\"lt\"", "\"ee\"");
    assert!(error(&twice).contains("mesh.nodes: \"ee\": it stands there twice"));
    let none = SMALL.replace("\"10s\"", "\"0s\"");
    assert!(error(&none).contains("a run lasts from 1ms"));
    let backend = SMALL.replace("name", "backends = [\"simm\"]\nname");
    assert!(error(&backend).contains("\"simm\" is no backend; did you mean \"sim\"?"));
    let twofold = format!("{SMALL}[mesh]\nnodes = 3");
    assert!(error(&twofold).contains("this is no TOML"), "{}", error(&twofold));
}

#[test]
fn a_number_of_nodes_names_them() {
    let scenario = read(&SMALL.replace("[\"ee\", \"lv\", \"lt\"]", "3"));
    assert_eq!(scenario.mesh.nodes, ["n1", "n2", "n3"]);
    assert_eq!(scenario.keep_broken, None);
    let all = read(&format!("{SMALL}[core]\nkeep_broken = []"));
    assert_eq!(all.keep_broken, Some(Nodes::Named(Vec::new())));
    // Two linked nodes are a core.
    read(&format!("{SMALL}[core]\nkeep_broken = \"ee\""));
    read(&format!("{SMALL}[core]\nkeep_broken = \"random\""));
    read(&format!("{SMALL}observers = [\"nato\"]\nbyzantine = [\"ee\"]\n[core]\nkeep_broken = \"lv\""));
    // One that has no core in any case is not this key's fault.
    read(&SMALL.replace("[\"ee\", \"lv\", \"lt\"]", "1\n[core]\nkeep_broken = \"n1\""));
}

#[test]
fn every_verb_reads_what_it_prints() {
    for row in ROWS {
        let mut text = format!("{SMALL}byzantine = [\"ee\"]\n[[step]]\nat = \"1s\"\ndo = \"{}\"\n", row.name);
        for parameter in row.parameters {
            let value = match parameter.kind {
                verbs::Kind::Nodes => "\"ee\"",
                verbs::Kind::Links => "\"ee->lv\"",
                verbs::Kind::Groups => "[[\"ee\", \"lv\"], [\"*\"]]",
                verbs::Kind::Span => "\"1s..2s\"",
                verbs::Kind::Offset => "\"-1h\"",
                verbs::Kind::Share => "\"5%\"",
                verbs::Kind::Bytes => "\"1KiB\"",
                verbs::Kind::Count(_) => "2",
                verbs::Kind::Word(words) => &format!("\"{}\"", words[words.len() - 1]),
                verbs::Kind::Label => "\"a-1\"",
                verbs::Kind::Flag => "true",
            };
            let is_alternative = row.verb == Verb::Clock && parameter.key != "node" && parameter.key != "jump";
            if !is_alternative {
                text.push_str(&format!("{} = {value}\n", parameter.key));
            }
        }
        if row.verb == Verb::Set {
            text.push_str("loss = \"1%\"\n");
        }
        if row.lasting == verbs::Lasting::Must {
            text.push_str("for = \"1s\"\n");
        }
        let scenario = read(&text);
        assert_eq!(read(&scenario.to_string()), unnumbered(scenario), "{}", row.name);
    }
}

fn round_trip<T: Quantity>(value: T) {
    let text = value.to_string();
    assert_eq!(text.parse::<T>().as_ref(), Ok(&value), "{text}");
}

#[test]
fn quantities_are_what_people_write() {
    assert_eq!("1m30s".parse(), Ok(Span(90_000_000)));
    assert_eq!("0.5s".parse(), Ok(Span(500_000)));
    assert_eq!("1.5 ms".parse(), Ok(Span(1_500)));
    assert_eq!("0.1%".parse(), Ok(Share(1_000)));
    assert_eq!("256kbit".parse(), Ok(BitRate(256_000)));
    assert_eq!("-400d".parse(), Ok(Offset(-400 * 86_400_000_000)));
    assert_eq!("20/m".parse::<Pace>().expect("a pace").interval(), Some(Span(3_000_000)));
    assert_eq!(Span(90_000_000).to_string(), "90s");
    for wrong in ["", "s", "5", "5x", "-5s", "1.s", ".5s", "1..2", "0.0000001s", "9999999d", "1s 2"] {
        assert!(wrong.parse::<Span>().is_err(), "{wrong}");
    }
    assert!("5s..1s".parse::<Between<Span>>().is_err());
    assert!("<= 5s x".parse::<Comparison<Span>>().is_err());
}

proptest! {
    #[test]
    fn quantities_read_what_they_print(number in 0_u64..=1_000_000_000_000, sign in any::<bool>(), unit in 0_usize..3) {
        round_trip(Span(number));
        round_trip(BitRate(number % BitRate::MAX.0));
        round_trip(Bytes(number % Bytes::MAX.0));
        round_trip(Share(number % 1_000_001));
        round_trip(Offset(if sign { number as i64 } else { -(number as i64) }));
        let per_us = [1_000_000, 60_000_000, 3_600_000_000][unit];
        round_trip(Pace { count: (number % 100_001) as u32, per_us });
    }

    #[test]
    fn ranges_and_comparisons_read_what_they_print(low in 0_u64..10_000_000, more in 0_u64..10_000_000) {
        let range = Between { low: Span(low), high: Span(low + more) };
        prop_assert_eq!(range.to_string().parse(), Ok(range));
        for sign in ["<=", ">=", "==", "!=", "<", ">"] {
            let text = format!("{sign} {}", Span(low));
            let comparison: Comparison<Span> = text.parse().expect("it compares");
            prop_assert_eq!(comparison.to_string(), text);
            let condition: Condition = format!("n1.links {sign} {low}").parse().expect("it compares");
            prop_assert_eq!(condition.to_string().parse(), Ok(condition));
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,40}", key in "[a-z_]{1,12}") {
        drop(text.parse::<Span>());
        drop(text.parse::<Between<Bytes>>());
        drop(text.parse::<Pace>());
        drop(text.parse::<Offset>());
        drop(text.parse::<Nodes>());
        drop(text.parse::<Links>());
        drop(text.parse::<Condition>());
        drop(text.parse::<SizeLaw>());
        drop(Scenario::read("x.toml", &text));
        drop(Scenario::read("x.toml", &format!("{SMALL}{key} = \"{}\"", text.replace(['"', '\\'], ""))));
    }
}
