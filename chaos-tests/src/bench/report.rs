//! The table on the terminal and the JSON file.

use std::fs;
use std::path::Path;

use anyhow::Context;
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::figure::Target;
use super::machine::Machine;
use super::{Order, Values};

/// Prints every figure beside its targets.
pub(super) fn print(values: &Values) {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(["scenario", "figure", "median", "unit", "spread", "must", "aim"]);
    for (figure, runs) in values {
        let about = figure.describe();
        let [low, median, high] = spread(runs);
        let spread = if runs.len() > 1 { format!("{} .. {}", number(low), number(high)) } else { String::new() };
        table.add_row(vec![
            Cell::new(about.scenario),
            Cell::new(about.what),
            Cell::new(number(median)).set_alignment(CellAlignment::Right),
            Cell::new(about.unit),
            Cell::new(spread),
            Cell::new(verdict(about.must, median)),
            Cell::new(verdict(about.aim, median)),
        ]);
    }
    println!("{table}");
}

/// Writes the figures with everything that is needed to read them later.
pub(super) fn write(path: &Path, order: &Order, machine: &Machine, values: &Values) -> anyhow::Result<()> {
    let figures: Vec<Value> = values
        .iter()
        .map(|(figure, runs)| {
            let about = figure.describe();
            let [low, median, high] = spread(runs);
            json!({
                "scenario": about.scenario, "figure": about.what, "unit": about.unit,
                "median": median, "min": low, "max": high, "runs": runs,
                "must": target(about.must, median), "aim": target(about.aim, median),
            })
        })
        .collect();
    let report = json!({
        "machine": machine,
        "alerts": order.alerts,
        "runs": order.runs,
        "figures": figures,
    });
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    let text = serde_json::to_string_pretty(&report)? + "\n";
    fs::write(path, text).with_context(|| path.display().to_string())
}

fn verdict(target: Option<Target>, value: f64) -> String {
    match target {
        None => String::new(),
        Some(target) if target.is_met(value) => format!("{} met", target.show()),
        Some(target) => format!("{} MISSED", target.show()),
    }
}

fn target(target: Option<Target>, value: f64) -> Value {
    target.map_or(Value::Null, |target| {
        json!({"bound": target.bound(), "is_minimum": matches!(target, Target::AtLeast(_)), "met": target.is_met(value)})
    })
}

/// Lowest, median and highest value.
fn spread(runs: &[f64]) -> [f64; 3] {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median =
        if sorted.len().is_multiple_of(2) { (sorted[middle - 1] + sorted[middle]) / 2.0 } else { sorted[middle] };
    [sorted[0], median, sorted[sorted.len() - 1]]
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_a_few_runs() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), [1.0, 2.0, 3.0]);
        assert_eq!(spread(&[4.0, 1.0]), [1.0, 2.5, 4.0]);
        assert_eq!(spread(&[7.0]), [7.0, 7.0, 7.0]);
    }

    #[test]
    fn a_missed_target_is_told() {
        assert_eq!(verdict(Some(Target::AtMost(1.0)), 1.5), "<= 1 MISSED");
        assert_eq!(verdict(Some(Target::AtLeast(1.0)), 1.5), ">= 1 met");
        assert_eq!(verdict(None, 1.0), "");
    }
}
