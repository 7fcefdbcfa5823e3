//! Stores that go back or split without a word: a snapshot of a machine, a cloned machine. Everything that was
//! acknowledged on either side is kept, everybody ends up equal, and the fork is told.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use chaos_tests::corpus::Corpus;
use chaos_tests::lab::{Lab, Plan, Topology};
use serde_json::Value;

const SECONDS_MAX: u64 = 30;

/// Copies files and folders as they are, while whoever owns them may be running.
fn copy_dir(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for item in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let item = item?;
        let target = to.join(item.file_name());
        if item.file_type()?.is_dir() {
            copy_dir(&item.path(), &target)?;
        } else {
            fs::copy(item.path(), &target).with_context(|| target.display().to_string())?;
        }
    }
    Ok(())
}

/// What a machine's snapshot keeps of a node: its store and the fence beside it.
struct Snapshot(PathBuf);

impl Snapshot {
    fn take(lab: &Lab, index: usize) -> anyhow::Result<Snapshot> {
        let (dir, to) = (lab.node(index).dir(), lab.dir().join(format!("snapshot-{index}")));
        copy_dir(&dir.join("store"), &to.join("store"))?;
        fs::copy(dir.join("fence"), to.join("fence"))?;
        Ok(Snapshot(to))
    }

    fn put_back(&self, lab: &Lab, index: usize) -> anyhow::Result<()> {
        let dir = lab.node(index).dir();
        fs::remove_dir_all(dir.join("store"))?;
        copy_dir(&self.0.join("store"), &dir.join("store"))?;
        fs::copy(self.0.join("fence"), dir.join("fence"))?;
        Ok(())
    }
}

#[test]
fn a_snapshot_put_back_while_cut_off_loses_nothing_and_mutes_nobody() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::running(&Plan::of(&["UA", "LT", "PL"]))?;
    let mut ids = lab.publish(&corpus, 0, 0..20)?;
    lab.wait_all_hold(20, SECONDS_MAX)?;

    // The machine's snapshot is of the stopped node; afterwards it goes on as if nothing had been.
    lab.node_mut(0).stop()?;
    let snapshot = Snapshot::take(&lab, 0)?;
    lab.start(0)?;
    lab.wait_linked(Topology::Full)?;
    ids.extend(lab.publish(&corpus, 0, 100..120)?);
    lab.wait_all_hold(40, SECONDS_MAX)?;

    // The snapshot is put back, fence and all, and the node starts with nobody in reach. Neither store nor fence shows
    // that twenty entries are gone, and it must take alerts at once.
    lab.node_mut(0).kill()?;
    snapshot.put_back(&lab, 0)?;
    (1..3).try_for_each(|index| lab.node_mut(index).stop().map(drop))?;
    lab.start(0)?;
    assert_eq!(lab.client(0).alert_count()?, 20, "the store is not the old one: this test shows nothing");
    ids.extend(lab.publish(&corpus, 0, 200..220)?);
    lab.node_mut(0).stop()?;
    (1..3).try_for_each(|index| lab.start(index).map(drop))?;
    ids.extend(lab.publish(&corpus, 1, 300..310)?);
    ids.extend(lab.publish(&corpus, 2, 400..410)?);

    lab.start(0)?;
    lab.wait_linked(Topology::Full)?;
    lab.wait_all_hold(80, SECONDS_MAX)?;
    lab.check_everywhere(&ids)?;
    // It is not muted: what it writes now arrives, and what others write arrives at it.
    ids.extend(lab.publish(&corpus, 0, 500..505)?);
    ids.extend(lab.publish(&corpus, 1, 600..605)?);
    lab.wait_all_hold(90, SECONDS_MAX)?;
    lab.check_everywhere(&ids)
}

