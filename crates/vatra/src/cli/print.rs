//! What people see: tables of at most 100 columns, colour only on a terminal, JSON on request.
//!
//! Texts come from other countries' nodes: control characters and direction overrides are made
//! visible before they reach a terminal, where they could rewrite what was printed.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use serde::Serialize;

/// Widest table, in columns.
const COLUMNS_MAX: u16 = 100;

/// Most characters of a table's first column.
const FIRST_CHARS_MAX: usize = 40;

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const GREEN: Style = AnsiColor::Green.on_default();
const BOLD: Style = Style::new().bold();

/// Standard output, as the options want it.
#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
}

impl Printer {
    /// A printer of tables or of JSON.
    pub(crate) fn new(json: bool) -> Printer {
        Printer { json }
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints one line of text, colour removed where no terminal reads.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(anstream::stdout().lock(), "{text}")
    }

    /// Prints a value as one JSON document.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
        writeln!(out)
    }

    /// Prints a value as one line of JSON.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
        writeln!(out)?;
        out.flush()
    }

    /// Prints a table under its headings.
    pub(crate) fn table(&mut self, headings: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
        let text = table(headings, rows);
        self.line(&text)
    }

    /// Prints bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }
}

fn table(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .force_no_tty()
        .set_width(COLUMNS_MAX)
        .set_header(headings.iter().map(|heading| heading.to_uppercase()));
    for mut row in rows {
        // The first column is what people copy: an id or a name, never broken over lines.
        if let Some(first) = row.first_mut() {
            *first = shortened(first, FIRST_CHARS_MAX);
        }
        table.add_row(row.into_iter().map(|cell| clean(&cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    if let Some(first) = table.column_mut(0) {
        first.set_constraint(ColumnConstraint::ContentWidth);
    }
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

/// Prints an error to standard error.
pub(crate) fn error(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{RED}error:{RED:#} {}", clean(text));
}

/// Prints a warning to standard error.
pub(crate) fn warning(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{YELLOW}warning:{YELLOW:#} {}", clean(text));
}

/// Prints what to do next to standard error.
pub(crate) fn hint(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{BOLD}hint:{BOLD:#} {}", clean(text));
}

/// Prints progress or a remark to standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{}", clean(text));
}

/// Whether a person watches standard error.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// A text in the colour of a severity.
pub(crate) fn severity(name: &str, text: &str) -> String {
    let style = match name {
        "extreme" | "severe" => RED,
        "moderate" => YELLOW,
        _ => Style::new(),
    };
    format!("{style}{text}{style:#}")
}

/// A text in the colour of a state: green when it is as it should be, else red.
pub(crate) fn health(is_good: bool, text: &str) -> String {
    let style = if is_good { GREEN } else { RED };
    format!("{style}{text}{style:#}")
}

/// A text in the colour of a finding's severity.
pub(crate) fn gravity(name: &str, text: &str) -> String {
    let style = match name {
        "critical" => RED,
        "warning" => YELLOW,
        _ => Style::new(),
    };
    format!("{style}{text}{style:#}")
}

/// A text in bold.
pub(crate) fn bold(text: &str) -> String {
    format!("{BOLD}{text}{BOLD:#}")
}

/// A text without what could drive a terminal: controls (but line ends and tabs) and direction
/// overrides become visible escapes.
pub(crate) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => cleaned.push(character),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => cleaned.extend(character.escape_unicode()),
            character if character.is_control() => cleaned.extend(character.escape_unicode()),
            character => cleaned.push(character),
        }
    }
    cleaned
}

/// Breaks a text into lines at spaces; a longer word has a line of its own.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is a first line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// A text on one line of at most `chars_max` characters.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    let flat = text.replace(['\n', '\t', '\r'], " ");
    if flat.chars().count() <= chars_max {
        return flat;
    }
    let mut cut: String = flat.chars().take(chars_max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_drives_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\u{9b}c\u{202e}d\ne\rf"), "a\\u{1b}[2Jb\\u{9b}c\\u{202e}d\ne\\u{d}f");
    }

    #[test]
    fn tables_fit_a_hundred_columns() {
        let long = "word ".repeat(60);
        let unbroken = "x".repeat(300);
        let text = table(&["id", "title", "body"], vec![vec!["1".into(), long, unbroken]]);
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(COLUMNS_MAX)), "{text}");
        assert!(text.starts_with("ID"), "{text}");
        let id = "ab".repeat(16);
        let text = table(&["id", "title"], vec![vec![id.clone(), "word ".repeat(60)]]);
        assert!(text.contains(&id), "{text}");
    }

    #[test]
    fn long_texts_are_cut_by_characters() {
        assert_eq!(shortened("їжак і кіт", 6), "їжак …");
        assert_eq!(shortened("a\nb", 6), "a b");
    }
}
