//! Requests that no client would write: arbitrary bytes, and near misses of good ones, at every endpoint (promise P13).
//! No answer is a 500, and the OpenAPI document announces each one, which the caller checks.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use portmaster_testkit::{World, rounds};

const TEMPLATES: [&str; 28] = [
    "/v1/services",
    "/v1/services/{service}",
    "/v1/services/{service}/offers",
    "/v1/services/{service}/offers/{secret}",
    "/v1/services/{service}/offers/{secret}/accept",
    "/v1/services/{service}/offers/{secret}/reject",
    "/v1/services/{service}/ports",
    "/v1/services/{service}/ports/{port}",
    "/v1/services/{service}/ports/{name}",
    "/v1/services/{service}/ports/{name}/renew",
    "/v1/services/{service}/sets",
    "/v1/services/{service}/release",
    "/v1/services/{service}/map",
    "/v1/services/{service}/quarantine/{port}",
    "/v1/namespaces",
    "/v1/namespaces/{name}",
    "/v1/namespaces/{name}/services/{service}",
    "/v1/namespaces/{name}/services/{service}/ports/{name}",
    "/v1/namespaces/{name}/ports/{port}",
    "/v1/ports/{port}",
    "/v1/ports/{port}/history",
    "/v1/services/{service}/history",
    "/health",
    "/v1/openapi.json",
    "/problems/{kind}",
    "/v1",
    "/",
    "/v1/services/{service}/offers/{secret}/accept/{name}",
];

/// A request as it is drawn. `SECRET` in it stands for the secret of an existing offer.
#[derive(Clone, Debug)]
struct Wild {
    method: Method,
    path: String,
    headers: Vec<(HeaderName, Vec<u8>)>,
    body: Option<Vec<u8>>,
}

/// Percent-encodes a part of a path or query: wherever that is necessary, and elsewhere as well.
fn encoded(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(*byte).to_string() } else { format!("%{byte:02x}") })
        .collect()
}

/// A text, often close to something that the registry knows.
fn word() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        6 => select(vec![
            "django", "web-01", "SECRET", "5000", "5001", "nobody", "default", "team-a", "05000", "1023", "49152", "65536", "99999999999999999999",
            "-1", "+5000", "5e3", "0x1388", "name-taken", "django ", " django", "DJANGO", "a", "", "null", "%", "%2", "%zz",
            "{SECRET}", "urn:uuid:SECRET", "138886c0-5d3e-8b2a-9f04-2a1b0c3d4e5f", "138886c05d3e8b2a9f042a1b0c3d4e5f",
            "00000000-0000-0000-0000-000000000000", "-a", "a-", "a..b", "a/b", "a#b", "a?b", "é", "\u{202e}", "\u{0}",
            "2026-11-22T10:00:00Z", "*", "\"a\"", "W/\"a\"", "\"a\", \"b\"", "\"", "true", "100", "101", "0",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        2 => vec(any::<u8>(), 0..80),
        1 => "\\PC{0,40}".prop_map(String::into_bytes),
        1 => (1_usize..2000, select(vec!["a", "9", "é", "%"])).prop_map(|(length, text)| text.repeat(length).into_bytes()),
    ]
    .boxed()
}

fn path() -> impl Strategy<Value = String> {
    let filled = (select(&TEMPLATES[..]), vec(word(), 6)).prop_map(|(template, words)| {
        let mut words = words.into_iter();
        let parts = template.split('/').map(|part| {
            if !part.starts_with('{') {
                return part.to_owned();
            }
            match encoded(&words.next().unwrap()).as_str() {
                // Clients resolve these before they send them.
                "" | "%2e" | "%2e%2e" => "django".to_owned(),
                word => word.to_owned(),
            }
        });
        parts.collect::<Vec<_>>().join("/")
    });
    let query = prop_oneof![
        3 => Just(String::new()),
        2 => vec((select(vec!["limit", "cursor", "owner", "label", "name_prefix", "name", "at", "from", "to", "Limit", "", "x", "limit[]"]), word()), 1..4).prop_map(|pairs| {
            let pairs = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
            format!("?{}", pairs.collect::<Vec<_>>().join("&"))
        }),
        1 => word().prop_map(|text| format!("?{}", encoded(&text))),
    ];
    let path = prop_oneof![8 => filled, 1 => vec(word(), 0..4).prop_map(|words| {
        let words = words.iter().map(|word| encoded(word)).filter(|word| !["%2e", "%2e%2e"].contains(&word.as_str()));
        format!("/{}", words.collect::<Vec<_>>().join("/"))
    })];
    (path, query).prop_map(|(path, query)| path + &query)
}

fn json_value() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(vec![0, 1023, 1024, 5000, 5009, 49151, 49152]).prop_map(Value::from),
        word().prop_map(|text| String::from_utf8_lossy(&text).into_owned().into()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[a-z]{0,6}", inner), 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
    .boxed()
}

