//! Foreign text made fit for an alert: control characters, length, and words for problems.

use std::borrow::Cow;

/// Stands where a text was shortened.
pub(crate) const CUT: &str = "[cut]";

/// Characters of foreign text that a problem repeats.
const SHOWN_CHARS_MAX: usize = 80;

/// The text on one line: line breaks, control characters and runs of white space become single spaces.
/// At most `chars_max` characters, the last one an ellipsis when more was there.
pub(crate) fn line(text: &str, chars_max: usize) -> Line {
    let mut out = String::new();
    let mut chars = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        let gap = usize::from(chars > 0);
        if gap == 1 {
            out.push(' ');
        }
        chars += gap;
        for c in word.chars() {
            if chars == chars_max {
                return Line { text: shortened(&out, chars_max), whole: false };
            }
            out.push(c);
            chars += 1;
        }
    }
    Line { text: out, whole: true }
}

/// A text made to fit on one line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The line.
    pub(crate) text: String,
    /// Whether nothing was left out.
    pub(crate) whole: bool,
}

fn shortened(text: &str, chars_max: usize) -> String {
    let kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// The text with control characters other than line breaks and tabs made visible as U+FFFD.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    let odd = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if text.contains(odd) { Cow::Owned(text.replace(odd, "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// Appends a paragraph.
pub(crate) fn paragraph(body: &mut String, text: &str) {
    let text = text.trim();
    if text.is_empty() {
        return;
    }
    if !body.is_empty() {
        body.push_str("\n\n");
    }
    body.push_str(&clean(text));
}

/// The text with at most `bytes_max` bytes; what is cut off is replaced by a mark that says so.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text;
    }
    let mark = format!("\n{CUT}");
    let mut end = bytes_max.saturating_sub(mark.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(&mark);
    text
}

/// Foreign text as a problem repeats it: short, one line, control characters escaped.
pub(crate) fn shown(text: &str) -> String {
    let head: String = text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() { format!("{head}…") } else { head }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_breaks_and_say_when_they_are_cut() {
        assert_eq!(line(" a\n\tb\u{0}c  d ", 10), Line { text: "a b c d".into(), whole: true });
        assert_eq!(line("абвгд", 5), Line { text: "абвгд".into(), whole: true });
        assert_eq!(line("абвгде", 5), Line { text: "абвг…".into(), whole: false });
        assert_eq!(line("ab cd", 3), Line { text: "ab…".into(), whole: false });
        assert_eq!(line("\n", 5), Line { text: String::new(), whole: true });
    }

    #[test]
    fn cuts_fall_between_characters_and_are_marked() {
        assert_eq!(cut("їжак".into(), 8), "їжак");
        let text = cut("ї".repeat(100), 21);
        assert_eq!(text, format!("{}\n[cut]", "ї".repeat(7)));
    }

    #[test]
    fn problems_never_carry_terminal_commands() {
        assert_eq!(shown("a\u{1b}[2Jї\n"), "a\\u{1b}[2Jї\\n");
        assert_eq!(shown(&"x".repeat(90)).chars().count(), 81);
    }
}
