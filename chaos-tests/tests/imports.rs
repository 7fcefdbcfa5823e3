//! Imports through the command line: idempotent, and good lines count although others are bad.

use std::fs;

use chaos_tests::corpus::{Corpus, extracts_dir};
use chaos_tests::lab::{Lab, Plan};

const SECONDS_MAX: u64 = 20;

#[test]
fn a_second_import_changes_nothing() -> anyhow::Result<()> {
    let lab = Lab::running(&Plan::of(&["UA", "LT"]))?;
    for name in ["kev/kev-extract.json", "misp/endor.json", "stix/poisonivy.json"] {
        let (file, before) = (extracts_dir().join(name).display().to_string(), lab.client(0).alert_count()?);
        lab.cli(0).run(["alert", "import", &file, "--unlabelled-tlp", "green"])?.expect_code(0)?;
        let (alerts, digest) = (lab.client(0).alert_count()?, lab.client(0).digest()?);
        assert!(alerts > before, "{name} brought nothing");
        lab.cli(0).run(["alert", "import", &file, "--unlabelled-tlp", "green"])?.expect_code(0)?;
        assert_eq!((lab.client(0).alert_count()?, lab.client(0).digest()?), (alerts, digest), "{name}");
    }
    Ok(())
}

#[test]
fn the_same_file_imported_on_both_sides_of_a_cut_is_one() -> anyhow::Result<()> {
    let mut lab = Lab::running(&Plan::of(&["UA", "LT"]))?;
    // One member with two desks would share records; two members own what each imported.
    let file = extracts_dir().join("kev/kev-extract.json").display().to_string();
    lab.node_mut(1).stop()?;
    lab.cli(0).run(["alert", "import", &file])?.expect_code(0)?;
    let alone = lab.client(0).alert_count()?;
    lab.start(1)?;
    lab.wait_all_hold(alone, SECONDS_MAX)?;
    lab.cli(0).run(["alert", "import", &file])?.expect_code(0)?;
    assert_eq!(lab.client(0).alert_count()?, alone);
    Ok(())
}

#[test]
fn two_desks_of_one_member_import_one_record_each() -> anyhow::Result<()> {
    let mut plan = Plan::of(&["UA"]);
    plan.nodes_per_site = 2;
    let lab = Lab::running(&plan)?;
    let file = extracts_dir().join("kev/kev-extract.json").display().to_string();
    lab.client(0).cut(serde_json::json!("all"), 60, "both desks import while cut apart")?;
    lab.wait_until(SECONDS_MAX, "cut", || Ok(lab.client(0).links_up()?.is_empty()))?;
    for index in [0, 1] {
        lab.cli(index).run(["alert", "import", &file])?.expect_code(0)?;
    }
    let alone = lab.client(0).alert_count()?;
    lab.client(0).heal()?;
    lab.wait_until(SECONDS_MAX, "link", || Ok(lab.client(0).links_up()?.len() == 1))?;
    lab.wait_all_hold(alone, SECONDS_MAX)?;
    Ok(())
}

#[test]
fn a_half_broken_file_gives_its_good_lines() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let lab = Lab::running(&Plan::of(&["UA"]))?;
    let mut lines: Vec<String> = (0..6).map(|number| corpus.alert(number).to_string()).collect();
    lines[1] = "{\"kind\": \"incident\"".to_owned();
    lines[3] = lines[3].replace("\"tlp\"", "\"tlpp\"");
    lines[4] = lines[4]
        .replace("\"vulnerability\",\"ref", "\"nonsense\",\"ref")
        .replace("\"severity\":\"", "\"severity\":\"x");
    let file = lab.dir().join("half.ndjson");
    fs::write(&file, lines.join("\n"))?;
    let outcome = lab.cli(0).run(["alert".as_ref(), "import".as_ref(), file.as_os_str()])?.expect_code(3)?;
    assert_eq!(lab.client(0).alert_count()?, 3);
    let told = format!("{}{}", outcome.out, outcome.err);
    for number in ["2", "4", "5"] {
        assert!(told.contains(number), "line {number} is not named: {told}");
    }
    assert!(told.contains("tlpp") && told.contains("severity"), "the wrong fields are not named: {told}");
    Ok(())
}

#[test]
fn a_file_that_is_nothing_is_refused() -> anyhow::Result<()> {
    let lab = Lab::running(&Plan::of(&["UA"]))?;
    let digest = lab.client(0).digest()?;
    let file = lab.dir().join("nothing");
    for content in [&b""[..], b"\x00\xff\xfe garbage", b"[1,2,3]", b"{\"a\":", &[b'[', 200]] {
        fs::write(&file, content)?;
        let outcome = lab.cli(0).run(["alert".as_ref(), "import".as_ref(), file.as_os_str()])?;
        let code = outcome.code.unwrap_or(-1);
        assert!(code == 1 || code == 3 || (content.is_empty() && code == 0), "code {code}: {outcome:?}");
        assert!(!outcome.err.contains("panicked"), "{outcome:?}");
    }
    let missing = lab.dir().join("missing").display().to_string();
    lab.cli(0).run(["alert", "import", &missing])?.expect_code(1)?;
    assert_eq!(lab.client(0).digest()?, digest);
    Ok(())
}
