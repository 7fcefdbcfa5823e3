//! A node as its operator has it: the real binary, running and stopped, well and damaged.

use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn vatra(home: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vatra"));
    command.args(line.split_whitespace()).current_dir(home).stdin(Stdio::null());
    command.output().expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn succeed(home: &Path, line: &str) -> String {
    let output = vatra(home, line);
    assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
    stdout(&output)
}

/// The error of a command that must be refused.
fn refuse(home: &Path, line: &str) -> String {
    let output = vatra(home, line);
    assert_eq!(output.status.code(), Some(1), "{line}: {}{}", stdout(&output), stderr(&output));
    stderr(&output)
}

/// A lab of two members on free ports.
fn lab(home: &Path) {
    let is_free =
        |port: u16| UdpSocket::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("127.0.0.1", port + 1)).is_ok();
    let first = 22_000 + u16::try_from(std::process::id() % 20_000).expect("below 20,000");
    let port = (first..60_000).step_by(4).find(|port| is_free(*port) && is_free(port + 2)).expect("a free port");
    succeed(home, &format!("lab new --members UA,LT --dir lab --base-port {port}"));
}

/// A running node; it is stopped in good order.
struct Running {
    process: Child,
}

impl Running {
    fn start(home: &Path) -> Running {
        Running::start_in(home, "lab/ua-1")
    }

    fn start_in(home: &Path, dir: &str) -> Running {
        let log = File::create(home.join("log")).expect("a writable directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_vatra"));
        command.args(["node", "run", "--dir", dir]).current_dir(home).stdin(Stdio::null()).stderr(log);
        let node = Running { process: command.spawn().expect("the binary runs") };
        let give_up = Instant::now() + PATIENCE;
        while vatra(home, &format!("status --dir {dir}")).status.code() != Some(0) {
            let log = || fs::read_to_string(home.join("log")).unwrap_or_default();
            assert!(Instant::now() < give_up, "the node does not come up: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        node
    }

    fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let id = self.process.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.process.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

const PUBLISH: &str =
    "alert publish --kind outage --severity minor --sector energy --tlp clear --title one --dir lab/ua-1";

#[test]
fn an_operator_is_told_the_same_by_all_commands() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    lab(home);
    let config = home.join("lab/ua-1/node.toml");
    let text = fs::read_to_string(&config).unwrap();
    assert!(!text.contains("[limits]"), "{text}");
    fs::write(&config, format!("{text}\n[limits]\nbundle_mib = 1\n")).unwrap();
    let node = Running::start(home);
    succeed(home, PUBLISH);

    // A bundle that is far too large: the node refuses it by its length.
    fs::write(home.join("large.bundle"), vec![0; 24 << 20]).unwrap();
    let error = refuse(home, "bundle import large.bundle --dir lab/ua-1");
    assert!(error.contains("limits.bundle_mib") && error.contains("--since"), "{error}");
    assert!(error.contains("1048576 bytes"), "{error}");
    succeed(home, "bundle export good.bundle --dir lab/ua-1");
    assert!(succeed(home, "bundle import good.bundle --dir lab/ua-1").contains("0 refused"));

    // A receipt replaces nothing unasked, and the bundle never.
    let good = fs::read(home.join("good.bundle")).unwrap();
    fs::write(home.join("note"), "a list of telephone numbers").unwrap();
    std::os::unix::fs::symlink("good.bundle", home.join("link")).unwrap();
    fs::hard_link(home.join("good.bundle"), home.join("r.part")).unwrap();
    for (more, said) in [
        ("", "good.bundle.receipt, where the receipt goes, is there already"),
        ("--receipt note", "note, where the receipt goes, is there already"),
        ("--receipt good.bundle --force", "would replace the bundle"),
        ("--receipt ./lab/../good.bundle --force", "would replace the bundle"),
        ("--receipt link --force", "would replace the bundle"),
        ("--receipt r --force", "would replace the bundle"),
    ] {
        let output = vatra(home, &format!("bundle import good.bundle --dir lab/ua-1 {more}"));
        assert_eq!(output.status.code(), Some(2), "{more}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{more}: {}", stderr(&output));
    }
    assert_eq!(fs::read(home.join("good.bundle")).unwrap(), good);
    assert_eq!(fs::read(home.join("note")).unwrap(), b"a list of telephone numbers");
    succeed(home, "bundle import good.bundle --dir lab/ua-1 --force --receipt note");
    assert!(succeed(home, "bundle inspect note").starts_with("receipt"));
    // A frontier file is called so, and --json shows what it says.
    let frontier = vatra(home, "bundle frontier --dir lab/ua-1");
    fs::write(home.join("ua.frontier"), &frontier.stdout).unwrap();
    let shown: Value = serde_json::from_str(&succeed(home, "bundle frontier --json --dir lab/ua-1")).unwrap();
    assert_eq!((&shown["kind"], &shown["frontier"][0]["height"]), (&"frontier".into(), &2.into()), "{shown}");
    succeed(home, "lab new --members EE,LV --dir foreign --base-port 60100");
    let error = refuse(home, "bundle inspect ua.frontier --charter foreign/ee-1/charter.vatra");
    assert!(error.contains("the frontier file is of another federation"), "{error}");
    let error = refuse(home, "bundle import lab --dir lab/ua-1");
    assert!(error.contains("lab: a directory is no bundle"), "{error}");
    let error = refuse(home, "bundle import /dev/null --dir lab/ua-1");
    assert!(error.contains("/dev/null: a bundle is imported from a file"), "{error}");
    let error = refuse(home, "bundle export all.bundle --since /dev/null --dir lab/ua-1");
    assert!(error.contains("--since /dev/null: this is no receipt or frontier file"), "{error}");
    assert!(!home.join("all.bundle").exists());

    let stopped = vatra(home, "doctor --stopped --dir lab/ua-1");
    let shown = stdout(&stopped);
    assert_eq!(stopped.status.code(), Some(1), "{shown}");
    assert!(shown.contains("UA, running:") && shown.contains("leave out --stopped"), "{shown}");
    assert!(!shown.contains("CRITICAL"), "{shown}");

    // A drill is no trouble; both commands say so, and the status still shows it.
    succeed(home, "link cut all --for 600s --reason practice --dir lab/ua-1");
    let (status, doctor) = (succeed(home, "status --dir lab/ua-1"), succeed(home, "doctor --dir lab/ua-1"));
    assert!(status.starts_with("HEALTHY") && status.contains("practice"), "{status}");
    assert!(doctor.starts_with("HEALTHY") && doctor.contains("practice"), "{doctor}");
    node.stop();
}

#[test]
fn a_backup_that_cannot_be_put_back_is_never_reported_as_good() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    lab(home);
    let node = Running::start(home);
    succeed(home, PUBLISH);
    node.stop();
    succeed(home, "node backup --dir lab/ua-1 --to good");
    assert!(!home.join("good/store/LOCK").exists() && !home.join("good/store/ballast").exists());
    assert!(succeed(home, "node restore --dir lab/ua-1 --from good").contains("2 entries"));

