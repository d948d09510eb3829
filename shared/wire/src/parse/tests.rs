use proptest::prelude::*;

use super::*;
use crate::Patch;
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

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>) {
        let _ = parse::<Sample>(&bytes);
    }

    #[test]
    fn any_text_is_answered(text: String) {
        let _ = parsed(&text);
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
