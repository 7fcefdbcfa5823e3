//! Stores put back, wiped or damaged: a member is never muted and nothing acknowledged is lost.

use std::fs;
use std::path::Path;

use chaos_tests::corpus::Corpus;
use chaos_tests::lab::{Lab, Plan, text};

const SECONDS_MAX: u64 = 20;

fn publish(lab: &Lab, corpus: &Corpus, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
    for number in numbers {
        lab.client(0).publish(&corpus.alert(number))?;
    }
    Ok(())
}

fn copy_dir(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for item in fs::read_dir(from)? {
        let item = item?;
        let target = to.join(item.file_name());
        if item.file_type()?.is_dir() {
            copy_dir(&item.path(), &target)?;
        } else {
            fs::copy(item.path(), target)?;
        }
    }
    Ok(())
}

fn incarnation(lab: &Lab) -> anyhow::Result<String> {
    Ok(lab.client(0).status()?["incarnation"].to_string())
}

#[test]
fn an_old_backup_put_back_is_a_new_incarnation() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::running(&Plan::of(&["UA", "LT"]))?;
    let (store, backup) = (lab.node(0).dir().join("store"), lab.dir().join("backup"));
    publish(&lab, &corpus, 0..10)?;
    lab.node_mut(0).stop()?;
    copy_dir(&store, &backup)?;
    lab.start(0)?;
    publish(&lab, &corpus, 10..20)?;
    lab.wait_all_hold(20, SECONDS_MAX)?;
    let before = incarnation(&lab)?;
    lab.node_mut(0).stop()?;

    fs::remove_dir_all(&store)?;
    copy_dir(&backup, &store)?;
    lab.start(0)?;
    // Writes at once, before the lost tail is pulled back from LT.
    publish(&lab, &corpus, 20..30)?;
    lab.wait_all_hold(30, SECONDS_MAX)?;
    assert_ne!(incarnation(&lab)?, before, "a store that went back in time goes on in the same incarnation");
    Ok(())
}

#[test]
fn a_wiped_store_is_filled_again_by_the_others() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::running(&Plan::of(&["UA", "LT"]))?;
    publish(&lab, &corpus, 0..20)?;
    lab.wait_all_hold(20, SECONDS_MAX)?;
    let before = incarnation(&lab)?;
    lab.node_mut(0).kill()?;
    fs::remove_dir_all(lab.node(0).dir().join("store"))?;
    lab.start(0)?;
    publish(&lab, &corpus, 20..25)?;
    lab.wait_all_hold(25, SECONDS_MAX)?;
    assert_ne!(incarnation(&lab)?, before);
    Ok(())
}

#[test]
fn fsck_passes_a_sound_store_and_names_damage() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::running(&Plan::of(&["UA", "LT"]))?;
    lab.client(0).bulk(corpus.lines(0..2_000))?;
    lab.node_mut(0).kill()?;
    lab.cli(0).run(["fsck"])?.expect_code(0)?;

    // Turn bits all over the engine's file, its header apart.
    let path = lab.node(0).dir().join("store/store.redb");
    let mut bytes = fs::read(&path)?;
    for place in (64 * 1024..bytes.len()).step_by(509) {
        if bytes[place] != 0 {
            bytes[place] ^= 0x55;
        }
    }
    fs::write(&path, bytes)?;
    let outcome = lab.cli(0).run(["fsck"])?;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(format!("{}{}", outcome.out, outcome.err).contains("damage"), "damage is not told: {outcome:?}");
    Ok(())
}

#[test]
fn two_processes_never_share_a_store() -> anyhow::Result<()> {
    let lab = Lab::running(&Plan::of(&["UA"]))?;
    let outcome = lab.cli(0).run(["node", "run"])?.expect_code(1)?;
    assert!(!text(&lab.client(0).status()?, "digest").is_empty(), "the first process suffered");
    assert!(!outcome.err.contains("panicked"), "{outcome:?}");
    Ok(())
}
