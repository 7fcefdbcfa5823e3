use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::federation::{LabPlan, Topology};

/// A lab of two nodes; the tests read and damage the first.
fn lab() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let members = vec!["UA".parse().unwrap(), "LT".parse().unwrap()];
    let plan =
        LabPlan { members, nodes_per_site: 1, base_port: 4100, host: "127.0.0.1".into(), topology: Topology::Full };
    plan.create(&home.path().join("lab"), vatra_model::WallMs(1_764_000_000_000)).unwrap();
    let dir = home.path().join("lab/ua-1");
    (home, dir)
}

/// Replaces text in the node's configuration and returns the error of loading it.
fn refusal(dir: &Path, from: &str, to: &str) -> String {
    let path = dir.join(CONFIG_FILE);
    let good = fs::read_to_string(&path).unwrap();
    assert!(good.contains(from), "{from:?} is not in\n{good}");
    fs::write(&path, good.replacen(from, to, 1)).unwrap();
    let error = NodeConfig::load(dir).map(|_| ()).unwrap_err();
    fs::write(&path, good).unwrap();
    format!("{error:#}")
}

#[test]
fn a_lab_node_loads_with_its_defaults() {
    let (_home, dir) = lab();
    let config = NodeConfig::load(&dir).unwrap();
    assert_eq!((config.name.as_str(), config.site.as_str(), config.member.as_str()), ("ua-1", "ua", "UA"));
    assert_eq!(config.mesh, MeshConfig { listen: "127.0.0.1:4100".parse().unwrap(), profile: LinkProfile::Wan });
    assert_eq!(config.api.listen.to_string(), "127.0.0.1:4101");
    assert_eq!(config.api.tokens.len(), 1);
    assert_eq!((config.api.tokens[0].role, config.api.tokens[0].tlp), (TokenRole::Admin, Tlp::Green));
    let store = StoreConfig { path: dir.join("store"), engine: EngineKind::Redb, cache_mib: 32 };
    assert_eq!(config.store, store);
    assert_eq!(
        config.limits,
        LimitsConfig { links: 64, origin_entries_per_second: 200, subscribers: 4096, bundle_mib: 256 }
    );
    assert_eq!(config.peers.len(), 1);
    assert!(config.peers[0].dial);
    assert_eq!(config.peers[0].address.to_string(), "127.0.0.1:4102");
    assert!(config.warnings.is_empty());
    assert_eq!(config.charter.current().epoch, 1);
    assert_eq!(config.key.public(), config.certificate.certificate().key.0);
}

#[test]
fn every_error_names_file_line_key_value_and_what_is_allowed() {
    let (_home, dir) = lab();
    let mesh = "[mesh]\nlisten = \"127.0.0.1:4100\"";
    let cases = [
        ("profile = \"wan\"", "profile = \"lan\"", "mesh.profile = \"lan\": allowed are wan, metered"),
        ("engine = \"redb\"", "engine = \"rocks\"", "store.engine = \"rocks\": allowed are redb, sled, memory"),
        ("cache_mib = 32", "cache_mib = 4", "store.cache_mib = 4: a number from 8 to 65536"),
        (
            "cache_mib = 32",
            "cache_mib = \"64\"",
            "store.cache_mib = \"64\": a whole number from 8 to 65536, without quotes",
        ),
        ("[store]", "[limits]\nlinks = 6.5\n[store]", "limits.links = 6.5: a whole number from 1 to 64"),
        (
            "profile = \"wan\"",
            "profile = 5",
            "mesh.profile = 5: invalid type: integer `5`, a text in quotes is allowed",
        ),
        (
            "[api]\n",
            "[api]\nallow_non_loopback = 1\n",
            "api.allow_non_loopback = 1: invalid type: integer `1`, allowed are true and false",
        ),
        (
            "cache_mib = 32",
            "cash_mib = 64",
            "store.cash_mib: unknown field `cash_mib`, expected one of `path`, `engine`, `cache_mib`",
        ),
        (
            "role = \"admin\"",
            "role = \"root\"",
            "api.token.role = \"root\": allowed are subscriber, contributor, operator, admin",
        ),
        (
            "tlp = \"green\"",
            "tlp = \"white\"",
            "api.token.tlp = \"white\": allowed are clear, green, amber, amber+strict, red",
        ),
        ("sha256 = \"", "sha256 = \"zz", "api.token.sha256 = \"zz"),
        (
            mesh,
            "[mesh]\nlisten = \"localhost:4100\"",
            "mesh.listen = \"localhost:4100\": an IP address and a port above 0",
        ),
        (mesh, "[mesh]\nlisten = \"127.0.0.1:0\"", "mesh.listen = \"127.0.0.1:0\": an IP address and a port above 0"),
        ("name = \"ua-1\"", "name = \"ua-2\"", "node.name = \"ua-2\": the certificate is for node \"ua-1\""),
        ("site = \"ua\"", "site = \"UA\"", "node.site = \"UA\": site must be 1 to 64 characters"),
        ("member = \"UA\"", "member = \"LT\"", "node.member = \"LT\": the certificate is for member UA"),
        ("certificate = \"", "certificate = \"!", "node.certificate = \"!"),
        ("[store]", "[limits]\nlinks = 65\n[store]", "limits.links = 65: a number from 1 to 64"),
        ("[store]", "[shop]\n[store]", "unknown field `shop`"),
        ("listen = \"127.0.0.1:4101\"\n", "", "missing field `listen`"),
    ];
    for (from, to, expected) in cases {
        let error = refusal(&dir, from, to);
        assert!(error.contains("node.toml:"), "{error}");
        assert!(error.contains(expected), "{error:?} does not contain {expected:?}");
        let line = error.split("node.toml:").nth(1).and_then(|rest| rest.split(':').next());
        assert!(line.is_some_and(|line| line.parse::<usize>().is_ok_and(|line| line > 0)), "{error}");
    }
}