    // A life that was opened has one name in the log, the status and doctor.
    let node = Running::start(home);
    let status: Value = serde_json::from_str(&succeed(home, "status --json --dir lab/ua-1")).unwrap();
    let incarnation = status["incarnation"].as_str().unwrap().to_owned();
    let doctor = stdout(&vatra(home, "doctor --dir lab/ua-1"));
    node.stop();
    let log = fs::read_to_string(home.join("log")).unwrap();
    assert!(doctor.contains(&incarnation), "{incarnation} in {doctor}");
    assert!(log.lines().any(|line| line.contains("a new incarnation") && line.contains(&incarnation)), "{log}");

    let data = home.join("lab/ua-1/store/store.redb");
    let mut bytes = fs::read(&data).unwrap();
    // The roots stay as they were, so that the engine opens the file and only then meets what it cannot believe.
    bytes[320..].fill(0xff);
    fs::write(&data, bytes).unwrap();
    let error = refuse(home, "node backup --dir lab/ua-1 --to bad");
    assert!(error.contains("the store at ") && error.contains("cannot be put back"), "{error}");
    assert!(!error.contains("panicked"), "{error}");
    assert!(!home.join("bad").exists());

    // One that was copied by hand, or damaged where it lay.
    fs::create_dir_all(home.join("copied")).unwrap();
    for name in ["FORMAT", "store.redb"] {
        fs::copy(home.join("lab/ua-1/store").join(name), home.join("copied").join(name)).unwrap();
    }
    let error = refuse(home, "node restore --dir lab/ua-1 --from copied");
    assert!(error.contains("the backup copied was not put back") && error.contains("take another backup"), "{error}");
    assert!(!error.contains("restoring") && !error.contains("panicked"), "{error}");
    for command in ["fsck", "doctor"] {
        let output = vatra(home, &format!("{command} --dir lab/ua-1"));
        let shown = format!("{}{}", stdout(&output), stderr(&output));
        assert!(!shown.contains("panicked") && shown.contains("could not be opened"), "{command}: {shown}");
    }
}

