//! The demo: three members, one is cut off, both sides go on, they meet again and agree.
//!
//! Every step is checked; what is not as promised ends the demo with the reason. How it looks is in
//! `screen`.

mod feed;
mod screen;
mod verdict;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use self::feed::{Fed, Feed};
use self::screen::Screen;
use self::verdict::Verdict;
use crate::corpus::{Corpus, extracts_dir};
use crate::lab::{Lab, Plan, text, wire};

const UA: usize = 0;
const LT: usize = 1;
const PL: usize = 2;
const ALL: [usize; 3] = [UA, LT, PL];

/// Files imported at the start, and where.
const IMPORTS: &[(usize, &str)] = &[
    (UA, "kev/kev-extract.json"),
    (LT, "misp/misp-turla-crutch-event.json"),
    (LT, "misp/endor.json"),
    (PL, "misp/misp-telebots.json"),
    (PL, "misp/alderaan.json"),
];
/// How long the members publish while linked.
const TOGETHER: Duration = Duration::from_secs(6);
/// How long they go on while UA is cut off.
const APART: Duration = Duration::from_secs(12);
/// The drill's own timer ends the cut even if this program dies.
const CUT_SECONDS: u64 = 60;
/// Longest wait for anything that takes a moment.
const STEP_SECONDS_MAX: u64 = 20;

/// Runs the demo; an error says what was not as promised.
pub fn run(keep: bool) -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut plan = Plan::of(&["UA", "LT", "PL"]);
    plan.detached = keep;
    println!("Making keys and a charter for UA, LT and PL, and starting a node of each.");
    let lab = Lab::running(&plan)?;
    let screen = Screen::open(&lab)?;
    let outcome = play(&lab, &corpus, &screen);
    screen.close();
    match outcome {
        Ok(verdict) => verdict.print(),
        Err(error) => {
            eprintln!("\nThe demo failed. The nodes, as they are:\n{}", lab.explain());
            return Err(error);
        }
    }
    if keep {
        leave_running(lab);
    }
    Ok(())
}

fn play(lab: &Lab, corpus: &Corpus, screen: &Screen) -> anyhow::Result<Verdict> {
    screen.step("Linked: importing CISA KEV entries and MISP events, each at another member");
    import(lab, screen)?;
    let joint = lab.client(UA).publish(&joint_alert())?;
    let outage = lab.client(UA).publish(&outage_alert())?;

    screen.step("Linked: all three publish, everything reaches everybody");
    let feed = Feed::start(lab, corpus, 0)?;
    std::thread::sleep(TOGETHER);
    let mut fed = feed.stop()?;
    let equal = lab.wait_equal(&ALL, STEP_SECONDS_MAX)?;
    screen.note(&format!("{} alerts published, digests equal {} later", fed.len(), seconds(equal)));

    screen.step("CUT: UA is alone; both sides go on publishing, answering and reading");
    let (noticed_by_ua, noticed_by_others) = cut(lab, screen)?;
    let feed = Feed::start(lab, corpus, 1_000_000)?;
    answer_and_edit(lab, &joint.id, &outage.id).context("while cut off")?;
    std::thread::sleep(APART);
    let apart = feed.stop()?;
    check_divergence(lab, &outage.id, &apart, screen)?;

    screen.step("HEAL: UA is back");
    let missing = missing_deliveries(&apart);
    let sent_before = wire::own_bytes_of_all(lab)?;
    let healed = Instant::now();
    lab.client(UA).heal()?;
    wait(lab, "links of UA", |lab| Ok(lab.client(UA).links_up()?.len() == 2))?;
    let reconnected = healed.elapsed();
    lab.wait_equal(&ALL, STEP_SECONDS_MAX)?;
    let converged = healed.elapsed();
    let wire_bytes = wire::own_bytes_of_all(lab)? - sent_before;
    screen.note(&format!("linked after {}, all digests equal after {}", seconds(reconnected), seconds(converged)));

    screen.step("Checking that nothing was lost and that everybody shows the same");
    fed.extend(apart.iter().cloned());
    check_agreement(lab, &joint.id, &outage.id, &fed)?;
    Ok(Verdict {
        noticed_by_ua,
        noticed_by_others,
        apart: ALL.map(|index| apart.iter().filter(|fed| fed.node == index).count()),
        slowest_publish: apart.iter().map(|fed| fed.took).max().unwrap_or_default(),
        reconnected,
        converged,
        wire_bytes,
        missing,
        alerts: lab.client(UA).alert_count()?,
        digest: lab.client(UA).digest()?,
    })
}

