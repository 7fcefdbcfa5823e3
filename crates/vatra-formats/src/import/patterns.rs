//! STIX patterns of MISP attributes, and kind and value of the simple STIX patterns.
//!
//! Only types whose meaning is one comparison, or one obvious conjunction, get a pattern; the shapes follow
//! misp-stix so that both say the same.

use core::net::{Ipv4Addr, Ipv6Addr};

/// Whether a MISP attribute of this type says what to look for. Others are context.
pub(crate) fn is_indicator(kind: &str) -> bool {
    INDICATOR_TYPES.binary_search(&kind).is_ok() || (kind.starts_with("filename|") && hash_name(&kind[9..]).is_some())
}

/// Sorted.
const INDICATOR_TYPES: &[&str] = &[
    "AS",
    "authentihash",
    "btc",
    "cdhash",
    "cookie",
    "domain",
    "domain|ip",
    "email",
    "email-attachment",
    "email-dst",
    "email-reply-to",
    "email-src",
    "email-subject",
    "favicon-mmh3",
    "filename",
    "filename-pattern",
    "hassh-md5",
    "hasshserver-md5",
    "hostname",
    "hostname|port",
    "http-method",
    "iban",
    "imphash",
    "ip-dst",
    "ip-dst|port",
    "ip-src",
    "ip-src|port",
    "ja3-fingerprint-md5",
    "ja4",
    "jarm-fingerprint",
    "mac-address",
    "md5",
    "mutex",
    "named pipe",
    "onion-address",
    "pattern-in-file",
    "pattern-in-memory",
    "pattern-in-traffic",
    "pdb",
    "pehash",
    "process-state",
    "regkey",
    "regkey|value",
    "sha1",
    "sha224",
    "sha256",
    "sha3-256",
    "sha3-512",
    "sha384",
    "sha512",
    "sigma",
    "snort",
    "ssdeep",
    "tlsh",
    "uri",
    "url",
    "user-agent",
    "windows-scheduled-task",
    "windows-service-name",
    "x509-fingerprint-md5",
    "x509-fingerprint-sha1",
    "x509-fingerprint-sha256",
    "xmr",
    "yara",
    "zeek",
];

/// The STIX pattern of a MISP attribute, where one is well defined.
pub(crate) fn of_misp(kind: &str, value: &str) -> Option<String> {
    let one = |path: &str, value: &str| Some(format!("[{path} = {}]", quoted(value)));
    match kind {
        "ip-src" | "ip-dst" => one(&format!("{}:value", address_type(value)?), value),
        "ip-dst|port" | "ip-src|port" => traffic(kind.split('-').nth(1)?.split('|').next()?, value),
        "domain" | "hostname" => one("domain-name:value", value),
        "hostname|port" => {
            let (host, port) = two(value)?;
            let port: u16 = port.parse().ok()?;
            Some(format!(
                "[network-traffic:dst_ref.type = 'domain-name' AND network-traffic:dst_ref.value = {} AND \
                 network-traffic:dst_port = {port}]",
                quoted(host)
            ))
        }
        "domain|ip" => {
            let (domain, ip) = two(value)?;
            address_type(ip)?;
            Some(format!(
                "[domain-name:value = {} AND domain-name:resolves_to_refs[*].value = {}]",
                quoted(domain),
                quoted(ip)
            ))
        }
        "url" | "uri" => one("url:value", value),
        "filename" => one("file:name", value),
        "email" => one("email-addr:value", value),
        "email-src" => one("email-message:from_ref.value", value),
        "email-dst" => one("email-message:to_refs[*].value", value),
        "email-subject" => one("email-message:subject", value),
        "mutex" => one("mutex:name", value),
        "mac-address" => one("mac-addr:value", &value.to_ascii_lowercase()),
        "regkey" => one("windows-registry-key:key", value),
        "regkey|value" => {
            let (key, data) = two(value)?;
            Some(format!(
                "[windows-registry-key:key = {} AND windows-registry-key:values.data = {}]",
                quoted(key),
                quoted(data)
            ))
        }
        "AS" => {
            let number: u32 = value.trim_start_matches(['A', 'S', 'a', 's']).parse().ok()?;
            Some(format!("[autonomous-system:number = {number}]"))
        }
        "user-agent" => one("network-traffic:extensions.'http-request-ext'.request_header.'User-Agent'", value),
        "x509-fingerprint-md5" => one("x509-certificate:hashes.MD5", value),
        "x509-fingerprint-sha1" => one("x509-certificate:hashes.'SHA-1'", value),
        "x509-fingerprint-sha256" => one("x509-certificate:hashes.'SHA-256'", value),
        _ => match kind.strip_prefix("filename|") {
            Some(hash) => {
                let (name, digest) = two(value)?;
                let hash = hash_name(hash)?;
                Some(format!("[file:name = {} AND file:hashes.{hash} = {}]", quoted(name), quoted(digest)))
            }
            None => one(&format!("file:hashes.{}", hash_name(kind)?), value),
        },
    }
}

/// The STIX hash-algorithm word (section 10.7) of a MISP type.
fn hash_name(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "md5" => "MD5",
        "sha1" => "'SHA-1'",
        "sha256" => "'SHA-256'",
        "sha512" => "'SHA-512'",
        "sha3-256" => "'SHA3-256'",
        "sha3-512" => "'SHA3-512'",
        "ssdeep" => "SSDEEP",
        "tlsh" => "TLSH",
        _ => return None,
    })
}

