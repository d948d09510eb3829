//! Signs requests that it reads, one in a line of JSON, and prints their headers: `.ci/client` compares the signatures
//! with botocore's.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use portmaster_client::Signer;
use portmaster_client::credentials::Keys;

#[derive(serde::Deserialize)]
struct Unsigned {
    method: String,
    url: String,
    headers: BTreeMap<String, String>,
    body: String,
    /// Seconds since 1970.
    time: u64,
    token: Option<String>,
}

fn main() {
    for line in std::io::stdin().lines() {
        let unsigned: Unsigned = serde_json::from_str(&line.unwrap()).unwrap();
        let url = reqwest::Url::parse(&unsigned.url).unwrap();
        let mut request = reqwest::Request::new(unsigned.method.parse().unwrap(), url);
        for (name, value) in &unsigned.headers {
            let name: reqwest::header::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        if !unsigned.body.is_empty() {
            *request.body_mut() = Some(unsigned.body.into());
        }
        let keys =
            Keys::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", unsigned.token, None, "example");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(unsigned.time);
        Signer::new(keys, "eu-west-1").sign(&mut request, time).unwrap();
        let headers: BTreeMap<_, _> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let sent = serde_json::json!({ "url": request.url().as_str(), "headers": headers });
        println!("{sent}");
    }
}