fn import(lab: &Lab, screen: &Screen) -> anyhow::Result<()> {
    for (index, name) in IMPORTS {
        let path = extracts_dir().join(name);
        let file = path.to_string_lossy();
        lab.cli(*index)
            .run(["alert", "import", &file, "--unlabelled-tlp", "green"])?
            .expect_code(0)
            .with_context(|| format!("import {name}"))?;
        screen.note(&format!("{} imported {name}", lab.node(*index).name()));
    }
    lab.wait_equal(&ALL, STEP_SECONDS_MAX)?;
    let alerts = lab.client(UA).alert_count()?;
    ensure!(alerts >= 60, "only {alerts} alerts after the imports");
    Ok(())
}

/// Cuts UA off; says after what time UA and the other two showed it.
fn cut(lab: &Lab, screen: &Screen) -> anyhow::Result<(Duration, Duration)> {
    let begin = Instant::now();
    lab.client(UA).cut(json!("all"), CUT_SECONDS, "demo: UA is cut off")?;
    wait(lab, "cut at UA", |lab| Ok(lab.client(UA).links_up()?.is_empty()))?;
    let by_ua = begin.elapsed();
    wait(lab, "cut seen by LT and PL", |lab| {
        Ok(lab.client(LT).links_up()?.len() == 1 && lab.client(PL).links_up()?.len() == 1)
    })?;
    let by_others = begin.elapsed();
    screen.note(&format!("UA shows the cut after {}, LT and PL after {}", seconds(by_ua), seconds(by_others)));
    Ok((by_ua, by_others))
}

/// On both sides of the cut: an answer, and an edit of the same alert.
fn answer_and_edit(lab: &Lab, joint: &str, outage: &str) -> anyhow::Result<()> {
    let answer = json!({"assessment": "affected", "note": "Our cross-border trains stand too."});
    lab.client(LT).respond(outage, &answer).context("LT answers UA's alert")?;
    lab.client(UA).update(outage, &json!({"body": "Signalling runs on reserve power until 18:00."}))?;
    lab.client(UA).update(joint, &json!({"title": "Phishing wave against both registries", "severity": "severe"}))?;
    lab.client(LT).update(joint, &json!({"title": "Credential theft at two registries", "severity": "moderate"}))?;
    Ok(())
}

/// Both sides must have gone on, and must now show different things.
fn check_divergence(lab: &Lab, outage: &str, apart: &[Fed], screen: &Screen) -> anyhow::Result<()> {
    for index in ALL {
        let count = apart.iter().filter(|fed| fed.node == index).count();
        ensure!(count > 0, "{} published nothing while UA was cut off", lab.node(index).name());
    }
    wait(lab, "same view at LT and PL", |lab| Ok(lab.client(LT).digest()? == lab.client(PL).digest()?))?;
    let (ua, lt) = (lab.client(UA).digest()?, lab.client(LT).digest()?);
    ensure!(ua != lt, "the digests are equal although UA is cut off");
    screen.note(&format!("UA shows {}, LT and PL show {}", shortened(&ua), shortened(&lt)));
    ensure!(lab.client(LT).alert(outage)?["responses"]["LT"].is_object(), "LT does not show its own answer");
    ensure!(lab.client(PL).alert(outage)?["responses"]["LT"].is_object(), "PL does not show LT's answer");
    ensure!(!lab.client(UA).alert(outage)?["responses"]["LT"].is_object(), "UA shows LT's answer although cut off");
    screen.note("LT's answer to UA's outage alert is at LT and PL only");
    for fed in apart {
        let other = if fed.node == UA { LT } else { UA };
        ensure!(!lab.client(other).has_alert(&fed.id)?, "an alert crossed the cut");
    }
    Ok(())
}

