//! The scenarios that come with the program: each passes, and says what must bite.

use std::fs;
use std::path::Path;

use chaos_tests::scenario::batch::Order;
use chaos_tests::scenario::format::Scenario;
use chaos_tests::scenario::library::{self, LIBRARY};
use chaos_tests::scenario::verdict::Verdict;
use chaos_tests::scenario::{report, simulated};

#[test]
fn the_library_is_whole_and_every_scenario_says_what_must_bite() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<String> = fs::read_dir(folder)
        .expect("there are scenarios")
        .map(|file| file.expect("it can be listed").path())
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    files.sort();
    let mut own: Vec<&str> = LIBRARY.iter().map(|(name, _)| *name).collect();
    own.sort_unstable();
    assert_eq!(files, own, "the folder and library.rs name different scenarios");
    assert!(own.len() >= 15);
    for (name, text) in LIBRARY {
        let scenario = Scenario::read(name, text).unwrap_or_else(|error| panic!("{error}"));
        simulated::check(name, &scenario).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(scenario.name, *name);
        assert!(!scenario.why.is_empty() && !scenario.must_bite.is_empty(), "{name}");
        let printed = scenario.to_string();
        let again = Scenario::read(name, &printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
        assert_eq!(again.to_string(), printed, "{name}");
    }
}

/// The scenario of the library with its own seed; `make sim` runs more seeds of each.
fn passes(name: &str) {
    let loaded = library::load(name).unwrap_or_else(|error| panic!("{error}"));
    let seed = loaded.scenario.seed;
    let order = Order { scenario: Some(loaded.scenario), file: Some(name.to_owned()), seed };
    let outcome = order.run().expect("the harness does not panic");
    assert_eq!(outcome.verdict, Verdict::Pass, "{}", report::text(&outcome, true));
}

macro_rules! library {
    ($($test:ident $name:literal),+ $(,)?) => {
        $(#[test]
        fn $test() {
            passes($name);
        })+

        #[test]
        fn every_scenario_of_the_library_has_its_test() {
            let own: Vec<&str> = LIBRARY.iter().map(|(name, _)| *name).collect();
            assert_eq!(own, [$($name),+]);
        }
    };
}

library!(
    cable_cut_passes "cable-cut",
    full_partition_passes "full-partition",
    ring_never_healed_passes "ring-never-healed",
    line_passes "line",
    bridge_passes "bridge",
    one_way_passes "one-way",
    flapping_passes "flapping",
    swizzle_passes "swizzle",
    satellite_passes "satellite",
    lossy_passes "lossy",
    kill_storm_passes "kill-storm",
    power_loss_passes "power-loss",
    full_disks_passes "full-disks",
    rollback_passes "rollback",
    clone_passes "clone",
    wiped_disk_passes "wiped-disk",
    clock_chaos_passes "clock-chaos",
    cold_start_passes "cold-start",
    newcomer_passes "newcomer",
    revoked_key_passes "revoked-key",
    stolen_key_passes "stolen-key",
    hostile_hollow_passes "hostile-hollow",
    hostile_claims_passes "hostile-claims",
    hostile_claims_heights_passes "hostile-claims-heights",
    hostile_lies_passes "hostile-lies",
    hostile_equivocates_passes "hostile-equivocates",
    hostile_flood_passes "hostile-flood",
    version_mix_passes "version-mix",
    sneakernet_passes "sneakernet",
    slow_disks_passes "slow-disks",
    bit_rot_passes "bit-rot",
    frozen_passes "frozen",
    swarm_passes "swarm",
);
