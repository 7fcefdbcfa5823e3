//! Rules about the source itself.

/// Every source file of this crate but `document.rs`.
const SOURCES: &[(&str, &str)] = &[
    ("authority", include_str!("../../src/authority.rs")),
    ("graph", include_str!("../../src/graph.rs")),
    ("history", include_str!("../../src/history.rs")),
    ("meaning", include_str!("../../src/meaning.rs")),
    ("project", include_str!("../../src/project.rs")),
    ("record", include_str!("../../src/record.rs")),
    ("saved", include_str!("../../src/saved.rs")),
    ("section", include_str!("../../src/section.rs")),
    ("unedited", include_str!("../../src/unedited.rs")),
];

/// Automerge parses nothing but what this node saved: its name stands in one file, that file parses in one
/// function, and only the reader of saved records calls it.
#[test]
fn no_bytes_of_peers_reach_automerge() {
    let document = include_str!("../../src/document.rs");
    let parsers = ["load", "load_with", "load_incremental", "load_unverified_heads", "from_bytes", "import", "rescue"];
    let calls: Vec<&str> = parsers
        .iter()
        .filter(|name| document.contains(&format!("::{name}(")) || document.contains(&format!(".{name}(")))
        .copied()
        .collect();
    assert_eq!(calls, ["load_unverified_heads"]);
    for (name, source) in SOURCES {
        assert!(!source.contains("automerge::"), "{name}.rs names automerge");
        assert_eq!(source.contains("Document::load("), *name == "saved", "{name}.rs");
    }
}
