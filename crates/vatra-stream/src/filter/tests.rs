//! Filters from their text, one law and one refusal at a time.

use proptest::prelude::*;

use super::*;

fn alert() -> Summary {
    Summary {
        record_kind: RecordKind::Alert,
        tlp: Tlp::Green,
        alert_kind: Some(AlertKind::Outage),
        severity: Severity::Severe,
        status: AlertStatus::Active,
        cancel_disputed: false,
        has_conflicts: false,
        sectors: Sector::Energy.bit() | Sector::Water.bit(),
        owner: "LT".parse().unwrap(),
    }
}

fn contact() -> Summary {
    Summary { record_kind: RecordKind::Contact, alert_kind: None, severity: Severity::Unknown, sectors: 0, ..alert() }
}

const VIEW: &[u8] = br#"{"class":"flash","title":"Grid down in \"Vilnius\"","body":"RELAY fault",
    "vulnerabilities":["CVE-2026-1"],"sectors":["energy"]}"#;

fn passes(text: &str, summary: &Summary) -> bool {
    let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap());
    Filter::parse(pairs).unwrap().matches(summary, VIEW)
}

#[test]
fn conditions_must_all_hold_and_alternatives_are_enough() {
    for good in [
        "",
        "severity=severe",
        "severity=minor,severe",
        "min_severity=moderate",
        "sector=energy",
        "sector=energy&sector=water",
        "owner=UA,LT",
        "kind=outage&status=active&tlp=green&record=alert&class=flash",
        "text=VILNIUS",
        "text=relay FAULT",
        "text=cve-2026-1",
    ] {
        assert!(passes(good, &alert()), "{good}");
    }
    for bad in [
        "severity=minor",
        "min_severity=extreme",
        "sector=energy&sector=health",
        "owner=UA",
        "kind=threat",
        "status=cancelled",
        "class=bulk",
        "tlp=clear",
        "record=contact",
        "text=kaunas",
    ] {
        assert!(!passes(bad, &alert()), "{bad}");
    }
}

#[test]
fn conditions_on_alerts_exclude_contacts() {
    let left = Summary { status: AlertStatus::Cancelled, ..contact() };
    assert!(passes("status=left", &left) && !passes("status=left", &contact()));
    assert!(Filter::parse([("status", "left")]).unwrap().has("status") && !Filter::default().has("status"));
    assert!(passes("", &contact()) && passes("record=contact&owner=LT&text=grid", &contact()));
    for bad in ["severity=unknown", "min_severity=unknown", "sector=energy", "kind=outage", "class=flash"] {
        assert!(!passes(bad, &contact()), "{bad}");
    }
}

#[test]
fn refusals_name_the_field() {
    let refused = |name: &str, value: &str| Filter::parse([(name, value)]).unwrap_err();
    assert_eq!(refused("colour", "red").field(), Some("colour"));
    assert_eq!(refused("severity", "loud").field(), Some("severity"));
    assert!(refused("severity", "loud").to_string().contains("extreme"));
    assert!(refused("owner", "LT,lt").to_string().contains("lt"));
    assert_eq!(refused("text", ""), FilterError::BadLength { field: "text" });
    assert_eq!(refused("text", &"a".repeat(513)), FilterError::BadLength { field: "text" });
    assert!(refused("record", "annex").to_string().contains("contact"));
    let many = vec![("owner", "LT"); FILTER_CONDITIONS_MAX + 1];
    assert_eq!(Filter::parse(many), Err(FilterError::TooMany));
}

#[test]
fn bytes_that_are_no_view_pass_no_text() {
    let filter = Filter::parse([("text", "a")]).unwrap();
    assert!(!filter.matches_view(b"a"));
    assert!(Filter::default().matches_view(b"a"));
}

proptest! {
    #[test]
    fn every_word_alone_selects_itself(index in 0..Severity::ALL.len(), other in 0..Severity::ALL.len()) {
        let filter = Filter::parse([("severity", Severity::ALL[index].as_str())]).unwrap();
        let summary = Summary { severity: Severity::ALL[other], ..alert() };
        prop_assert_eq!(filter.matches_summary(&summary), index == other);
        let least = Filter::parse([("min_severity", Severity::ALL[index].as_str())]).unwrap();
        prop_assert_eq!(least.matches_summary(&summary), other >= index);
    }

    #[test]
    fn adding_a_condition_never_passes_more(a in conditions(), b in conditions()) {
        let narrow = Filter::parse([(a.0, a.1.as_str()), (b.0, b.1.as_str())]).unwrap();
        let wide = Filter::parse([(a.0, a.1.as_str())]).unwrap();
        for summary in [alert(), contact()] {
            prop_assert!(!narrow.matches(&summary, VIEW) || wide.matches(&summary, VIEW));
        }
    }

    #[test]
    fn any_text_is_a_filter_or_refused(name in "[a-z_]{0,12}", value in any::<String>()) {
        if let Err(error) = Filter::parse([(name.as_str(), value.as_str())]) {
            prop_assert_eq!(error.field(), Some(name.as_str()));
        }
    }
}

fn conditions() -> impl Strategy<Value = (&'static str, String)> {
    prop_oneof![
        prop::sample::subsequence(Sector::ALL, 1..4)
            .prop_map(|sectors| ("sector", sectors.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(","))),
        prop::sample::select(Severity::ALL).prop_map(|word| ("severity", word.to_string())),
        prop::sample::select(vec!["LT", "UA"]).prop_map(|member| ("owner", member.to_owned())),
        "[a-z]{1,3}".prop_map(|text| ("text", text)),
    ]
}
