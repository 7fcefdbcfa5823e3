//! What once was found stays fixed, and a short look for more, with inputs that differ in no two runs of a version.

use std::time::Duration;

use chaos_tests::fuzz::{Target, fuzz, kept, replay};

/// Time for each target; `make fuzz` takes longer.
const SHORT: Duration = Duration::from_secs(3);

fn check(target: Target) {
    assert!(!kept(target).expect("kept inputs are readable").is_empty(), "{target} has no kept inputs");
    assert!(replay(target).expect("kept inputs are readable").inputs > 0, "{target} has no inputs");
    let found = tempfile::tempdir().expect("a folder");
    let outcome = fuzz(target, SHORT, 1, found.path()).expect("a writable folder");
    assert!(outcome.findings.is_empty(), "{target}: see the panics above, or `vatra-fuzz {target} --seconds 10`");
    assert!(outcome.inputs > 100, "{target}: only {} inputs were tried", outcome.inputs);
}

#[test]
fn entries() {
    check(Target::Entry);
}

#[test]
fn frames() {
    check(Target::Frame);
}

#[test]
fn changes() {
    check(Target::Change);
}

#[test]
fn charters() {
    check(Target::Charter);
}

#[test]
fn beacons() {
    check(Target::Beacon);
}

#[test]
fn bundles() {
    check(Target::Bundle);
}

#[test]
fn saved_records() {
    check(Target::Saved);
}
