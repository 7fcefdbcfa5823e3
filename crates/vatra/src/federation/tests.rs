use std::fs;
use std::os::unix::fs::PermissionsExt;

use vatra_model::charter::{Charter, MemberRole};
use vatra_model::{MemberCode, WallMs};

use super::*;
use crate::config::NodeConfig;
use crate::keys::Purpose;

const NOW: WallMs = WallMs(1_764_000_000_000);

fn code(text: &str) -> MemberCode {
    text.parse().unwrap()
}

fn members(home: &Path, codes: &[&str]) -> Vec<MemberKeys> {
    let make = |text: &&str| MemberKeys::create(&home.join(text), code(text), "Centre", Purpose::Real).unwrap();
    codes.iter().map(make).collect()
}

#[test]
fn a_charter_needs_more_than_half_of_the_full_members() {
    let home = tempfile::tempdir().unwrap();
    let keys = members(home.path(), &["UA", "LT", "PL", "NATO"]);
    let mut draft = CharterDraft::first("test");
    for (member, role) in
        keys.iter().zip([MemberRole::Member, MemberRole::Member, MemberRole::Member, MemberRole::Observer])
    {
        draft.add(&member.public, role).unwrap();
    }
    assert_eq!(draft.votes().unwrap().to_string(), "0 of the 2 signatures that it needs");
    draft.sign(&keys[0]).unwrap();
    draft.sign(&keys[0]).unwrap();
    assert_eq!(draft.votes().unwrap().have, 1, "one root counts once");
    assert!(draft.sign(&keys[3]).unwrap_err().to_string().contains("NATO has no vote"));
    assert!(draft.finish().is_err());
    draft.sign(&keys[2]).unwrap();
    assert_eq!(draft.signers().unwrap(), [code("PL"), code("UA")]);
    let charter = draft.finish().unwrap();
    assert_eq!(charter.current().members.len(), 4);
}

#[test]
fn signatures_are_collected_in_copies_of_the_file() {
    let home = tempfile::tempdir().unwrap();
    let keys = members(home.path(), &["UA", "LT", "PL"]);
    let path = home.path().join("draft");
    let mut draft = CharterDraft::first("test");
    keys.iter().for_each(|member| draft.add(&member.public, MemberRole::Member).unwrap());
    draft.write_new(&path).unwrap();
    let mut copies: Vec<CharterDraft> = (0..2).map(|_| CharterDraft::read(&path).unwrap()).collect();
    copies[0].sign(&keys[0]).unwrap();
    copies[1].sign(&keys[1]).unwrap();
    copies[1].replace(&path).unwrap();
    let second = CharterDraft::read(&path).unwrap();
    copies[0].merge(&second).unwrap();
    assert!(copies[0].finish().is_ok());

    let mut other = CharterDraft::first("other");
    keys.iter().for_each(|member| other.add(&member.public, MemberRole::Member).unwrap());
    other.sign(&keys[2]).unwrap();
    assert!(copies[0].merge(&other).is_err(), "another text was signed");
}

#[test]
fn what_was_signed_cannot_be_changed() {
    let home = tempfile::tempdir().unwrap();
    let keys = members(home.path(), &["UA", "LT"]);
    let path = home.path().join("draft");
    let mut draft = CharterDraft::first("test");
    keys.iter().for_each(|member| draft.add(&member.public, MemberRole::Member).unwrap());
    draft.sign(&keys[0]).unwrap();
    assert!(draft.remove(code("LT")).unwrap_err().to_string().contains("signed already"));
    draft.write_new(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("name = \"Centre\"", "name = \"Center\"")).unwrap();
    let error = format!("{:#}", CharterDraft::read(&path).unwrap_err());
    assert!(error.contains("changed after signing"), "{error}");
}

