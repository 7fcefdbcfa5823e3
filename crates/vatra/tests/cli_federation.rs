//! A federation by hand, as an operator makes it, through the real binary.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn vatra(home: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vatra"));
    command.args(line.split_whitespace()).current_dir(home).stdin(Stdio::null());
    command.output().expect("the binary runs")
}

fn succeed(home: &Path, line: &str) -> String {
    let output = vatra(home, line);
    assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("output is UTF-8")
}

/// The error of a command that must be refused.
fn refuse(home: &Path, line: &str) -> String {
    let output = vatra(home, line);
    assert_eq!(output.status.code(), Some(1), "{line}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn mode(path: PathBuf) -> u32 {
    fs::metadata(path).expect("the file exists").permissions().mode() & 0o7777
}

/// Three members and a charter that two of them have signed.
fn federation(home: &Path) {
    for code in ["UA", "LT", "PL"] {
        succeed(home, &format!("member new --code {code} --name Centre-{code} --out {code}"));
    }
    succeed(home, "charter new --federation test --out draft");
    succeed(home, "charter add draft UA/member.toml LT/member.toml PL/member.toml");
    succeed(home, "charter sign draft --member UA");
    succeed(home, "charter sign draft --member PL");
    succeed(home, "charter verify draft --out charter.vatra");
}

#[test]
fn a_federation_by_hand() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    federation(home);
    for secret in ["UA/root.key", "UA/sealing.key"] {
        assert_eq!(mode(home.join(secret)), 0o600, "{secret}");
    }
    assert_eq!(mode(home.join("UA")), 0o700);
    let shown: Value = serde_json::from_str(&succeed(home, "charter show charter.vatra --json")).unwrap();
    assert_eq!((&shown["epoch"], &shown["federation"]), (&1.into(), &"test".into()));
    let codes: Vec<&str> = shown["members"].as_array().unwrap().iter().map(|m| m["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["LT", "PL", "UA"]);

    for (index, code) in ["UA", "LT"].iter().enumerate() {
        let (mesh, api) = (4200 + 2 * index, 4201 + 2 * index);
        succeed(
            home,
            &format!(
                "node init --member {code} --site main --node main-1 --dir {code}-node --mesh 127.0.0.1:{mesh} \
             --api 127.0.0.1:{api} --charter charter.vatra"
            ),
        );
        for secret in ["node.key", "admin.token", "node.toml"] {
            assert_eq!(mode(home.join(format!("{code}-node/{secret}"))), 0o600, "{secret}");
        }
    }
    fs::write(home.join("lt.cert"), succeed(home, "node show --dir LT-node")).unwrap();
    succeed(home, "node peer add --dir UA-node --certificate lt.cert --address 127.0.0.1:4202 --no-dial");
    for other in ["charter.vatra", "UA/root.key", "draft"] {
        let line = format!("node peer add --dir UA-node --certificate {other} --address 127.0.0.1:4202");
        let error = refuse(home, &line);
        assert!(error.contains(&format!("{other}: this is no certificate file")), "{error}");
        assert!(error.contains("vatra node show"), "{error}");
    }
    let good = succeed(home, "node check --dir UA-node");
    assert!(good.contains("good: node main-1 of UA, charter epoch 1 of test with 3 members, 1 peers"), "{good}");
}

#[test]
fn a_charter_needs_more_than_half_and_survives_no_tampering() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    for code in ["UA", "LT", "PL"] {
        succeed(home, &format!("member new --code {code} --name {code} --out {code}"));
    }
    succeed(home, "charter new --federation test --member UA --member LT --member PL --out draft");
    assert!(refuse(home, "charter verify draft").contains("0 of the 2 signatures that it needs; nobody signed"));
    succeed(home, "charter sign draft --member LT");
    let error = refuse(home, "charter verify draft --out charter.vatra");
    assert!(error.contains("1 of the 2 signatures that it needs; LT signed"), "{error}");
    assert!(!home.join("charter.vatra").exists());
    let error = refuse(home, "charter new --from draft --out third");
    assert!(error.contains("draft is a draft of a charter") && error.contains("charter verify draft --out"), "{error}");

    // Signed copies are put together by whoever collects them.
    succeed(home, "charter new --federation test --member UA --member LT --member PL --out copy");
    succeed(home, "charter sign copy --member PL");
    assert!(succeed(home, "charter verify draft copy --out charter.vatra").contains("2 of the 2 signatures"));
    assert!(succeed(home, "charter verify charter.vatra").contains("holds"));

    let good = fs::read(home.join("charter.vatra")).unwrap();
    for place in [10, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[place] ^= 1;
        fs::write(home.join("bad.vatra"), bad).unwrap();
        assert!(refuse(home, "charter verify bad.vatra").contains("bad.vatra"));
    }

    // The next epoch is decided by the members of this one.
    succeed(home, "member new --code EE --name Estonia --out EE");
    succeed(home, "charter new --from charter.vatra --out second");
    succeed(home, "charter add second EE/member.toml");
    assert!(refuse(home, "charter sign second --member EE").contains("EE has no vote on epoch 2"));
    succeed(home, "charter sign second --member UA");
    assert!(refuse(home, "charter add second EE/member.toml").contains("signed already"));
    succeed(home, "charter sign second --member LT");
    succeed(home, "charter verify second --out charter-2.vatra");
    assert!(succeed(home, "charter show charter-2.vatra").contains("epoch 2"));
}

#[test]
fn nothing_is_overwritten_and_readable_keys_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    federation(home);
    let root = fs::read(home.join("UA/root.key")).unwrap();
    assert!(refuse(home, "member new --code UA --name UA --out UA").contains("exists already"));
    assert_eq!(fs::read(home.join("UA/root.key")).unwrap(), root);

    let init = "node init --member UA --site main --node main-1 --dir node --mesh 127.0.0.1:4200 --api 127.0.0.1:4201";
    succeed(home, init);
    let config = fs::read(home.join("node/node.toml")).unwrap();
    assert!(refuse(home, init).contains("exists already"));
    assert_eq!(fs::read(home.join("node/node.toml")).unwrap(), config);
    assert!(refuse(home, "node check --dir node").contains("charter.vatra"), "the charter is not there yet");

    fs::set_permissions(home.join("UA/root.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = refuse(home, "charter sign draft --member UA");
    assert!(error.contains("UA/root.key: mode 0644 lets others read it; allowed is 0600"), "{error}");

    fs::copy(home.join("charter.vatra"), home.join("node/charter.vatra")).unwrap();
    succeed(home, "node check --dir node");
    fs::set_permissions(home.join("node/node.key"), fs::Permissions::from_mode(0o640)).unwrap();
    let error = refuse(home, "node check --dir node");
    assert!(error.contains("node/node.key: mode 0640"), "{error}");
}

#[test]
fn an_api_beyond_loopback_is_refused_unless_allowed() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    succeed(home, "member new --code UA --name UA --out UA");
    let init = "node init --member UA --site main --node main-1 --dir node --mesh 0.0.0.0:4200 --api 192.0.2.1:4201";
    assert!(refuse(home, init).contains("--api 192.0.2.1:4201: this version serves the API without TLS"));
    assert!(!home.join("node").exists());
    succeed(home, &format!("{init} --allow-non-loopback"));
}

#[test]
fn a_configuration_error_names_file_line_key_value_and_what_is_allowed() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    succeed(home, "lab new --members UA --dir lab --base-port 4300");
    let path = home.join("lab/ua-1/node.toml");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replace("engine = \"redb\"", "engine = \"paper\"")).unwrap();
    let line = 1 + good.lines().position(|line| line.starts_with("engine")).unwrap();
    let error = refuse(home, "node check --dir lab/ua-1");
    let expected = format!("lab/ua-1/node.toml:{line}: store.engine = \"paper\": allowed are redb, sled, memory");
    assert!(error.contains(&expected), "{error}");
    assert!(refuse(home, "node check --dir nowhere").contains("nowhere/node.toml"));
    assert!(refuse(home, "node run --dir nowhere").contains("nowhere/node.toml"));
    assert!(refuse(home, "node run --dir lab/ua-1 --log-format json").contains(&expected), "a bad node does not start");
    assert!(refuse(home, "fsck --dir lab/ua-1").contains(&expected));
    for broken in ["[node", "\u{0}", "[node]\nname = 5\n"] {
        fs::write(&path, broken).unwrap();
        assert!(refuse(home, "node check --dir lab/ua-1").contains("lab/ua-1/node.toml:"), "{broken:?}");
    }
}

#[test]
fn a_lab_is_laid_out_as_pinned() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let line = "lab new --members UA,LT,PL --nodes-per-site 1 --dir lab --base-port 4400 --topology line --json";
    let lab: Value = serde_json::from_str(&succeed(home, line)).unwrap();
    let nodes = lab["nodes"].as_array().unwrap();
    for (index, name) in ["ua-1", "lt-1", "pl-1"].iter().enumerate() {
        assert_eq!(nodes[index]["node"], *name);
        let check = succeed(home, &format!("node check --dir lab/{name} --json"));
        let check: Value = serde_json::from_str(&check).unwrap();
        assert_eq!(check["mesh"], format!("127.0.0.1:{}", 4400 + 2 * index));
        assert_eq!(check["api"], format!("127.0.0.1:{}", 4401 + 2 * index));
        assert_eq!(check["peers"], if *name == "lt-1" { 2 } else { 1 });
        assert!(home.join(format!("lab/{name}/admin.token")).exists());
    }
    assert!(refuse(home, line).contains("is not empty"));
}