/// Puts a running node's directory as it is beside it, and makes the copy listen elsewhere with one peer alone.
fn clone_running(lab: &mut Lab, index: usize, peer: usize) -> anyhow::Result<usize> {
    let place = lab.len();
    let (mesh, api) = lab.addresses(place);
    let (from, to) = (lab.node(index).dir().to_owned(), lab.dir().join("clone"));
    let (old_mesh, old_api) = (lab.node(index).mesh(), lab.node(index).api());
    copy_dir(&from, &to)?;
    let path = to.join("node.toml");
    let text = fs::read_to_string(&path)?;
    let text = text.replace(&format!("listen = \"{old_mesh}\""), &format!("listen = \"{mesh}\""));
    let text = text.replace(&format!("listen = \"{old_api}\""), &format!("listen = \"{api}\""));
    // Blocks of peers begin with a line of comment; those of other peers are left out.
    let wanted = format!("address = \"{}\"", lab.node(peer).mesh());
    let mut blocks = text.split("[[peer]]");
    let head = blocks.next().context("a configuration has a head")?;
    let peers: String =
        blocks.filter(|block| block.contains(&wanted)).map(|block| format!("[[peer]]{block}")).collect();
    ensure!(!peers.is_empty(), "{} has no peer at {wanted}", lab.node(index).name());
    fs::write(&path, format!("{head}{peers}"))?;
    let (name, member) = (format!("{}-clone", lab.node(index).name()), lab.node(index).member().to_owned());
    lab.adopt(&name, &member, &to)
}

/// Whether a status tells of a fork of this member.
fn shows_fork(status: &Value, member: &str) -> bool {
    status["forks"].as_array().is_some_and(|forks| forks.iter().any(|fork| fork["member"] == member))
}

#[test]
fn a_clone_of_a_running_node_forks_its_log_and_nothing_is_lost() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    // UA is linked with LT alone, its copy with PL alone, and the cable between LT and PL is cut.
    let mut lab = Lab::empty(4, None)?;
    let federation = lab.dir().join("lab");
    let (base, folder) = (lab.addresses(0).0.port().to_string(), federation.display().to_string());
    let make = ["lab", "new", "--members", "LT,UA,PL", "--base-port", &base, "--topology", "ring", "--dir", &folder];
    lab.vatra(make)?.expect_code(0)?;
    for (name, member) in [("lt-1", "LT"), ("ua-1", "UA"), ("pl-1", "PL")] {
        lab.adopt(name, member, &federation.join(name))?;
    }
    let (lt, ua, pl) = (0, 1, 2);
    let cable = lab.relay(lt, pl)?;
    lab.start_all()?;
    lab.wait_linked(Topology::Ring)?;
    let mut ids = lab.publish(&corpus, ua, 0..20)?;
    lab.wait_all_hold(20, SECONDS_MAX)?;

    // The cable of UA and PL is taken away for good, then the one of LT and PL is cut for a while.
    lab.client(ua).cut(serde_json::json!(["PL"]), 600, "the cable is the copy's")?;
    cable.cut();
    lab.wait_until(SECONDS_MAX, "end of the links to PL", || Ok(lab.client(pl).links_up()?.is_empty()))?;
    let clone = clone_running(&mut lab, ua, pl)?;
    lab.start(clone)?;
    lab.wait_until(SECONDS_MAX, "link of the copy with PL", || Ok(lab.client(clone).links_up()?.len() == 1))?;
    for round in 1..=5 {
        ids.extend(lab.publish(&corpus, ua, round * 100..round * 100 + 4)?);
        ids.extend(lab.publish(&corpus, clone, round * 1_000..round * 1_000 + 4)?);
    }
    lab.wait_until(SECONDS_MAX, "the copy's alerts at PL", || Ok(lab.client(pl).alert_count()? == 40))?;
    lab.wait_until(SECONDS_MAX, "UA's alerts at LT", || Ok(lab.client(lt).alert_count()? == 40))?;

    cable.heal();
    lab.wait_all_hold(60, SECONDS_MAX)?;
    lab.check_everywhere(&ids)?;
    for index in [lt, ua, pl, clone] {
        lab.wait_until(SECONDS_MAX, "the fork in the status", || Ok(shows_fork(&lab.client(index).status()?, "UA")))?;
        let doctor = lab.cli(index).run(["doctor", "--json"])?.json()?;
        let codes: Vec<&str> = doctor["findings"]
            .as_array()
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .filter_map(|f| f["code"].as_str())
            .collect();
        ensure!(codes.contains(&"fork"), "{} does not tell of the fork: {codes:?}", lab.node(index).name());
    }
    // Neither is muted afterwards.
    ids.extend(lab.publish(&corpus, ua, 9_000..9_005)?);
    ids.extend(lab.publish(&corpus, clone, 9_100..9_105)?);
    lab.wait_all_hold(70, SECONDS_MAX)?;
    lab.check_everywhere(&ids)
}
