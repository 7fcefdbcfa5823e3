//! `vatra contact`: this member's roster, and the rosters of the others.

mod fields;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use ureq::http::Method;
use vatra_model::{MemberCode, RecordId};

use self::fields::ContactFields;
use super::api::{next_page, query};
use super::exit::{Exit, usage};
use super::input;
use super::print::{self, Printer};
use super::status::{flat, text};
use super::target::Target;

/// Most contacts that one request asks for.
const PAGE_ITEMS_MAX: usize = 200;
/// Most contacts of one listing.
const LIST_ITEMS_MAX: usize = 100_000;

#[derive(Debug, Subcommand)]
pub(crate) enum ContactCommand {
    /// Add a contact to this member's roster.
    Add(AddArgs),
    /// List contacts, of all members or of one.
    List(ListArgs),
    /// Show one contact.
    Show(IdArgs),
    /// Change fields of a contact.
    Update(UpdateArgs),
    /// Remove a contact: it has left.
    Remove(IdArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Take the contact from a JSON file, or from standard input with `-`; options override its fields.
    #[arg(long, value_name = "FILE|-")]
    file: Option<PathBuf>,
    /// Id of the contact where it comes from: adding it twice makes one contact.
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    #[command(flatten)]
    fields: ContactFields,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only the roster of this member.
    #[arg(long, value_name = "MEMBER")]
    member: Option<MemberCode>,
}

#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// Id of the contact.
    #[arg(value_parser = input::record_id)]
    id: RecordId,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Id of the contact.
    #[arg(value_parser = input::record_id)]
    id: RecordId,
    /// Take the changed fields from a JSON file, or from standard input with `-`.
    #[arg(long, value_name = "FILE|-")]
    file: Option<PathBuf>,
    /// Clear a field.
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    clear: Vec<String>,
    /// Add one element to a list field; a VALUE that starts with { is JSON.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = input::pair)]
    add: Vec<(String, Value)>,
    /// Remove one element from a list field by its key: its value, or its id, URL or number.
    #[arg(long, value_name = "FIELD=KEY", value_parser = input::field_key)]
    remove: Vec<(String, String)>,
    #[command(flatten)]
    fields: ContactFields,
}

/// Runs a contact command.
pub(crate) fn run(command: ContactCommand, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    match command {
        ContactCommand::Add(args) => add(&args, target, out),
        ContactCommand::List(args) => list(&args, target, out),
        ContactCommand::Show(args) => show(args.id, target, out),
        ContactCommand::Update(args) => update(&args, target, out),
        ContactCommand::Remove(args) => remove(args.id, target, out),
    }
}

fn add(args: &AddArgs, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let mut contact = read_base(args.file.as_ref())?;
    contact.extend(args.fields.to_json());
    if let Some(id) = &args.external_id {
        contact.insert("external_id".to_owned(), json!(id));
    }
    if contact.is_empty() {
        return Err(usage("give at least --name, or --file"));
    }
    // A repeat by anything between here and the node makes no second contact.
    let key = uuid::Uuid::new_v4().to_string();
    let headers = [("idempotency-key", key.as_str())];
    let answer = target.connect()?.send(Method::POST, "/api/v1/contacts", Some(&Value::Object(contact)), &headers)?;
    let id = answer.body.get("id").and_then(Value::as_str).unwrap_or("?");
    let is_new = answer.body.get("created").and_then(Value::as_bool).unwrap_or(answer.status == 201);
    tell(&answer.body, &if is_new { format!("added {id}") } else { format!("already there: {id}") }, out)
}

fn list(args: &ListArgs, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let api = target.connect()?;
    let path = match args.member {
        Some(member) => format!("/api/v1/roster/{member}"),
        None => "/api/v1/contacts".to_owned(),
    };
    let mut items: Vec<Value> = Vec::new();
    let mut cursor = None;
    loop {
        let parameters = query(&[("limit", Some(PAGE_ITEMS_MAX.to_string())), ("cursor", cursor)]);
        let mut page = api.get(&format!("{path}{parameters}"))?;
        let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) else {
            return Err(api.unexpected("a list without items".to_owned()).into());
        };
        let is_empty = found.is_empty();
        items.extend(found);
        cursor = next_page(&page);
        if cursor.is_none() || is_empty || items.len() >= LIST_ITEMS_MAX {
            break;
        }
    }
    if out.is_json() {
        out.json(&json!({"items": items, "next": cursor, "total": items.len()}))?;
        return Ok(Exit::Done);
    }
    out.table(&["id", "owner", "name", "role", "phones", "e-mails"], items.iter().map(row).collect())?;
    print::note(&format!("{} contacts", items.len()));
    Ok(Exit::Done)
}

fn row(contact: &Value) -> Vec<String> {
    let elements = |field: &str, part: &str| {
        let items = contact.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        items.iter().map(|item| text(item, part)).collect::<Vec<_>>().join(", ")
    };
    vec![
        text(contact, "id"),
        text(contact, "owner"),
        print::shortened(&text(contact, "name"), 30),
        text(contact, "role"),
        elements("phones", "number"),
        elements("emails", "address"),
    ]
}

fn show(id: RecordId, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let contact = target.connect()?.get(&format!("/api/v1/contacts/{id}"))?;
    if out.is_json() {
        out.json(&contact)?;
        return Ok(Exit::Done);
    }
    out.line(&print::bold(&print::clean(&text(&contact, "name"))))?;
    for (name, value) in contact.as_object().into_iter().flatten() {
        if name == "name" || value.is_null() || value.as_array().is_some_and(Vec::is_empty) {
            continue;
        }
        let value = match value {
            Value::Array(items) => items.iter().map(flat).collect::<Vec<_>>().join("; "),
            value => flat(value),
        };
        out.line(&format!("  {name:<16}{}", print::clean(&value)))?;
    }
    Ok(Exit::Done)
}

fn update(args: &UpdateArgs, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let mut fields = read_base(args.file.as_ref())?;
    fields.extend(args.fields.to_json());
    let patch = input::patch(fields, &args.clear, &args.add, &args.remove)?;
    let path = format!("/api/v1/contacts/{}", args.id);
    let answer = target.connect()?.send(Method::PATCH, &path, Some(&Value::Object(patch)), &[])?;
    tell(&answer.body, &format!("updated {}", args.id), out)
}

fn remove(id: RecordId, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let answer = target.connect()?.send(Method::DELETE, &format!("/api/v1/contacts/{id}"), None, &[])?;
    tell(&answer.body, &format!("removed {id}"), out)
}

fn read_base(file: Option<&PathBuf>) -> anyhow::Result<Map<String, Value>> {
    file.map_or_else(|| Ok(Map::new()), |path| input::read_object(path))
}

fn tell(answer: &Value, done: &str, out: &mut Printer) -> anyhow::Result<Exit> {
    if out.is_json() {
        out.json(answer)?
    } else {
        out.line(&print::clean(done))?
    }
    Ok(Exit::Done)
}