fn traffic(side: &str, value: &str) -> Option<String> {
    let (ip, port) = two(value)?;
    let (kind, port): (_, u16) = (address_type(ip)?, port.parse().ok()?);
    Some(format!(
        "[network-traffic:{side}_ref.type = '{kind}' AND network-traffic:{side}_ref.value = {} AND \
         network-traffic:{side}_port = {port}]",
        quoted(ip)
    ))
}

fn two(value: &str) -> Option<(&str, &str)> {
    let (left, right) = value.split_once('|')?;
    (!left.is_empty() && !right.is_empty()).then_some((left, right))
}

/// The STIX type of an address or a network.
fn address_type(value: &str) -> Option<&'static str> {
    let (address, bits) = match value.split_once('/') {
        Some((address, bits)) => (address, bits.parse::<u8>().ok()?),
        None => (value, 0),
    };
    if address.parse::<Ipv4Addr>().is_ok() && bits <= 32 {
        Some("ipv4-addr")
    } else if address.parse::<Ipv6Addr>().is_ok() && bits <= 128 {
        Some("ipv6-addr")
    } else {
        None
    }
}

/// A STIX string literal (patterning section 9.3).
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Kind and value of a pattern that is one comparison for equality; `None` for any other.
pub(crate) fn simple_stix(pattern: &str) -> Option<(&'static str, String)> {
    let inner = pattern.trim().strip_prefix('[')?.strip_suffix(']')?;
    let (path, literal) = inner.split_once('=')?;
    let value = unquoted(literal.trim())?;
    let kind = match path.trim() {
        "ipv4-addr:value" => "ipv4-addr",
        "ipv6-addr:value" => "ipv6-addr",
        "domain-name:value" => "domain",
        "url:value" => "url",
        "file:name" => "filename",
        "email-addr:value" => "email",
        "email-message:from_ref.value" => "email-src",
        "email-message:subject" => "email-subject",
        "mutex:name" => "mutex",
        "mac-addr:value" => "mac-address",
        "windows-registry-key:key" => "regkey",
        "file:hashes.MD5" | "file:hashes.'MD5'" | "file:hashes.md5" => "md5",
        "file:hashes.'SHA-1'" | "file:hashes.SHA1" => "sha1",
        "file:hashes.'SHA-256'" | "file:hashes.SHA256" => "sha256",
        "file:hashes.'SHA-512'" | "file:hashes.SHA512" => "sha512",
        "file:hashes.SSDEEP" | "file:hashes.'SSDEEP'" => "ssdeep",
        "file:hashes.TLSH" | "file:hashes.'TLSH'" => "tlsh",
        _ => return None,
    };
    Some((kind, value))
}

/// The text of a whole string literal.
fn unquoted(literal: &str) -> Option<String> {
    let inner = literal.strip_prefix('\'')?.strip_suffix('\'')?;
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next()?),
            '\'' => return None,
            c => text.push(c),
        }
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_become_the_patterns_of_misp_stix() {
        let cases = [
            ("ip-dst", "198.51.100.7", "[ipv4-addr:value = '198.51.100.7']"),
            ("ip-src", "2001:db8::/32", "[ipv6-addr:value = '2001:db8::/32']"),
            (
                "ip-dst|port",
                "192.0.2.1|443",
                "[network-traffic:dst_ref.type = 'ipv4-addr' AND network-traffic:dst_ref.value = '192.0.2.1' AND \
                 network-traffic:dst_port = 443]",
            ),
            (
                "domain|ip",
                "a.example|192.0.2.1",
                "[domain-name:value = 'a.example' AND domain-name:resolves_to_refs[*].value = '192.0.2.1']",
            ),
            ("filename|sha1", "a.exe|00ff", "[file:name = 'a.exe' AND file:hashes.'SHA-1' = '00ff']"),
            ("sha256", "ab", "[file:hashes.'SHA-256' = 'ab']"),
            ("filename", r"C:\it's", r"[file:name = 'C:\\it\'s']"),
            ("AS", "AS174", "[autonomous-system:number = 174]"),
        ];
        for (kind, value, pattern) in cases {
            assert_eq!(of_misp(kind, value).as_deref(), Some(pattern), "{kind} {value}");
            assert!(is_indicator(kind), "{kind}");
        }
        for (kind, value) in
            [("ip-dst", "not an address"), ("ip-dst", "1.2.3.4/99"), ("domain|ip", "a|"), ("text", "x")]
        {
            assert_eq!(of_misp(kind, value), None, "{kind} {value}");
        }
        assert!(!is_indicator("comment") && !is_indicator("filename|text"));
        assert!(INDICATOR_TYPES.is_sorted());
    }

    #[test]
    fn simple_patterns_give_back_their_value() {
        for (kind, value) in [("domain", "a.example"), ("url", "http://a/?b='c'"), ("sha1", "00"), ("filename", r"a\b")]
        {
            let pattern = of_misp(kind, value).expect("has a pattern");
            assert_eq!(simple_stix(&pattern), Some((kind, value.to_owned())));
        }
        for pattern in [
            "[a:b = 'c']",
            "[url:value = 'a' OR url:value = 'b']",
            "[url:value LIKE 'a']",
            "[url:value = 'a",
            "",
            "[url:value != 'a']",
            "[url:value = 'a\\']",
        ] {
            assert_eq!(simple_stix(pattern), None, "{pattern}");
        }
    }
}
