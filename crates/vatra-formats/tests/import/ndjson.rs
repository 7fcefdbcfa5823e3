//! Our own alerts, line by line.

use vatra_formats::import::LINE_BYTES_MAX;
use vatra_formats::{Format, ImportDefaults, Place};
use vatra_model::Class;

use crate::{all, drafts, problems};

const SMALLEST: &str = r#"{"kind":"outage","title":"Power","severity":"severe","sectors":["energy"],"tlp":"clear"}"#;

fn nothing() -> ImportDefaults {
    ImportDefaults::default()
}

#[test]
fn half_broken_files_give_their_good_lines_and_the_numbers_of_the_bad() {
    let amber = SMALLEST.replace("clear", "amber");
    let typo = SMALLEST.replace("title", "titel");
    let exercise = SMALLEST.replace("\"tlp\"", "\"exercise\":{\"exercise_id\":\"x\"},\"tlp\"");
    let file = format!(
        "\u{feff}{SMALLEST}\n\n{{\"kind\":\n{amber}\n{typo}\r\n{exercise}\n{SMALLEST}\n{}",
        SMALLEST.replace("Power", "Water")
    );
    let mut file = file.into_bytes();
    file.extend(b"\n\"\xff\xfe\"");
    let found = problems(&file, Format::Ndjson, &nothing());
    let lines: Vec<usize> = found
        .iter()
        .map(|(place, _)| match place {
            Place::Line(number) => *number,
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(lines, [3, 4, 5, 6, 7, 9]);
    for ((_, problem), part) in found.iter().zip([
        "is not JSON",
        "tlp: needs an explicit audience, which this version cannot seal yet",
        "titel: is not a known field",
        "exercise: names an exercise",
        "stands at line 1 already",
        "is not UTF-8 from byte 2 of the line on",
    ]) {
        assert!(problem.contains(part), "{problem:?} lacks {part:?}");
    }
    let good: Vec<Place> =
        all(&file, Format::Ndjson, &nothing()).into_iter().filter(|i| i.result.is_ok()).map(|i| i.place).collect();
    assert_eq!(good, [Place::Line(1), Place::Line(8)]);
}

#[test]
fn ids_are_kept_or_derived_from_the_line() {
    let given = SMALLEST.replace("{\"kind\"", "{\"external_id\":\"ours:1\",\"kind\"");
    let drafts = drafts(format!("{given}\n  {SMALLEST} \n").as_bytes(), Format::Ndjson, &nothing());
    assert_eq!(drafts[0].external_id.as_deref(), Some("ours:1"));
    // SHA-256 of the line without the blanks around it: the golden value keeps imports idempotent across versions.
    assert_eq!(drafts[1].external_id.as_deref(), Some("line:bff9a603bc5165510d5fc5568b9c0921"));
}

#[test]
fn defaults_fill_what_a_line_leaves_open() {
    let own = SMALLEST.replace("\"tlp\"", "\"class\":\"routine\",\"tlp\"");
    let file = format!("{SMALLEST}\n{own}");
    let classes = |defaults: &ImportDefaults| -> Vec<Class> {
        drafts(file.as_bytes(), Format::Ndjson, defaults).iter().map(|draft| draft.class()).collect()
    };
    assert_eq!(classes(&nothing()), [Class::Flash, Class::Routine]);
    let writers = vec!["UA".parse().expect("a code"), "LT".parse().expect("a code")];
    let defaults = ImportDefaults { class: Some(Class::Bulk), writers: writers.clone(), ..nothing() };
    assert_eq!(classes(&defaults), [Class::Bulk, Class::Routine]);
    assert_eq!(drafts(file.as_bytes(), Format::Ndjson, &defaults)[0].writers, writers);
}

#[test]
fn long_and_deep_lines_are_refused() {
    let long = format!("{{\"title\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    let found = problems(format!("{long}\n{deep}\n").as_bytes(), Format::Ndjson, &nothing());
    assert!(found[0].1.ends_with("the limit is 1048576"), "{}", found[0].1);
    assert_eq!(found[1].1, "nests deeper than 64 levels");
}

#[test]
fn problems_are_short_and_safe_to_print() {
    let key = format!("{{\"{}\u{9b}\":1}}", "k".repeat(100_000));
    for (_, problem) in problems(key.as_bytes(), Format::Ndjson, &nothing()) {
        assert!(problem.len() < 2000 && !problem.chars().any(char::is_control), "{problem:?}");
    }
}

#[test]
fn an_empty_file_has_nothing_to_import() {
    assert_eq!(all(b"\n \r\n", Format::Ndjson, &nothing()), []);
}
