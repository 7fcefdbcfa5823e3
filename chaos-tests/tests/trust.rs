//! Who is let in: a federation made by hand links, a foreign key never does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use chaos_tests::corpus::Corpus;
use chaos_tests::lab::wire::metric_sum;
use chaos_tests::lab::{Lab, Plan, Topology};

const SECONDS_MAX: u64 = 20;
/// How long a foreigner is watched.
const WATCH: Duration = Duration::from_secs(6);

fn show(path: &Path) -> String {
    path.display().to_string()
}

/// Makes a member's keys; gives its folder.
fn make_member(lab: &Lab, code: &str) -> anyhow::Result<PathBuf> {
    let dir = lab.dir().join("members").join(code);
    let (out, name) = (show(&dir), format!("Centre of {code}"));
    lab.vatra(["member", "new", "--code", code, "--name", &name, "--out", &out])?.expect_code(0)?;
    Ok(dir)
}

/// Drafts a charter over public member files, has some members sign it and writes it.
fn make_charter(lab: &Lab, name: &str, public: &[PathBuf], signers: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let draft = show(&lab.dir().join(format!("{name}.draft")));
    let charter = lab.dir().join(format!("{name}.charter"));
    lab.vatra(["charter", "new", "--federation", name, "--out", &draft])?.expect_code(0)?;
    for file in public {
        lab.vatra(["charter", "add", &draft, &show(file)])?.expect_code(0)?;
    }
    for signer in signers {
        lab.vatra(["charter", "sign", &draft, "--member", &show(signer)])?.expect_code(0)?;
    }
    lab.vatra(["charter", "verify", &draft, "--out", &show(&charter)])?.expect_code(0)?;
    Ok(charter)
}

/// Makes a node at the addresses that the lab has for its next one, and takes it in.
fn make_node(lab: &mut Lab, member: &Path, code: &str, charter: &Path) -> anyhow::Result<usize> {
    let (mesh, api) = lab.addresses(lab.len());
    let name = format!("{}-9", code.to_lowercase());
    let dir = lab.dir().join(&name);
    let (mesh, api) = (mesh.to_string(), api.to_string());
    let files = [show(member), show(&dir), show(charter)];
    lab.vatra([
        "node",
        "init",
        "--member",
        &files[0],
        "--site",
        "main",
        "--node",
        &name,
        "--dir",
        &files[1],
        "--mesh",
        &mesh,
        "--api",
        &api,
        "--charter",
        &files[2],
    ])?
    .expect_code(0)?;
    lab.adopt(&name, code, &dir)
}

/// Tells one node about another one's certificate and address.
fn introduce(lab: &Lab, index: usize, other_dir: &Path, other_mesh: &str) -> anyhow::Result<()> {
    let shown = lab.vatra(["node", "show", "--dir", &show(other_dir)])?.expect_code(0)?;
    let certificate = lab.dir().join("certificate");
    fs::write(&certificate, shown.out)?;
    let dir = show(lab.node(index).dir());
    lab.vatra(["node", "peer", "add", "--dir", &dir, "--certificate", &show(&certificate), "--address", other_mesh])?
        .expect_code(0)?;
    Ok(())
}

#[test]
fn a_federation_made_by_hand_works() -> anyhow::Result<()> {
    let mut lab = Lab::empty(2, None)?;
    let members = [make_member(&lab, "UA")?, make_member(&lab, "LT")?];
    let public: Vec<PathBuf> = members.iter().map(|dir| dir.join("member.toml")).collect();
    let charter = make_charter(&lab, "hand", &public, &members)?;
    for (member, code) in members.iter().zip(["UA", "LT"]) {
        make_node(&mut lab, member, code, &charter)?;
    }
    for (index, other) in [(0, 1), (1, 0)] {
        let (dir, mesh) = (lab.node(other).dir().to_owned(), lab.node(other).mesh().to_string());
        introduce(&lab, index, &dir, &mesh)?;
        lab.vatra(["node", "check", "--dir", &show(lab.node(index).dir())])?.expect_code(0)?;
    }
    lab.start_all()?;
    lab.wait_linked(Topology::Full)?;
    lab.client(0).publish(&Corpus::load()?.alert(1))?;
    lab.wait_all_hold(1, SECONDS_MAX)?;
    Ok(())
}

#[test]
fn one_signature_of_three_makes_no_charter() -> anyhow::Result<()> {
    let lab = Lab::empty(1, None)?;
    let members = [make_member(&lab, "UA")?, make_member(&lab, "LT")?, make_member(&lab, "PL")?];
    let public: Vec<PathBuf> = members.iter().map(|dir| dir.join("member.toml")).collect();
    let error = make_charter(&lab, "coup", &public, &members[..1]).expect_err("one of three is no majority");
    assert!(format!("{error:#}").contains("UA"), "the signers are not named: {error:#}");
    assert!(!lab.dir().join("coup.charter").exists());
    Ok(())
}

#[test]
fn a_foreign_key_is_never_linked() -> anyhow::Result<()> {
    let mut lab = Lab::running(&Plan::of(&["UA", "LT"]))?;
    let digest = lab.client(0).digest()?;

    // The foreigners' own charter admits UA, so that only UA's refusal keeps them out.
    let foreigners = [make_member(&lab, "XX")?, make_member(&lab, "YY")?];
    let ua_public = lab.dir().join("lab/members/ua/member.toml");
    let public = [foreigners[0].join("member.toml"), foreigners[1].join("member.toml"), ua_public];
    let charter = make_charter(&lab, "foreign", &public, &foreigners)?;
    let foreigner = make_node(&mut lab, &foreigners[0], "XX", &charter)?;
    let (ua_dir, ua_mesh) = (lab.node(0).dir().to_owned(), lab.node(0).mesh().to_string());
    introduce(&lab, foreigner, &ua_dir, &ua_mesh)?;
    lab.start(foreigner)?;
    lab.client(foreigner).publish(&Corpus::load()?.alert(666))?;

    let until = Instant::now() + WATCH;
    while Instant::now() < until {
        assert!(lab.client(foreigner).links_up()?.is_empty(), "the foreigner believes to be linked");
        for index in [0, 1] {
            let up: Vec<String> = lab.client(index).links_up()?.into_iter().map(|link| link.member).collect();
            assert!(!up.contains(&"XX".to_owned()), "linked with a foreigner: {up:?}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(lab.client(0).alert_count()?, 0, "an alert of a foreigner was taken");
    assert_eq!(lab.client(0).digest()?, digest);
    let metrics = lab.client(0).get("/metrics")?.text;
    let refused = metric_sum(&metrics, REFUSED).with_context(|| format!("no {REFUSED} in /metrics"))?;
    assert!(refused > 0, "refusals are not counted");
    Ok(())
}

/// The counter in /metrics of connections that a node refused.
const REFUSED: &str = "vatra_mesh_refused_total";