#[test]
fn the_next_epoch_is_voted_on_by_the_members_of_the_last() {
    let home = tempfile::tempdir().unwrap();
    let keys = members(home.path(), &["UA", "LT", "PL"]);
    let mut first = CharterDraft::first("test");
    keys[..2].iter().for_each(|member| first.add(&member.public, MemberRole::Member).unwrap());
    for member in &keys[..2] {
        first.sign(member).unwrap();
    }
    let charter = Charter::decode(&first.finish().unwrap().encode()).unwrap();

    let path = home.path().join("second");
    let mut second = CharterDraft::after(charter);
    second.add(&keys[2].public, MemberRole::Member).unwrap();
    assert!(second.sign(&keys[2]).unwrap_err().to_string().contains("PL has no vote on epoch 2"));
    second.sign(&keys[0]).unwrap();
    assert!(second.finish().is_err());
    second.write_new(&path).unwrap();
    let mut second = CharterDraft::read(&path).unwrap();
    second.sign(&keys[1]).unwrap();
    let charter = second.finish().unwrap();
    assert_eq!((charter.current().epoch, charter.current().members.len()), (2, 3));
}

#[test]
fn topologies_say_who_links_with_whom() {
    let cases = [
        (Topology::Full, 3, vec![vec![1, 2], vec![0, 2], vec![0, 1]]),
        (Topology::Line, 4, vec![vec![1], vec![0, 2], vec![1, 3], vec![2]]),
        (Topology::Ring, 4, vec![vec![1, 3], vec![0, 2], vec![1, 3], vec![0, 2]]),
        (Topology::Ring, 2, vec![vec![1], vec![0]]),
        (Topology::Star, 4, vec![vec![1, 2, 3], vec![0], vec![0], vec![0]]),
        (Topology::Full, 1, vec![vec![]]),
    ];
    for (topology, count, expected) in cases {
        let found: Vec<Vec<usize>> = (0..count).map(|index| topology.neighbours(index, count)).collect();
        assert_eq!(found, expected, "{topology:?} of {count}");
    }
}

fn plan(members: &[&str], nodes_per_site: usize) -> LabPlan {
    let members = members.iter().map(|text| code(text)).collect();
    LabPlan { members, nodes_per_site, base_port: 5000, host: "127.0.0.1".into(), topology: Topology::Full }
}

#[test]
fn a_lab_is_laid_out_as_pinned() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("lab");
    let lab = plan(&["UA", "LT", "PL"], 2).create(&dir, NOW).unwrap();
    let names: Vec<&str> = lab.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["ua-1", "ua-2", "lt-1", "lt-2", "pl-1", "pl-2"]);
    for (index, node) in lab.nodes.iter().enumerate() {
        let config = NodeConfig::load(&dir.join(&node.name)).unwrap();
        assert_eq!(usize::from(config.mesh.listen.port()), 5000 + 2 * index);
        assert_eq!(usize::from(config.api.listen.port()), 5000 + 2 * index + 1);
        assert_eq!(config.peers.len(), 5);
        assert_eq!(config.key.purpose(), Purpose::Lab);
        for secret in ["node.key", "admin.token", "node.toml"] {
            let mode = fs::metadata(node.dir.join(secret)).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, 0o600, "{secret}");
        }
    }
}

#[test]
fn nothing_in_a_lab_is_shared() {
    let home = tempfile::tempdir().unwrap();
    let lab = plan(&["UA", "LT"], 1).create(&home.path().join("lab"), NOW).unwrap();
    for file in ["node.key", "admin.token"] {
        let read = |index: usize| fs::read(lab.nodes[index].dir.join(file)).unwrap();
        assert_ne!(read(0), read(1), "{file}");
    }
    let token = fs::read_to_string(lab.nodes[0].dir.join("admin.token")).unwrap();
    let config = fs::read_to_string(lab.nodes[0].dir.join("node.toml")).unwrap();
    assert!(!config.contains(token.trim()), "only the hash of a token stands in the configuration");
}

