//! Imports files and tells what became of them; nothing is sent anywhere.
//!
//! ```text
//! cargo run -p vatra-formats --example try_files -- [--unlabelled clear|green] FILE...
//! ```

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use vatra_formats::{ImportDefaults, detect, import};

#[expect(clippy::disallowed_methods, reason = "a tool for developers, not part of the library")]
fn main() -> Result<()> {
    let mut defaults = ImportDefaults::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--unlabelled" {
            defaults.unlabelled_tlp = Some(arguments.next().context("--unlabelled needs a label")?.parse()?);
            continue;
        }
        let bytes = std::fs::read(&argument).with_context(|| format!("cannot read {argument}"))?;
        let Some(format) = detect(&bytes, &argument) else {
            println!("{argument}: of no known format");
            continue;
        };
        let (mut alerts, mut indicators, mut largest) = (0, 0, 0);
        let mut problems: BTreeMap<String, usize> = BTreeMap::new();
        for imported in import(&bytes, format, &defaults) {
            match imported.result {
                Ok(draft) => {
                    alerts += 1;
                    indicators += draft.indicators.len();
                    largest = largest.max(draft.body.as_ref().map_or(0, String::len));
                }
                Err(problem) => *problems.entry(problem.to_string()).or_default() += 1,
            }
        }
        println!("{argument}: {format}, {alerts} alerts, {indicators} indicators, longest body {largest}");
        for (problem, count) in problems {
            println!("    {count} x {problem}");
        }
    }
    Ok(())
}
