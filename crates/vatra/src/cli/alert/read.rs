//! `vatra alert list` and `show`.

use clap::Args;
use serde_json::{Value, json};
use vatra_model::schema::words::{AlertStatus, Sector, Severity};
use vatra_model::{MemberCode, RecordId};

use super::view;
use crate::cli::api::{Api, next_page, query};
use crate::cli::exit::Exit;
use crate::cli::fields::word;
use crate::cli::input;
use crate::cli::print::{self, Printer};
use crate::cli::status::text;
use crate::cli::target::Target;

/// Most alerts that one request asks for.
const PAGE_ITEMS_MAX: usize = 200;
/// Most characters of a title in a list.
const TITLE_CHARS_MAX: usize = 60;

/// Most characters of a change in a history.
const OPS_CHARS_MAX: usize = 240;

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only of this severity.
    #[arg(long, value_parser = word(Severity::ALL, Severity::as_str))]
    severity: Option<Severity>,
    /// Only of this sector.
    #[arg(long, value_parser = word(Sector::ALL, Sector::as_str))]
    sector: Option<Sector>,
    /// Only of this member.
    #[arg(long, value_name = "MEMBER")]
    owner: Option<MemberCode>,
    /// Only in this status.
    #[arg(long, value_parser = word(AlertStatus::ALL, AlertStatus::as_str))]
    status: Option<AlertStatus>,
    /// Only stored here after this position.
    #[arg(long, value_name = "POSITION")]
    since: Option<u64>,
    /// Only with this text in title or body.
    #[arg(long)]
    text: Option<String>,
    /// Only what matches, as min_severity=moderate or kind=outage; repeated filters must all match.
    #[arg(long = "filter", value_name = "NAME=VALUE", value_parser = input::filter)]
    filters: Vec<(String, String)>,
    /// Most alerts to list.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Go on after an earlier list, with the cursor that it ended on.
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Id of the alert.
    #[arg(value_parser = input::record_id)]
    id: RecordId,
    /// Show the alert's changes, who made them and when, instead.
    #[arg(long)]
    history: bool,
}

/// Lists alerts page by page until the limit.
pub(crate) fn list(args: &ListArgs, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let api = target.connect()?;
    let (items, next, total) = pages(args, &api)?;
    if out.is_json() {
        out.json(&json!({"items": items, "next": next, "total": total}))?;
        return Ok(Exit::Done);
    }
    let rows = items.iter().map(|alert| {
        let title = print::shortened(&text(alert, "title"), TITLE_CHARS_MAX);
        let issued = view::short_minutes(&text(alert, "issued_at"));
        vec![text(alert, "id"), text(alert, "owner"), text(alert, "severity"), text(alert, "status"), issued, title]
    });
    out.table(&["id", "owner", "severity", "status", "issued", "title"], rows.collect())?;
    let total = total.as_u64().filter(|total| *total >= items.len() as u64);
    let of_total = total.map_or_else(String::new, |total| format!(" of {total}"));
    print::note(&format!("{}{of_total} alerts", items.len()));
    if let Some(cursor) = next {
        print::note(&format!("more with --after {cursor}"));
    }
    Ok(Exit::Done)
}

/// Fetches pages until the limit or the end: items, the next cursor, the total. A search looks into so many alerts for
/// one page, which may find none and yet tell where to go on; its total is of those alone.
fn pages(args: &ListArgs, api: &Api) -> anyhow::Result<(Vec<Value>, Option<String>, Value)> {
    let limit = args.limit as usize;
    let mut items = Vec::new();
    let mut next = args.after.clone();
    let mut total = Value::Null;
    loop {
        let page_items = (limit - items.len()).min(PAGE_ITEMS_MAX);
        let mut parameters = vec![
            ("severity", args.severity.map(|word| word.to_string())),
            ("sector", args.sector.map(|word| word.to_string())),
            ("owner", args.owner.map(|owner| owner.to_string())),
            ("status", args.status.map(|word| word.to_string())),
            ("since", args.since.map(|position| position.to_string())),
            ("text", args.text.clone()),
            ("limit", Some(page_items.to_string())),
            ("cursor", next.clone()),
        ];
        parameters.extend(args.filters.iter().map(|(name, value)| (name.as_str(), Some(value.clone()))));
        let mut page = api.get(&format!("/api/v1/alerts{}", query(&parameters)))?;
        let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) else {
            return Err(api.unexpected("a list without items".to_owned()).into());
        };
        items.extend(found.into_iter().take(page_items));
        // Each goes on behind the one before, or this would never end.
        let has_gone_on = next_page(&page) != next;
        next = next_page(&page);
        total = page.get_mut("total").map_or(total, Value::take);
        if next.is_none() || !has_gone_on || items.len() >= limit {
            return Ok((items, next, total));
        }
    }
}

/// Shows one alert, or its history.
pub(crate) fn show(args: &ShowArgs, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let api = target.connect()?;
    let suffix = if args.history { "/history" } else { "" };
    let answer = api.get(&format!("/api/v1/alerts/{}{suffix}", args.id))?;
    if out.is_json() {
        out.json(&answer)?;
    } else if args.history {
        out.table(&["at", "member", "section", "change"], history_rows(&answer))?;
    } else {
        view::print(&answer, out)?;
    }
    Ok(Exit::Done)
}

fn history_rows(answer: &Value) -> Vec<Vec<String>> {
    let items = answer.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let row = |item: &Value| {
        let ops = item.get("ops").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let ops: Vec<String> = ops.iter().map(op).collect();
        let what = print::shortened(&ops.join("; "), OPS_CHARS_MAX);
        vec![view::minutes(&text(item, "at")), text(item, "member"), text(item, "section"), what]
    };
    items.iter().map(row).collect()
}

/// One op of a change: `set title = x`, `add countries UA`, `remove countries UA`.
fn op(op: &Value) -> String {
    let field = text(op, "field");
    match text(op, "op").as_str() {
        "set" => format!("set {field} = {}", text(op, "value")),
        verb @ ("add" | "remove") => format!("{verb} {field} {}", text(op, "key")),
        _ => "something that this version does not know".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_says_who_changed_what() {
        let item = json!({"at": "2026-11-24T02:30:00.000Z", "member": "LT", "section": "response(LT)", "ops": [
            {"op": "set", "field": "note", "value": "n"}, {"op": "add", "field": "advisories", "key": "u", "value": {}},
            {"op": "remove", "field": "advisories", "key": "v"}, {"op": "unknown"}]});
        let ops = "set note = n; add advisories u; remove advisories v; something that this version does not know";
        let expected = ["2026-11-24 02:30", "LT", "response(LT)", ops].map(str::to_owned).to_vec();
        assert_eq!(history_rows(&json!({"items": [item]})), [expected]);
    }
}