#[test]
fn a_host_template_gives_each_node_its_address() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("lab");
    LabPlan { host: "10.0.0.{}".into(), ..plan(&["UA", "LT"], 1) }.create(&dir, NOW).unwrap();
    let config = NodeConfig::load(&dir.join("lt-1")).unwrap();
    assert_eq!(config.mesh.listen.to_string(), "10.0.0.2:5002");
    assert_eq!(config.api.listen.to_string(), "10.0.0.2:5003");
    assert_eq!(config.peers[0].address.to_string(), "10.0.0.1:5000");
}

#[test]
fn bad_labs_are_refused_before_anything_is_written() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("lab");
    let bad = [
        (plan(&["UA", "UA"], 1), "named twice"),
        (plan(&["UA"], 0), "allowed are 1 to 256"),
        (plan(&["UA"], 300), "allowed are 1 to 256"),
        (LabPlan { base_port: 65_534, ..plan(&["UA", "LT"], 1) }, "ports 65534 to 65537 are needed"),
        (LabPlan { base_port: 0, ..plan(&["UA"], 1) }, "allowed are 1 to 65535"),
        (LabPlan { host: "node{}".into(), ..plan(&["UA"], 1) }, "is no IP address"),
    ];
    for (plan, expected) in bad {
        let error = plan.create(&dir, NOW).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} does not contain {expected:?}");
        assert!(!dir.exists());
    }
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("something"), "").unwrap();
    assert!(plan(&["UA"], 1).create(&dir, NOW).unwrap_err().to_string().contains("is not empty"));
}

#[test]
fn a_peer_is_added_without_touching_the_rest() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("lab");
    let lab = LabPlan { topology: Topology::Line, ..plan(&["UA", "LT", "PL"], 1) }.create(&dir, NOW).unwrap();
    let (first, last) = (&lab.nodes[0], &lab.nodes[2]);
    let theirs = NodeConfig::load(&last.dir).unwrap();
    let file = home.path().join("pl-1.cert");
    fs::write(&file, certificate_text(&theirs.certificate, last.mesh)).unwrap();
    let certificate = read_certificate(&file).unwrap();
    assert_eq!(certificate, theirs.certificate);

    let before = fs::read_to_string(first.dir.join("node.toml")).unwrap();
    let peer = PeerAddition { certificate, address: last.mesh, dial: false };
    add_peer(&first.dir, peer.clone()).unwrap();
    let after = fs::read_to_string(first.dir.join("node.toml")).unwrap();
    assert!(after.starts_with(&before));
    let config = NodeConfig::load(&first.dir).unwrap();
    assert_eq!(config.peers.len(), 2);
    assert!(!config.peers[1].dial);
    let error = add_peer(&first.dir, peer).unwrap_err().to_string();
    assert!(error.contains("another [[peer]] has the same node key"), "{error}");
    assert_eq!(fs::read_to_string(first.dir.join("node.toml")).unwrap(), after);
}

#[test]
fn a_peer_of_strangers_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let ours = plan(&["UA", "LT"], 1).create(&home.path().join("ours"), NOW).unwrap();
    let theirs = plan(&["UA", "PL"], 1).create(&home.path().join("theirs"), NOW).unwrap();
    let certificate = NodeConfig::load(&theirs.nodes[0].dir).unwrap().certificate;
    let peer = PeerAddition { certificate, address: theirs.nodes[0].mesh, dial: true };
    let error = format!("{:#}", add_peer(&ours.nodes[1].dir, peer).unwrap_err());
    assert!(error.contains("charter epoch 1 does not admit the peer"), "{error}");
}

#[test]
fn files_that_are_there_are_never_overwritten() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("UA");
    let keys = members(home.path(), &["UA"]);
    let error = MemberKeys::create(&dir, code("UA"), "Centre", Purpose::Real).unwrap_err().to_string();
    assert!(error.contains("exists already"), "{error}");
    assert_eq!(MemberKeys::load(&dir).unwrap().root.public(), keys[0].root.public());
}