#[test]
fn a_line_number_is_the_line_of_the_value() {
    let (_home, dir) = lab();
    let text = fs::read_to_string(dir.join(CONFIG_FILE)).unwrap();
    let line = 1 + text.lines().position(|line| line.starts_with("engine")).unwrap();
    let error = refusal(&dir, "engine = \"redb\"", "engine = \"rocks\"");
    assert!(error.contains(&format!("node.toml:{line}: ")), "{error}");
}

#[test]
fn an_api_beyond_loopback_must_be_allowed() {
    let (_home, dir) = lab();
    let listen = "listen = \"127.0.0.1:4101\"";
    let error = refusal(&dir, listen, "listen = \"0.0.0.0:4101\"");
    assert!(error.contains("api.listen = \"0.0.0.0:4101\": a loopback address; "), "{error}");
    assert!(error.contains("allow_non_loopback = true"), "{error}");
    let path = dir.join(CONFIG_FILE);
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replace(listen, "listen = \"0.0.0.0:4101\"\nallow_non_loopback = true")).unwrap();
    assert_eq!(NodeConfig::load(&dir).unwrap().api.listen.to_string(), "0.0.0.0:4101");
}

#[test]
fn keys_and_charter_must_fit_the_certificate() {
    let (_home, dir) = lab();
    let other = dir.with_file_name("lt-1");
    let lines = |dir: &Path| fs::read_to_string(dir.join(CONFIG_FILE)).unwrap();
    let certificate = |text: &str| text.lines().find(|line| line.starts_with("certificate")).unwrap().to_owned();

    let own = certificate(&lines(&dir));
    let theirs = certificate(&lines(&other));
    let peer = |text: &str| text.lines().filter(|line| line.starts_with("certificate")).nth(1).unwrap().to_owned();
    assert_eq!(peer(&lines(&dir)), theirs);
    assert!(refusal(&dir, &theirs, &own).contains("peer.certificate = "), "the node itself is no peer");

    let key = fs::read(dir.join(KEY_FILE)).unwrap();
    fs::copy(other.join(KEY_FILE), dir.join(KEY_FILE)).unwrap();
    let error = NodeConfig::load(&dir).unwrap_err().to_string();
    assert!(error.contains("node.certificate = ") && error.contains("another key"), "{error}");
    fs::write(dir.join(KEY_FILE), key).unwrap();

    let mut charter = fs::read(dir.join(CHARTER_FILE)).unwrap();
    let middle = charter.len() / 2;
    charter[middle] ^= 1;
    fs::write(dir.join(CHARTER_FILE), charter).unwrap();
    let error = NodeConfig::load(&dir).unwrap_err().to_string();
    assert!(error.contains("charter.vatra is no charter that holds"), "{error}");
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_its_cause_once() {
    let (_home, dir) = lab();
    for file in [CHARTER_FILE, KEY_FILE, CONFIG_FILE] {
        let path = dir.join(file);
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let error = format!("{:#}", NodeConfig::load(&dir).unwrap_err());
        assert!(error.contains(file), "{error}");
        let cause = if file == CONFIG_FILE { "is not there" } else { "No such file" };
        assert_eq!(error.matches(cause).count(), 1, "{error}");
        fs::write(&path, good).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::write(dir.join(CHARTER_FILE), "hello").unwrap();
    let error = format!("{:#}", NodeConfig::load(&dir).unwrap_err());
    assert_eq!(error.matches("malformed charter").count(), 1, "{error}");
}

#[test]
fn a_charter_of_others_does_not_admit_the_node() {
    let (_home, dir) = lab();
    let (_foreign_home, foreign) = lab();
    fs::copy(foreign.join(CHARTER_FILE), dir.join(CHARTER_FILE)).unwrap();
    let error = NodeConfig::load(&dir).unwrap_err().to_string();
    assert!(error.contains("charter epoch 1 does not admit this node"), "{error}");
}
