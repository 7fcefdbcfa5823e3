//! A full disk: writes are refused with the reason, everything else goes on, and it ends by itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, ensure};
use chaos_tests::corpus::Corpus;
use chaos_tests::lab::{Lab, Plan, Start};

const SECONDS_MAX: u64 = 20;
/// Room for the store at first.
const SMALL_MIB: u64 = 24;
/// Room later.
const LARGE_MIB: u64 = 256;

/// A small file system of its own, gone with this value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts it over a folder; the error says why this machine cannot.
    fn mount(folder: &Path) -> anyhow::Result<SmallDisk> {
        ensure!(rustix::process::geteuid().is_root(), "not root");
        std::fs::create_dir_all(folder)?;
        run(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={SMALL_MIB}m,mode=700"), "tmpfs", &folder.to_string_lossy()],
        )?;
        Ok(SmallDisk(folder.to_owned()))
    }

    fn enlarge(&self) -> anyhow::Result<()> {
        run("mount", &["-o", &format!("remount,size={LARGE_MIB}m"), &self.0.to_string_lossy()])
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the node may still hold files there.
        if let Err(error) = run("umount", &["-l", &self.0.to_string_lossy()]) {
            eprintln!("{} stays mounted: {error:#}", self.0.display());
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[test]
fn a_full_disk_refuses_writes_and_recovers_by_itself() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::new(&Plan::of(&["UA", "LT"]))?;
    let disk = match SmallDisk::mount(&lab.node(0).dir().join("store")) {
        Ok(disk) => disk,
        Err(error) => {
            println!("skipped: no small disk can be mounted here ({error:#})");
            return Ok(());
        }
    };
    lab.start_all()?;
    let first = lab.client(0).publish(&corpus.alert(1))?;
    let follower = lab.client(0).follow(Start::Now)?;

    // Fill it through the front door.
    let mut refused = None;
    for number in (0..400_000u64).step_by(2_000) {
        let lines = corpus.lines(1_000 + number..1_000 + number + 2_000);
        match lab.client(0).bulk(lines) {
            Ok(answers) if answers.iter().all(|answer| answer["id"].is_string()) => {}
            Ok(_) | Err(_) => {
                let answer = lab.client(0).post("/api/v1/alerts", &corpus.alert(900_000))?;
                if answer.status != 201 {
                    refused = Some(answer);
                    break;
                }
            }
        }
    }
    let Some(refused) = refused else { bail!("{SMALL_MIB} MiB never became full") };
    assert_eq!(refused.status, 507, "a full disk is told as such: {}", refused.text);

    // Reads, the stream and the links go on.
    let held = lab.client(0).alert_count()?;
    assert!(lab.client(0).has_alert(&first.id)?);
    lab.client(0).get("/api/v1/alerts?limit=10")?.expect_status(200)?;
    assert_eq!(follower.ended(), None, "the stream ended");
    assert_eq!(lab.client(0).links_up()?.len(), 1);
    let elsewhere = lab.client(1).publish(&corpus.alert(900_001))?;
    let status = lab.client(0).status()?["store"].to_string();
    assert!(!status.contains("\"ok\""), "the status does not tell that the store is full: {status}");

    // Space returns; nobody restarts anything.
    disk.enlarge()?;
    let mut later = None;
    lab.wait_until(SECONDS_MAX, "write after space returned", || {
        let answer = lab.client(0).post("/api/v1/alerts", &corpus.alert(900_002))?;
        later = answer.json()["id"].as_str().map(str::to_owned);
        Ok(answer.status == 201)
    })?;
    lab.wait_until(SECONDS_MAX, "the other node's alert", || lab.client(0).has_alert(&elsewhere.id))?;
    lab.wait_equal(&[0, 1], SECONDS_MAX)?;
    let after = lab.client(0).alert_count()?;
    ensure!(after >= held + 2, "{held} alerts when full, {after} afterwards");
    let later = later.unwrap_or_default();
    ensure!(lab.client(1).has_alert(&later)?, "the first alert after the full disk did not travel");
    follower.wait(SECONDS_MAX, "the first alert after the full disk", |events| {
        events.iter().any(|event| event.subject == later)
    })?;
    lab.node_mut(0).stop()?;
    lab.start(0)?;
    assert_eq!(lab.client(0).alert_count()?, after);
    // The folder must be free before the lab removes it.
    lab.node_mut(0).stop()?;
    drop(disk);
    Ok(())
}
