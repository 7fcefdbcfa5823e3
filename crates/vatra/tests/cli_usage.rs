//! Arguments, exit codes, completions and manual pages of the real binary.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

fn vatra(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vatra"));
    command.args(arguments).env_remove("VATRA_API").env_remove("VATRA_TOKEN").stdin(Stdio::null());
    command.output().expect("the binary runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn wrong_arguments_end_with_2_and_say_what_is_allowed() {
    let id = "ab".repeat(16);
    let init = ["node", "init", "--member", "m", "--site", "s", "--node", "n", "--dir", "d", "--mesh", "127.0.0.1:1"];
    let init = [&init[..], &["--api", "localhost:1"]].concat();
    let cases: [(&[&str], &str); 15] = [
        (&[], "Usage"),
        (&init, "invalid socket address"),
        (&["fly"], "unrecognized subcommand 'fly'"),
        (&["status"], "name a node: --dir DIR, or --api URL --token TOKEN"),
        (&["status", "--api", "https://x"], "an API address is http://HOST:PORT"),
        (&["alert", "show", "12", "--api", "http://127.0.0.1:1"], "32 hexadecimal characters"),
        (&["alert", "publish", "--kind", "rumour"], "possible values: incident, outage"),
        (&["alert", "publish", "--title", "t", "--api", "http://127.0.0.1:1"], "an alert needs --kind, --severity"),
        (&["alert", "update", &id, "--api", "http://127.0.0.1:1"], "give at least one field"),
        (&["alert", "update", &id, "--add", "countries"], "FIELD=VALUE is expected"),
        (&["alert", "list", "--limit", "0"], "0 is not in 1..=100000"),
        (&["link", "cut", "LT", "--for", "soon", "--reason", "r"], "--for"),
        (
            &["link", "cut", "lt", "--for", "5s", "--reason", "r", "--api", "http://127.0.0.1:1"],
            "a member code is 2 to 8",
        ),
        (&["tail", "--from-start", "--cursor", "x"], "cannot be used with"),
        (&["lab", "new", "--members", "ua", "--dir", "x"], "a member code is 2 to 8"),
    ];
    for (arguments, expected) in cases {
        let output = vatra(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_node_that_does_not_answer_ends_with_4() {
    // A listener that is dropped frees a port on which nobody answers.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let api = format!("http://127.0.0.1:{port}");
    for arguments in [&["status"][..], &["digest"], &["alert", "list"], &["tail"], &["link", "heal"]] {
        let output = vatra(&[arguments, &["--api", &api, "--token", "t"]].concat());
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(&format!("the node at {api} did not answer")), "{}", stderr(&output));
    }
}

#[test]
fn help_and_every_manual_page_document_the_exit_codes() {
    let help = vatra(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("4  unreachable"));

    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("man1");
    assert_eq!(vatra(&["man", "--out", out.to_str().unwrap()]).status.code(), Some(0));
    let pages: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
    for name in ["vatra.1", "vatra-alert-import.1", "vatra-charter-sign.1", "vatra-node-peer-add.1"] {
        assert!(pages.iter().any(|page| page.ends_with(name)), "{name} is not in {pages:?}");
    }
    for page in &pages {
        let text = fs::read_to_string(page).unwrap();
        assert!(text.contains(".TH ") && text.contains("unreachable"), "{}", page.display());
    }
    let first = vatra(&["man"]);
    assert_eq!(first.stdout, fs::read(out.join("vatra.1")).unwrap());
}

#[test]
fn completions_render_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = vatra(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("vatra"), "{shell}");
    }
    assert_eq!(vatra(&["completions", "cmd"]).status.code(), Some(2));
}

#[test]
fn no_token_is_ever_printed() {
    let secret = "s3cret-t0ken";
    let output = vatra(&["status", "--api", "http://127.0.0.1:1", "--token", secret]);
    assert!(!stderr(&output).contains(secret));
    assert!(!String::from_utf8_lossy(&vatra(&["status", "--help"]).stdout).contains(secret));
}

#[test]
fn a_variable_that_leaks_session_secrets_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let leak = dir.path().join("secrets");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vatra"));
    let output = command.args(["completions", "bash"]).env("SSLKEYLOGFILE", &leak).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!leak.exists() && !output.stdout.is_empty());
}
