//! Comparing and following: `diff` and `why`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;
use vatra_model::change::record_id;
use vatra_model::{Change, CheckedEntry, EntryHash, LogId};

use crate::scenario::batch::Order;
use crate::scenario::command::one::order_of;
use crate::scenario::command::{Diff, Why, load, out};
use crate::scenario::simulated::{self, Stage};
use crate::sim::kept::Kept;

/// Events that are shown before the one in which runs part.
const BEFORE_SHOWN: usize = 5;
/// Entries of which the ways are told.
const ENTRIES_SHOWN_MAX: usize = 20;

/// Shows the first event in which two runs differ. Exit code 0 if they are the same, 1 if not.
pub(super) fn diff(order: &Diff) -> anyhow::Result<u8> {
    let a = events(&order.a, order.scenario.as_deref())?;
    let b = events(&order.b, order.scenario.as_deref())?;
    let (a, b): (Vec<&str>, Vec<&str>) = (a.lines().collect(), b.lines().collect());
    let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    if same == a.len() && same == b.len() {
        out::line(format_args!("the same: {same} events"))?;
        return Ok(0);
    }
    out::line(format_args!("{same} events are the same, then they part:"))?;
    for line in &a[same.saturating_sub(BEFORE_SHOWN)..same] {
        out::line(format_args!("    {}", readable(line)))?;
    }
    let shown = |line: Option<&&str>| line.map_or("(ends)".to_owned(), |line| readable(line));
    out::line(format_args!("A   {}", shown(a.get(same))))?;
    out::line(format_args!("B   {}", shown(b.get(same))))?;
    Ok(1)
}

/// An event with its time in seconds.
fn readable(line: &str) -> String {
    let mut words = line.splitn(3, ' ');
    let at = words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    let (node, what) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    format!("{:12.6} s  node {node}  {what}", at as f64 / 1_000_000.0)
}

/// The events of a history file, or of a run that is made now.
fn events(what: &str, scenario: Option<&str>) -> anyhow::Result<String> {
    let path = Path::new(what);
    if path.is_file() && path.extension().is_none_or(|extension| extension != "json" && extension != "toml") {
        return fs::read_to_string(what).with_context(|| format!("{what} cannot be read"));
    }
    let order = match (what.rsplit_once('@'), scenario) {
        (Some((file, seed)), _) => {
            let seed = seed.parse().with_context(|| format!("\"{seed}\" in \"{what}\" is no seed"))?;
            order_of(file, Some(seed))?.0
        }
        (None, Some(file)) if what.parse::<u64>().is_ok() => {
            let loaded = load(file)?;
            Order { scenario: Some(loaded.scenario), file: Some(loaded.name), seed: what.parse()? }
        }
        _ => order_of(what, None)?.0,
    };
    Ok(simulated::run_with_history(&order.scenario(), order.seed)?.1)
}

/// Tells how the entries of a record got where they are.
pub(super) fn why(order: &Why) -> anyhow::Result<u8> {
    let (one, _) = order_of(&order.run, order.seed)?;
    let (stage, _) = simulated::run_kept(&one.scenario(), one.seed)?;
    let kept = stage.world.kept().context("the history was kept")?;
    let found = entries(&stage, &Wanted::read(&order.record));
    anyhow::ensure!(
        !found.is_empty(),
        "no entry of this run belongs to a record, hash or log that begins with \"{}\"",
        order.record
    );
    for (entry, records) in found.values().take(ENTRIES_SHOWN_MAX) {
        tell(&stage, kept, entry, records)?;
    }
    if found.len() > ENTRIES_SHOWN_MAX {
        out::line(format_args!("and {} entries more", found.len() - ENTRIES_SHOWN_MAX))?;
    }
    Ok(0)
}

/// What is asked for: everything that begins so, or one place of a log.
struct Wanted {
    begins: String,
    place: Option<u64>,
}

impl Wanted {
    /// Reads what evidence shows: "LOG/NUMBER", or the beginning of a record's id, a hash or a log's id.
    fn read(text: &str) -> Wanted {
        let text = text.trim().to_lowercase();
        let place = text.split_once(['/', ' ']).and_then(|(log, seq)| Some((log.to_owned(), seq.trim().parse().ok()?)));
        match place {
            Some((begins, seq)) => Wanted { begins, place: Some(seq) },
            None => Wanted { begins: text, place: None },
        }
    }

    fn is(&self, log: LogId, seq: u64, hash: EntryHash, records: &[String]) -> bool {
        let is_of_log = log.to_string().starts_with(&self.begins);
        match self.place {
            Some(place) => is_of_log && seq == place,
            None => {
                let is_of_record = records.iter().any(|record| record.to_lowercase().starts_with(&self.begins));
                is_of_log || is_of_record || hex::encode(hash.0).starts_with(&self.begins)
            }
        }
    }
}

type Ways = BTreeMap<(u64, EntryHash), (std::sync::Arc<CheckedEntry>, Vec<String>)>;

/// Entries on any disk that belong to what is wanted, in the order in which they were written.
fn entries(stage: &Stage, wanted: &Wanted) -> Ways {
    let mut found = Ways::new();
    for node in &stage.world.nodes {
        let disk = node.disk.durable();
        let strays = disk.strays.iter().map(|((log, seq, _), entry)| (*log, *seq, entry));
        for (log, seq, entry) in disk.entries.iter().map(|((log, seq), entry)| (log, seq, entry)).chain(strays) {
            let author = disk.origin(&log).map(|(member, _)| member);
            let records: Vec<String> = entry
                .changes()
                .filter_map(|(_, _, bytes)| bytes.and_then(|bytes| Change::decode(bytes).ok()))
                .filter_map(|change| match &change {
                    Change::Create(create) => author.map(|author| record_id(author, create).to_string()),
                    Change::Edit(edit) => Some(edit.record.to_string()),
                    Change::Open(_) | Change::Unknown { .. } => None,
                })
                .collect();
            if wanted.is(log, seq, entry.hash(), &records) {
                found.entry((entry.header().hlc.0, entry.hash())).or_insert_with(|| (entry.clone(), records));
            }
        }
    }
    found
}

fn tell(stage: &Stage, kept: &Kept, entry: &CheckedEntry, records: &[String]) -> io::Result<()> {
    let (log, seq) = (entry.header().log, entry.header().seq);
    let hash = hex::encode(&entry.hash().0[..8]);
    out::line(format_args!("entry {hash} at {log}/{seq}, record {}", records.join(", ")))?;
    let seconds = |us: u64| us as f64 / 1_000_000.0;
    for (index, name) in stage.names.iter().enumerate() {
        let state = &stage.world.nodes[index];
        let holds = state.disk.durable().entry(log, seq.0, entry.hash()).is_some();
        let arrival = kept.arrivals.get(&(index, entry.hash()));
        let durable = kept.durable.get(&(index, entry.hash()));
        let came = match (arrival, durable) {
            (Some(arrival), _) => {
                let from = &stage.names[arrival.from];
                let how = if arrival.is_answer { "answered" } else { "pushed" };
                format!("{how} by {from} at {:.6} s", seconds(arrival.at))
            }
            (None, Some(_)) => "written here".to_owned(),
            (None, None) => "never came".to_owned(),
        };
        let kept = match durable {
            Some(at) if holds => format!(", durable at {:.6} s", seconds(*at)),
            Some(at) => format!(", durable at {:.6} s, not on its disk any more", seconds(*at)),
            None if arrival.is_some() => ", never durable".to_owned(),
            None => String::new(),
        };
        out::line(format_args!("  {name:<16} {came}{kept}"))?;
    }
    Ok(())
}
