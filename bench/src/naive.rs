//! Designs that one might write instead, each as small as one would write it. Each keeps a port's holder on the port's
//! own item, so none of them allocates a port twice. None keeps names unique, takes an offer back or survives a deleted
//! service; Portmaster's second item and its confirmation do that. So the comparison flatters these designs.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use rand::RngExt as _;
use tokio::time::{Instant, sleep};

use portmaster_testkit::{TABLE, text};

/// The first port of the range that all of them allocate from.
pub const START: u16 = 1024;
pub const SIZE: u16 = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naive {
    /// Read all ports and take the lowest free one; if it has been taken meanwhile, start again.
    Scan,
    /// One item that counts; the next port is the next number, wrapping around at the end.
    Counter,
    /// One item with a bitmap and a version: read it, set a bit, write it if nobody else has written it.
    Bitmap,
}

impl Naive {
    pub const ALL: [Self; 3] = [Self::Scan, Self::Counter, Self::Bitmap];

    pub fn name(self) -> &'static str {
        match self {
            Self::Scan => "scan, lowest",
            Self::Counter => "a counter",
            Self::Bitmap => "a bitmap",
        }
    }

    /// Returns a port, if there was one within ten seconds, and the number of tries.
    pub async fn take(self, client: &Client) -> (Option<u16>, u32) {
        let (until, mut wait) = (Instant::now() + Duration::from_secs(10), 10);
        for tries in 1.. {
            let port = match self {
                Self::Scan => scan(client).await,
                Self::Counter => counter(client).await,
                Self::Bitmap => bitmap(client).await,
            };
            if port.is_some() || Instant::now() >= until {
                return (port, tries);
            }
            // The usual backoff: doubling to half a second, with jitter. The counter does not need one.
            if self != Self::Counter {
                sleep(Duration::from_millis(rand::rng().random_range(wait / 2..=wait))).await;
                wait = (wait * 2).min(500);
            }
        }
        (None, 0)
    }
}

async fn scan(client: &Client) -> Option<u16> {
    let mut taken = Vec::new();
    let mut from = None;
    loop {
        let page = client
            .query()
            .table_name(TABLE)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text("N#default#PORT"))
            .projection_expression("sk")
            .consistent_read(true)
            .set_exclusive_start_key(from)
            .send()
            .await
            .ok()?;
        taken.extend(page.items().iter().filter_map(|item| item.get("sk")?.as_s().ok()?.parse::<u16>().ok()));
        from = page.last_evaluated_key;
        if from.is_none() {
            break;
        }
    }
    let port = (START..START + SIZE).find(|port| taken.binary_search(port).is_err())?;
    put(client, port).await
}

async fn counter(client: &Client) -> Option<u16> {
    let output = client
        .update_item()
        .table_name(TABLE)
        .key("pk", text("COUNTER"))
        .key("sk", text("COUNTER"))
        .update_expression("ADD #next :one")
        .expression_attribute_names("#next", "next")
        .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
        .return_values(aws_sdk_dynamodb::types::ReturnValue::UpdatedNew)
        .send()
        .await
        .ok()?;
    let next: u64 = output.attributes?.get("next")?.as_n().ok()?.parse().ok()?;
    put(client, START + u16::try_from((next - 1) % u64::from(SIZE)).ok()?).await
}

async fn bitmap(client: &Client) -> Option<u16> {
    let output =
        client.get_item().table_name(TABLE).key("pk", text("BITMAP")).key("sk", text("BITMAP")).consistent_read(true);
    let item = output.send().await.ok()?.item?;
    let version: u64 = item.get("version")?.as_n().ok()?.parse().ok()?;
    let mut bits = item.get("bits")?.as_b().ok()?.as_ref().to_vec();
    let index = (0..SIZE).find(|index| bits[usize::from(index / 8)] & (1 << (index % 8)) == 0)?;
    bits[usize::from(index / 8)] |= 1 << (index % 8);
    client
        .put_item()
        .table_name(TABLE)
        .item("pk", text("BITMAP"))
        .item("sk", text("BITMAP"))
        .item("bits", AttributeValue::B(Blob::new(bits)))
        .item("version", AttributeValue::N((version + 1).to_string()))
        .condition_expression("#version = :version")
        .expression_attribute_names("#version", "version")
        .expression_attribute_values(":version", AttributeValue::N(version.to_string()))
        .send()
        .await
        .ok()?;
    Some(START + index)
}

async fn put(client: &Client, port: u16) -> Option<u16> {
    client
        .put_item()
        .table_name(TABLE)
        .item("pk", text("N#default#PORT"))
        .item("sk", text(format!("{port:05}")))
        .condition_expression("attribute_not_exists(pk)")
        .send()
        .await
        .ok()?;
    Some(port)
}

/// Writes the bitmap item in which these ports are taken.
pub async fn begin_bitmap(client: &Client, taken: &[u16]) {
    let mut bits = vec![0u8; usize::from(SIZE).div_ceil(8)];
    for port in taken {
        let index = port - START;
        bits[usize::from(index / 8)] |= 1 << (index % 8);
    }
    let put = client.put_item().table_name(TABLE).item("pk", text("BITMAP")).item("sk", text("BITMAP"));
    put.item("bits", AttributeValue::B(Blob::new(bits)))
        .item("version", AttributeValue::N("1".to_owned()))
        .send()
        .await
        .unwrap();
}
