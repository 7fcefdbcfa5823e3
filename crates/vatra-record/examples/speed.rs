//! How long a record's steps take on this machine: `cargo run --release -p vatra-record --example speed`.

use std::hint::black_box;
use std::time::Duration;

use vatra_model::change::{Change, Edit, Op, Value, record_id};
use vatra_model::draft::AlertDraft;
use vatra_model::view::Digest;
use vatra_model::{ChangeId, Hlc, MemberCode, NodeKey, SectionId, WallMs};
use vatra_record::{AuthoredChange, Record, view_of_create};

const TYPICAL: &str = r#"{"kind":"vulnerability","title":"Example Product path traversal","severity":"severe",
"sectors":["energy","government"],"tlp":"clear","class":"bulk","lang":"en",
"body":"Example Product contains a path traversal that allows an unauthenticated attacker to read files on the server and, with a crafted request, to write them. Known to be used in attacks since the beginning of the month.",
"instruction":"Apply the update of the vendor or disconnect the product until it is available.",
"certainty":"observed","vulnerabilities":["CVE-2026-12345"],
"references":[{"source":"KEV","url":"https://kev.example/CVE-2026-12345","id":"CVE-2026-12345"}],
"external_id":"kev:CVE-2026-12345"}"#;

#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "an example that measures reads the clock")]
fn measure(name: &str, rounds: u32, mut step: impl FnMut()) {
    for _ in 0..rounds / 10 {
        step();
    }
    let start = std::time::Instant::now();
    for _ in 0..rounds {
        step();
    }
    let each: Duration = start.elapsed() / rounds;
    println!("{name:<46} {:>9.2} us {:>11.0}/s", each.as_secs_f64() * 1e6, 1.0 / each.as_secs_f64());
}

fn main() {
    let owner: MemberCode = "UA".parse().expect("a member code");
    let draft = AlertDraft::from_json(TYPICAL.as_bytes()).expect("valid");
    let create = draft.clone().into_create(owner, [7; 16]).expect("fits");
    let record = record_id(owner, &create);
    let (id, hlc) = (ChangeId([1; 16]), Hlc::new(WallMs(1_800_000_000_000), 0));
    let change = Change::Create(create.clone());
    let cbor = change.encode();
    let view = view_of_create(record, id, owner, hlc, &create).expect("an alert");
    let json = view.canonical_bytes();
    println!("JSON in {} B, change {} B, view {} B", TYPICAL.len(), cbor.len(), json.len());

    measure("read and check a draft", 50_000, || {
        black_box(AlertDraft::from_json(black_box(TYPICAL.as_bytes())).expect("valid"));
    });
    measure("draft to encoded create and record id", 50_000, || {
        let create = draft.clone().into_create(owner, [7; 16]).expect("fits");
        black_box(record_id(owner, &create));
        black_box(Change::Create(create).encode());
    });
    measure("decode a change", 50_000, || {
        black_box(Change::decode(black_box(&cbor)).expect("decodes"));
    });
    measure("view of a create", 50_000, || {
        black_box(view_of_create(record, id, owner, hlc, black_box(&create)));
    });
    measure("canonical bytes", 50_000, || {
        black_box(black_box(&view).canonical_bytes());
    });
    measure("digest item of canonical bytes", 50_000, || {
        black_box(Digest::item(record, black_box(&json)));
    });
    measure("view of a create + bytes + item", 50_000, || {
        let view = view_of_create(record, id, owner, hlc, black_box(&create)).expect("an alert");
        black_box(Digest::item(record, &view.canonical_bytes()));
    });
    documents(record, &change);
}

/// The slow way: records that were edited.
fn documents(record: vatra_model::RecordId, create: &Change) {
    fn authored(n: u64, change: &Change) -> AuthoredChange<'_> {
        let mut id = [1; 16];
        id[8..].copy_from_slice(&n.to_be_bytes());
        let author = "UA".parse().expect("a member code");
        let hlc = Hlc::new(WallMs(1_800_000_000_000 + n), 0);
        AuthoredChange { id: ChangeId(id), author, origin: NodeKey([1; 32]), hlc, change }
    }
    let edit = |deps: Vec<ChangeId>, n: u64| {
        let op = Op::Set { field: "title".into(), value: Value::Text(format!("Title {n}")) };
        Change::Edit(Edit { record, section: SectionId::Core, deps, ops: vec![op] })
    };
    measure("record from one create", 2_000, || {
        black_box(Record::from_changes(record, [authored(0, create)]));
    });
    for edits in [1, 50, 500] {
        let mut built = Record::from_changes(record, [authored(0, create)]);
        for n in 1..edits {
            let change = edit(built.heads(SectionId::Core), n);
            built.apply(authored(n, &change));
        }
        let saved = built.save();
        let next = edit(built.heads(SectionId::Core), edits);
        let aside = edit(vec![authored(0, create).id], edits);
        println!("with {edits} changes: saved {} B", saved.len());
        let rounds = if edits > 100 { 300 } else { 2_000 };
        measure("  load", rounds, || {
            black_box(Record::load(&saved).expect("loads"));
        });
        measure("  apply an edit", rounds, || {
            black_box(built.clone().apply(authored(edits, &next)));
        });
        measure("  apply a concurrent edit", rounds, || {
            black_box(built.clone().apply(authored(edits, &aside)));
        });
        measure("  view", rounds, || {
            black_box(built.view());
        });
        measure("  save", rounds, || {
            black_box(built.save());
        });
        measure("  load + apply + view + save", rounds, || {
            let mut loaded = Record::load(&saved).expect("loads");
            loaded.apply(authored(edits, &next));
            black_box((loaded.view(), loaded.save()));
        });
    }
}
