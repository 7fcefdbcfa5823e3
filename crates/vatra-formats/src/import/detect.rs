//! Guessing the format of a file from its head and name.

use crate::import::Format;

/// Bytes of a file's head that [`detect`] looks at.
pub const DETECT_HEAD_BYTES: usize = 64 * 1024;

/// The format of a file that begins with `head` and is called `name`; `None` when it is none of ours.
///
/// The keys of the outermost object decide (of the first element, if the file is a list). The name decides
/// only for `.ndjson` and `.jsonl`.
#[must_use]
pub fn detect(head: &[u8], name: &str) -> Option<Format> {
    let head = &head[..head.len().min(DETECT_HEAD_BYTES)];
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let lower = name.to_ascii_lowercase();
    if lower.ends_with(".ndjson") || lower.ends_with(".jsonl") {
        return Some(Format::Ndjson);
    }
    let outline = Outline::of(head)?;
    let has = |key: &str| outline.keys.iter().any(|(known, _)| known == key);
    let says = |key: &str, value: &str| outline.keys.iter().any(|(k, v)| k == key && v.as_deref() == Some(value));
    let event = has("Event") || has("Attribute") || has("Orgc") || has("threat_level_id");
    match outline.is_list {
        true if event => Some(Format::Misp),
        true => None,
        false if says("type", "bundle") || (has("objects") && has("spec_version")) => Some(Format::Stix),
        false if has("catalogVersion") || (has("dateReleased") && has("count")) => Some(Format::Kev),
        false if event || has("response") => Some(Format::Misp),
        false if has("severity") || has("tlp") || has("sectors") || (has("kind") && has("title")) => {
            Some(Format::Ndjson)
        }
        false => None,
    }
}

/// The keys of the outermost object, with those values that are strings.
struct Outline {
    is_list: bool,
    keys: Vec<(String, Option<String>)>,
}

impl Outline {
    /// Reads as much as there is; the head may end anywhere.
    fn of(head: &[u8]) -> Option<Outline> {
        let is_list = match head.first()? {
            b'{' => false,
            b'[' => true,
            _ => return None,
        };
        let wanted_depth = 1 + usize::from(is_list);
        let mut outline = Outline { is_list, keys: Vec::new() };
        let (mut depth, mut at) = (0_usize, 0);
        while let Some(&byte) = head.get(at) {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    if depth < wanted_depth && !outline.keys.is_empty() {
                        break;
                    }
                }
                b'"' => {
                    let end = string_end(head, at + 1);
                    if depth == wanted_depth {
                        outline.note(&head[at + 1..end.min(head.len())], head.get(end + 1..).unwrap_or_default());
                    }
                    at = end;
                }
                _ => {}
            }
            at += 1;
        }
        Some(outline)
    }

    /// A string is a key when a colon follows, else the value of the last key.
    fn note(&mut self, string: &[u8], rest: &[u8]) {
        let text = String::from_utf8_lossy(string).into_owned();
        if rest.trim_ascii_start().first() == Some(&b':') {
            self.keys.push((text, None));
        } else if let Some((_, value)) = self.keys.last_mut() {
            value.get_or_insert(text);
        }
    }
}

/// Where the string that begins at `at` has its closing quote, or the end of the head.
fn string_end(head: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = head.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    head.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_keys() {
        let cases: [(&str, &str, Option<Format>); 13] = [
            (r#"{"kind":"threat","title":"x","sev"#, "a.json", Some(Format::Ndjson)),
            ("whatever", "alerts.NDJSON", Some(Format::Ndjson)),
            (r#"{ "title": "t", "catalogVersion": "1", "vulner"#, "", Some(Format::Kev)),
            (r#"{"Event": {"id": 1}}"#, "", Some(Format::Misp)),
            (r#"[ {"Event": {"id": 1}}, "#, "", Some(Format::Misp)),
            (r#"{"response": ["#, "", Some(Format::Misp)),
            (r#"{"Attribute": [{"severity": "#, "", Some(Format::Misp)),
            (r#"{"id": "bundle--1", "type" : "bundle", "#, "", Some(Format::Stix)),
            (r#"{"document":{"tlp":1},"vulnerabilities":[]}"#, "csaf.json", None),
            (r#"{"a\"kind":"title","b":["kind","severity"]}"#, "", None),
            ("[1,2]", "", None),
            ("<alert/>", "", None),
            ("", "", None),
        ];
        for (head, name, format) in cases {
            assert_eq!(detect(head.as_bytes(), name), format, "{head} {name}");
        }
        assert_eq!(detect(b"\xef\xbb\xbf{\"Event\":", ""), Some(Format::Misp));
        assert_eq!(detect(b"{\"\\", ""), None);
    }
}