#[test]
fn a_clone_has_an_address_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    lab(home);
    Running::start(home).stop();
    let check: Value = serde_json::from_str(&succeed(home, "node check --json --dir lab/ua-1")).unwrap();
    let mesh = check["mesh"].as_str().unwrap();
    let line = format!(
        "node clone --from lab/ua-1 --to two --member lab/members/ua --node ua-2 --mesh {mesh} --api 127.0.0.1:9"
    );
    let error = refuse(home, &line);
    assert!(error.contains(&format!("--mesh {mesh}: the first node listens there")), "{error}");
    assert!(!home.join("two").exists());
}

#[test]
fn a_directory_without_a_node_is_refused_with_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    for command in ["node run", "node check", "fsck", "doctor"] {
        let said = refuse(home.path(), &format!("{command} --dir nowhere"));
        for part in ["nowhere", "node.toml", "vatra node init", "--dir"] {
            assert!(said.contains(part), "{command}: {part} in {said}");
        }
    }
}

#[test]
fn a_lost_store_is_not_taken_for_a_new_node() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    lab(home);
    assert!(succeed(home, "doctor --dir lab/ua-1").contains("store-new"));
    Running::start(home).stop();
    // First the directory is gone, then there is only a place to mount it.
    fs::remove_dir_all(home.join("lab/ua-1/store")).unwrap();
    for _ in 0..2 {
        let output = vatra(home, "doctor --dir lab/ua-1");
        let shown = stdout(&output).replace("\n         ", " ");
        assert_eq!(output.status.code(), Some(1), "{shown}");
        assert!(shown.starts_with("UNHEALTHY") && shown.contains("CRITICAL store-lost"), "{shown}");
        assert!(shown.contains("mount the disk") && shown.contains("vatra node restore"), "{shown}");
        let _ = fs::create_dir(home.join("lab/ua-1/store"));
    }
    Running::start(home).stop();
    let shown = succeed(home, "doctor --dir lab/ua-1");
    assert!(shown.contains("it was lost or removed") && !shown.contains("store-lost"), "{shown}");
}

#[test]
fn a_revoked_node_says_so_and_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    lab(home);
    let says_so = |line: &str| {
        let output = vatra(home, line);
        let shown = format!("{}{}", stdout(&output), stderr(&output)).replace("\n         ", " ");
        for part in ["is revoked", "UA's root key", "vatra node init"] {
            assert!(shown.contains(part), "{line}: {part} in {shown}");
        }
        output.status.code()
    };
    let ua = Running::start(home);
    succeed(home, PUBLISH);
    succeed(home, "bundle export ua.bundle --dir lab/ua-1");
    succeed(home, "charter new --from lab/ua-1/charter.vatra --out draft-2");
    succeed(home, "charter revoke draft-2 ua-1 --dir lab/ua-1");
    for member in ["ua", "lt"] {
        succeed(home, &format!("charter sign draft-2 --member lab/members/{member}"));
    }
    succeed(home, "charter verify draft-2 --out charter-2.vatra");
    fs::copy(home.join("charter-2.vatra"), home.join("lab/lt-1/charter.vatra")).unwrap();
    let lt = Running::start_in(home, "lab/lt-1");
    let error = refuse(home, "bundle import ua.bundle --dir lab/lt-1");
    assert!(error.contains("is revoked") && !error.contains("joined lately"), "{error}");
    succeed(home, "bundle export lt.bundle --dir lab/lt-1");
    lt.stop();

    // A bundle brings the charter to a node that nobody links with any more.
    succeed(home, "bundle import lt.bundle --dir lab/ua-1");
    assert_eq!(says_so(PUBLISH), Some(1));
    assert_eq!(says_so("doctor --dir lab/ua-1"), Some(1));
    let status: Value = serde_json::from_str(&succeed(home, "status --json --dir lab/ua-1")).unwrap();
    assert_eq!(status["troubles"][0]["code"], "key-revoked", "{status}");
    ua.stop();
    for command in ["doctor", "node check", "node run"] {
        assert_eq!(says_so(&format!("{command} --dir lab/ua-1")), Some(1), "{command}");
    }
    // The same with the newer charter beside the configuration.
    fs::copy(home.join("charter-2.vatra"), home.join("lab/ua-1/charter.vatra")).unwrap();
    for command in ["doctor", "node check", "node run"] {
        assert_eq!(says_so(&format!("{command} --dir lab/ua-1")), Some(1), "{command}");
    }
}
