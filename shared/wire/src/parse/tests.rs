use proptest::prelude::*;

use super::*;
use crate::{NewOffer, NewPort, NewService, NewSet, Patch, Rejection, Release, Renewal};
use portmaster_domain::Strategy;

/// A body with a field of each type that has rules.
#[derive(Debug, Deserr)]
#[deserr(error = Faults, deny_unknown_fields)]
struct Sample {
    name: InstanceName,
    port: Port,
    #[deserr(default)]
    strategy: Option<Strategy>,
    #[deserr(default)]
    description: Patch<Description>,
}

impl Checked for Sample {}

fn parsed(text: &str) -> Result<Sample, Unreadable> {
    parse(text.as_bytes())
}

#[test]
fn absent_null_and_a_value_are_three_things() {
    let patch = |field: &str| parsed(&format!(r#"{{"name":"a","port":5000{field}}}"#)).unwrap().description;
    assert_eq!(patch(""), Patch::Absent);
    assert_eq!(patch(r#","description":null"#), Patch::Null);
    assert!(matches!(patch(r#","description":"x""#), Patch::Value(text) if text.as_str() == "x"));
    assert_eq!(Patch::Absent.or(7), 7);
    assert_eq!(Patch::Null.or(7), 0);
    assert_eq!(Patch::Value(8).or(7), 8);
}

#[test]
fn a_field_that_stands_twice_is_not_json_to_us() {
    for body in [r#"{"name":"a","name":"a"}"#, r#"{"x":[{"y":1,"y":1}]}"#] {
        let error = parsed(body).unwrap_err();
        assert!(matches!(&error, Unreadable::NotJson(why) if why.contains("twice")), "{error:?}");
    }
    let sample = parsed(r#"{"name":"a","port":5000,"strategy":"hashed"}"#).unwrap();
    assert_eq!((sample.name.as_str(), sample.port.get(), sample.strategy), ("a", 5000, Some(Strategy::Hashed)));
}

/// Every mistake in a body, as where it is and what is said.
fn mistakes<T: Deserr<Faults> + Checked + std::fmt::Debug>(body: &str) -> Vec<(String, String)> {
    let Err(Unreadable::Faulty(faults)) = parse::<T>(body.as_bytes()) else { panic!("{body} is accepted") };
    let place = |fault: Fault| match fault.at {
        crate::At::Pointer(pointer) => (pointer, fault.detail),
        other => panic!("{other:?}"),
    };
    faults.into_iter().map(place).collect()
}

/// Whether a body has exactly one mistake, there, and the detail has these words.
fn refuses<T: Deserr<Faults> + Checked + std::fmt::Debug>(body: &str, pointer: &str, words: &str) {
    let mistakes = mistakes::<T>(body);
    assert!(
        matches!(mistakes.as_slice(), [(place, detail)] if place == pointer && detail.contains(words)),
        "{body}: {mistakes:?}"
    );
}

#[test]
fn leases_have_bounds() {
    for good in ["1", "60", "2592000", "null"] {
        parse::<Renewal>(format!(r#"{{"lease_seconds":{good}}}"#).as_bytes()).unwrap();
    }
    for bad in ["0", "-1", "2592001", "1.5", "0.0", "1e9", "4294967297", "99999999999999999999", "-0.5"] {
        refuses::<Renewal>(&format!(r#"{{"lease_seconds":{bad}}}"#), "#/lease_seconds", "from 1 to 2592000");
    }
    for bad in ["60.0", "6e1"] {
        refuses::<NewPort>(&format!(r#"{{"lease_seconds":{bad}}}"#), "#/lease_seconds", "without a decimal point");
    }
    for bad in [r#""60""#, "true", "[]", "{}"] {
        refuses::<NewPort>(&format!(r#"{{"lease_seconds":{bad}}}"#), "#/lease_seconds", "must be a whole number, not");
    }
}

#[test]
fn services_have_bounds() {
    let with = |fields: &str| format!(r#"{{"name":"a","start":5000,"end":5009,{fields}}}"#);
    for field in ["cooldown_seconds", "quarantine_seconds"] {
        for good in ["0", "604800", "null"] {
            parse::<NewService>(with(&format!(r#""{field}":{good}"#)).as_bytes()).unwrap();
        }
        for bad in ["-1", "604801", "0.5"] {
            refuses::<NewService>(&with(&format!(r#""{field}":{bad}"#)), &format!("#/{field}"), "from 0 to 604800");
        }
    }
    let reserved = |entries: &str| with(&format!(r#""reserved":{entries}"#));
    let hundred = vec!["5001"; 100].join(",");
    for good in ["[]", "[5001]", r#"[{"start":5001,"end":5001},40000]"#, &format!("[{hundred}]"), "null"] {
        parse::<NewService>(reserved(good).as_bytes()).unwrap();
    }
    refuses::<NewService>(&reserved(&format!("[{hundred},5001]")), "#/reserved", "at most 100 entries");
    refuses::<NewService>(&reserved("5001"), "#/reserved", "an array");
    refuses::<NewService>(&reserved("[80]"), "#/reserved/0", "1024");
    refuses::<NewService>(&reserved("[5001,5001.5]"), "#/reserved/1", "1024");
    refuses::<NewService>(&reserved(r#"["5001"]"#), "#/reserved/0", "a whole number or an object");
    refuses::<NewService>(&reserved(r#"[{"start":5002,"end":5001}]"#), "#/reserved/0", "must not be above");
    refuses::<NewService>(&reserved(r#"[{"start":5002}]"#), "#/reserved/0/end", "is required");
    refuses::<NewService>(&reserved(r#"[{"start":5002,"end":5003,"x":1}]"#), "#/reserved/0/x", "is unknown");
}

#[test]
fn owners_and_labels_have_bounds() {
    let owner = |text: &str| format!(r#"{{"name":"a","owner":{text}}}"#);
    for good in [format!("\"{}\"", "a".repeat(128)), r#""gh/a b~!""#.to_owned(), "null".to_owned()] {
        parse::<NewOffer>(owner(&good).as_bytes()).unwrap();
    }
    for bad in [
        r#""""#,
        r#""*""#,
        r#"" a""#,
        r#""a\n""#,
        r#""\u0000""#,
        r#""ü""#,
        &format!("\"{}\"", "a".repeat(129)),
        "1",
        "[]",
    ] {
        refuses::<NewOffer>(&owner(bad), "#/owner", "must");
    }
    let labels = |text: &str| format!(r#"{{"labels":{text}}}"#);
    parse::<NewPort>(labels(r#"{"run.a_b-c":"17 of 20!","empty":""}"#).as_bytes()).unwrap();
    parse::<NewPort>(labels("{}").as_bytes()).unwrap();
    for (bad, place) in [
        (r#"{"Run":"17"}"#, "#/labels/Run"),
        (r#"{"":"17"}"#, "#/labels/"),
        (r#"{"a b":"17"}"#, "#/labels/a%20b"),
        (r#"{"run":"a\tb"}"#, "#/labels/run"),
        (r#"{"run":17}"#, "#/labels/run"),
        (r#"{"run":null}"#, "#/labels/run"),
        (r#"["run"]"#, "#/labels"),
        (&format!(r#"{{"run":"{}"}}"#, "a".repeat(65)), "#/labels/run"),
        (&format!(r#"{{"{}":"1"}}"#, "a".repeat(33)), &format!("#/labels/{}", "a".repeat(33))),
    ] {
        refuses::<NewPort>(&labels(bad), place, "");
    }
    let many: Vec<_> = (0..9).map(|n| format!(r#""k{n}":"v""#)).collect();
    refuses::<NewPort>(&labels(&format!("{{{}}}", many.join(","))), "#/labels", "at most 8");
    let long: Vec<_> = (0..8).map(|n| format!(r#""k{n}":"{}""#, "a".repeat(31))).collect();
    refuses::<NewPort>(&labels(&format!("{{{}}}", long.join(","))), "#/labels", "256");
    assert_eq!(mistakes::<NewPort>(&labels(r#"{"A":"1","B":"2"}"#)).len(), 2);
}

#[test]
fn a_set_has_different_names() {
    let set = |names: &[&str]| serde_json::json!({ "names": names }).to_string();
    let names: Vec<_> = (0..33).map(|n| format!("n{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    for good in [&names[..2], &names[..32]] {
        parse::<NewSet>(set(good).as_bytes()).unwrap();
    }
    for bad in [&names[..0], &names[..1], &names[..33]] {
        refuses::<NewSet>(&set(bad), "#/names", "2 to 32");
    }
    refuses::<NewSet>(&set(&["a", "b", "a"]), "#/names/2", "twice");
    refuses::<NewSet>(&set(&["a", "17"]), "#/names/1", "");
    refuses::<NewSet>("{}", "#/names", "is required");
    refuses::<NewSet>(r#"{"names":["a","b"],"contiguous":1}"#, "#/contiguous", "a boolean");
    assert_eq!(mistakes::<NewSet>(r#"{"names":["a","a","a"],"owner":""}"#).len(), 3);
}

#[test]
fn a_rejection_says_why_a_port_is_put_aside() {
    for good in
        ["{}", r#"{"reason":null}"#, r#"{"reason":"unwanted"}"#, r#"{"reason":"in-use","quarantine_seconds":0}"#]
    {
        parse::<Rejection>(good.as_bytes()).unwrap();
    }
    for bad in [r#"{"quarantine_seconds":60}"#, r#"{"reason":"unwanted","quarantine_seconds":60}"#] {
        refuses::<Rejection>(bad, "#/quarantine_seconds", "in-use");
    }
    refuses::<Rejection>(r#"{"reason":"busy"}"#, "#/reason", "in-use, unwanted");
    refuses::<Rejection>(r#"{"reason":"in-use","quarantine_seconds":604801}"#, "#/quarantine_seconds", "604800");
}

#[test]
fn nothing_is_released_without_a_filter() {
    for bad in ["{}", r#"{"states":["offered"]}"#, r#"{"dry_run":true}"#, r#"{"labels":{}}"#, r#"{"owner":null}"#] {
        refuses::<Release>(bad, "#", "at least one of");
    }
    for good in [r#"{"name_prefix":"run-17-"}"#, r#"{"names":["a"]}"#, r#"{"owner":"a"}"#, r#"{"labels":{"run":"17"}}"#]
    {
        parse::<Release>(good.as_bytes()).unwrap();
    }
    for bad in [r#""""#, r#""-a""#, r#""a/b""#, &format!("\"{}\"", "a".repeat(65)), "1"] {
        refuses::<Release>(&format!(r#"{{"name_prefix":{bad}}}"#), "#/name_prefix", "");
    }
    refuses::<Release>(r#"{"names":[]}"#, "#/names", "1 to 100");
    let names: Vec<_> = (0..101).map(|n| format!("\"n{n}\"")).collect();
    refuses::<Release>(&format!(r#"{{"names":[{}]}}"#, names.join(",")), "#/names", "1 to 100");
    refuses::<Release>(r#"{"owner":"a","states":[]}"#, "#/states", "allocated");
    refuses::<Release>(r#"{"owner":"a","states":["cooling"]}"#, "#/states/0", "allocated, offered");
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>) {
        let _ = parse::<Sample>(&bytes);
    }

    #[test]
    fn any_text_is_answered(text: String) {
        let _ = parsed(&text);
        let _ = (parse::<Release>(text.as_bytes()), parse::<NewSet>(text.as_bytes()));
    }

    /// Any value at any of the new fields is read, or is one mistake or more, all of them there.
    #[test]
    fn a_wrong_value_of_a_new_field_is_named_by_it(
        field in prop::sample::select(vec!["owner", "lease_seconds", "port", "labels"]),
        value in "[-0-9.eE]{1,6}|\\{\\}|\\[\\]|true|\"[ -!#-\\[\\]-~]{0,40}\"|\\{\"[a-zA-Z]{1,3}\":(\"x\"|1)\\}",
    ) {
        if let Err(Unreadable::Faulty(faults)) = parse::<NewPort>(format!("{{\"{field}\":{value}}}").as_bytes()) {
            let there = format!("#/{field}");
            for fault in faults {
                prop_assert!(matches!(&fault.at, crate::At::Pointer(place) if place.starts_with(&there)), "{fault:?}");
            }
        }
    }

    /// Almost valid: the known fields, with any value in one of them.
    #[test]
    fn a_wrong_value_is_named_by_its_field(
        field in prop::sample::select(vec!["name", "port", "strategy"]),
        value in prop::sample::select(vec!["{}", "[]", "true", "\"\\u0000\"", "1.5", "-1", "99999999999999999999"]),
    ) {
        let mut fields = vec![("name", "\"a\""), ("port", "5000"), ("strategy", "\"random\"")];
        for (name, text) in &mut fields {
            if *name == field {
                *text = value;
            }
        }
        let fields: Vec<_> = fields.iter().map(|(name, text)| format!("\"{name}\":{text}")).collect();
        let error = parsed(&format!("{{{}}}", fields.join(","))).unwrap_err();
        let Unreadable::Faulty(faults) = error else { panic!("{error:?}") };
        let [fault] = faults.as_slice() else { panic!("{faults:?}") };
        prop_assert_eq!(&fault.at, &crate::At::Pointer(format!("#/{field}")));
    }
}