/// Alerts written while apart, times the nodes that lacked them.
fn missing_deliveries(apart: &[Fed]) -> u64 {
    apart.iter().map(|fed| if fed.node == UA { 2 } else { 1 }).sum()
}

fn check_agreement(lab: &Lab, joint: &str, outage: &str, fed: &[Fed]) -> anyhow::Result<()> {
    for index in ALL {
        let (name, client) = (lab.node(index).name(), lab.client(index));
        for alert in fed {
            ensure!(client.has_alert(&alert.id)?, "{name} lacks {}, which was acknowledged", alert.id);
        }
        let shown = client.alert(joint)?;
        let titles = shown["conflicts"]["title"].as_array().map_or(0, Vec::len);
        ensure!(titles == 2, "{name} shows {titles} values of the title that both sides changed: {shown}");
        ensure!(shown["severity"] == "severe", "{name} does not show the higher severity: {shown}");
        let shown = client.alert(outage)?;
        ensure!(shown["responses"]["LT"]["assessment"] == "affected", "{name} lacks LT's answer: {shown}");
        ensure!(text(&shown, "body").contains("18:00"), "{name} lacks UA's update: {shown}");
    }
    Ok(())
}

fn joint_alert() -> Value {
    json!({
        "kind": "campaign", "title": "Phishing against state registries", "severity": "minor",
        "sectors": ["state-registries"], "tlp": "green", "writers": ["LT", "UA"],
    })
}

fn outage_alert() -> Value {
    json!({
        "kind": "outage", "title": "Railway signalling outage near Lviv", "severity": "severe",
        "sectors": ["transport"], "tlp": "green", "countries": ["UA"], "body": "Cause unknown.",
    })
}

fn wait(lab: &Lab, what: &str, condition: impl Fn(&Lab) -> anyhow::Result<bool>) -> anyhow::Result<Duration> {
    lab.wait_until(STEP_SECONDS_MAX, what, || condition(lab))
}

fn leave_running(lab: Lab) {
    let binary = lab.binary().display().to_string();
    let nodes: Vec<(String, String, String, u32)> = lab
        .nodes()
        .iter()
        .filter_map(|node| {
            let dir = node.dir().display().to_string();
            Some((node.client().url(), node.client().token().to_owned(), dir, node.pid()?))
        })
        .collect();
    let dir = lab.keep();
    println!("\nThe nodes go on running:");
    for (url, token, node, _) in &nodes {
        println!("  {url}  token {token}\n    {node}");
    }
    let (first, second) = (&nodes[0].2, &nodes[1].2);
    println!("\nTry:");
    println!("  {binary} status --dir {first}");
    println!("  {binary} tail --from-start --dir {second}");
    println!("  {binary} alert list --dir {second}");
    println!("  {binary} link cut all --for 30s --reason drill --dir {first}");
    println!("  curl -N -H 'Authorization: Bearer {}' '{}/api/v1/stream?from=start'", nodes[0].1, nodes[0].0);
    let pids: Vec<String> = nodes.iter().map(|node| node.3.to_string()).collect();
    println!("\nEnd them:\n  kill {} && sleep 2 && rm -r {}", pids.join(" "), dir.display());
}

/// A time for people.
fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{:.0} ms", time.as_secs_f64() * 1e3)
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}

fn shortened(digest: &str) -> String {
    digest.chars().take(12).collect()
}
