//! Words: `list` and `explain`.

use serde_json::json;

use crate::scenario::command::{Explain, List, out};
use crate::scenario::explain;
use crate::scenario::format::Scenario;
use crate::scenario::library::{LIBRARY, load};

/// Lists the scenarios that come with the program.
pub(super) fn list(order: &List) -> anyhow::Result<u8> {
    for (name, text) in LIBRARY {
        let scenario = Scenario::read(name, text)?;
        if order.json {
            out::line(json!({ "name": name, "why": scenario.why }))?;
        } else {
            out::line(format_args!("{name:<18} {}", scenario.why))?;
        }
    }
    Ok(0)
}

/// Explains something.
pub(super) fn explain(order: &Explain) -> anyhow::Result<u8> {
    let Some(word) = &order.word else {
        out::text(explain::words())?;
        return Ok(0);
    };
    if let Some(text) = explain::word(word) {
        out::text(text)?;
        return Ok(0);
    }
    match load(word) {
        Ok(loaded) => out::text(explain::scenario(&loaded.scenario))?,
        Err(error) if std::path::Path::new(word).exists() => return Err(error.into()),
        Err(_) => anyhow::bail!("\"{word}\" is nothing that is known here; `vatra-chaos sim explain` lists all words"),
    }
    Ok(0)
}