/// A body that would be good except for a member or two; or text that is not quite JSON; or anything.
fn body() -> impl Strategy<Value = Option<Vec<u8>>> {
    let good = select(vec![
        json!({ "name": "web-01" }),
        json!({ "name": "flask", "start": 6000, "end": 6009 }),
        json!({ "name": "flask", "start": 6000, "end": 6009, "description": "x", "strategy": "hashed" }),
        json!({ "start": 5000, "end": 5009 }),
        json!({ "description": "x" }),
        json!({ "strategy": "random" }),
        json!({ "start": 5000, "end": 5009, "lease_seconds": 60, "cooldown_seconds": 5, "reserved": [5009] }),
        json!({ "name": "web-01", "owner": "job-1", "labels": { "run": "1" }, "port": 5003 }),
        json!({ "owner": "job-1", "lease_seconds": 60 }),
        json!({ "lease_seconds": 60 }),
        json!({ "reason": "in-use", "quarantine_seconds": 5 }),
        json!({ "names": ["a", "b"], "owner": "job-1", "lease_seconds": 60, "contiguous": true }),
        json!({ "names": ["a"], "states": ["allocated", "offered"], "dry_run": true, "cursor": "x" }),
        json!({}),
    ]);
    let members = select(vec![
        "name",
        "start",
        "end",
        "description",
        "strategy",
        "lease_seconds",
        "reserved",
        "port",
        "owner",
        "labels",
        "names",
        "states",
        "cursor",
        "reason",
        "Name",
        "__proto__",
        "",
    ]);
    let near = (good, vec((members, proptest::option::of(json_value())), 0..3)).prop_map(|(mut body, changes)| {
        for (member, value) in changes {
            match value {
                Some(value) => body[member] = value,
                None => drop(body.as_object_mut().unwrap().remove(member)),
            }
        }
        body.to_string()
    });
    let broken = (near.clone(), any::<prop::sample::Index>(), any::<u8>(), 0..5).prop_map(|(text, at, byte, how)| {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        match how {
            0 => bytes.truncate(at),
            1 => bytes[at] = byte,
            2 => bytes.insert(at, byte),
            3 => bytes.extend_from_slice(&bytes.clone()),
            _ => drop(bytes.splice(..0, *b"\xef\xbb\xbf")),
        }
        bytes
    });
    prop_oneof![
        2 => Just(None),
        4 => near.prop_map(|text| Some(text.into_bytes())),
        2 => broken.prop_map(Some),
        1 => json_value().prop_map(|value| Some(value.to_string().into_bytes())),
        1 => vec(any::<u8>(), 0..300).prop_map(Some),
        1 => (1_usize..4000).prop_map(|depth| Some("[".repeat(depth).into_bytes())),
        1 => (16_000_usize..17_000).prop_map(|length| Some(vec![b' '; length])),
    ]
}

fn headers() -> impl Strategy<Value = Vec<(HeaderName, Vec<u8>)>> {
    let kinds = select(vec![
        "application/json",
        "application/json; charset=utf-8",
        "application/merge-patch+json",
        "text/plain",
        "",
        "json",
        "application/json;;",
        "APPLICATION/JSON",
        "application/x-www-form-urlencoded",
        "\u{1}",
    ]);
    let names = select(vec![
        "idempotency-key",
        "if-match",
        "if-none-match",
        "accept",
        "x-request-id",
        "content-type",
        "origin",
        "range",
        "transfer-encoding-x",
        "expect-x",
        "authorization",
        "x-forwarded-for",
    ]);
    (proptest::option::weighted(0.8, kinds), vec((names, word()), 0..3)).prop_map(|(kind, more)| {
        let kind = kind.map(|kind| (HeaderName::from_static("content-type"), kind.as_bytes().to_vec()));
        kind.into_iter().chain(more.into_iter().map(|(name, value)| (HeaderName::from_static(name), value))).collect()
    })
}

fn wild() -> impl Strategy<Value = Wild> {
    let methods = select(vec!["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"]);
    (methods, path(), headers(), body()).prop_map(|(method, path, headers, body)| Wild {
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        path,
        headers,
        body,
    })
}

/// P13: no input causes a 500 or an answer that is not announced, and existing items stay as they are or become what
/// was asked for.
#[test]
fn no_request_is_too_wild() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (world, secret) = runtime.block_on(async {
        let world = World::new().await;
        world.api.service("django", 5000, 5009).await;
        world.api.allocate("django", "web-00").await;
        let (_, secret) = world.api.offer("django", "web-99").await;
        (world, secret)
    });
    let cases = u32::try_from(rounds(2_000)).unwrap();
    let config = ProptestConfig { failure_persistence: None, cases, ..ProptestConfig::default() };
    proptest::test_runner::TestRunner::new(config)
        .run(&wild(), |Wild { method, path, headers, body }| {
            // Headers that no client can send, and no server receives.
            let mut all = HeaderMap::new();
            for (name, value) in headers {
                let value = String::from_utf8(value.clone())
                    .map(|text| text.replace("SECRET", &secret).into_bytes())
                    .unwrap_or(value);
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    all.append(name, value);
                }
            }
            let path = path.replace("SECRET", &secret.replace('-', "%2d"));
            let body = body.map(|body| {
                let text = String::from_utf8(body.clone()).map(|text| text.replace("SECRET", &secret).into_bytes());
                text.unwrap_or(body)
            });
            let answer = runtime.block_on(world.api.send_anything(method, &path, body, all));
            prop_assert!(answer.status.as_u16() < 500, "{:?}", answer);
            Ok(())
        })
        .unwrap();
    runtime.block_on(world.assert_healthy());
}
