//! Bytes on the server's own socket that are not HTTP, or almost: the server as a process answers what it can, closes
//! the other connections, and goes on (promise P13).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::process::Process;
use portmaster_testkit::{embedded_or_skip, rounds};

/// How a good request is corrupted. Places are shares of its length.
#[derive(Clone, Debug)]
enum Change {
    Truncate(Index),
    Replace(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, Index),
    Twice,
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let good = select(vec![
        "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET http://localhost/v1/services?limit=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /v1/services/django HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        "POST /v1/services/django/offers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: 15\r\n\r\n{\"name\":\"wild\"}",
        "POST /v1/services/django/offers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\nf\r\n{\"name\":\"wild\"}\r\n0\r\n\r\n",
        "POST /v1/services HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Type: application/json\r\n\
         Content-Length: 2\r\n\r\n{}",
        "POST /v1/services/django/offers HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /v1/services/django/offers HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
        "POST /v1/services/django/offers HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    ]);
    let piece = prop_oneof![
        select(vec![
            "\r\n",
            "\n",
            "\0",
            " ",
            ":",
            "\t",
            "HTTP/1.1",
            "é",
            "%",
            "Content-Length: 3\r\n",
            "Origin: http://a\r\n",
            "Upgrade: h2c\r\n"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..20),
        (1_usize..200_000).prop_map(|length| vec![b'a'; length]),
        (1_usize..300).prop_map(|count| "\r\nX-More: 1".repeat(count).into_bytes()),
    ];
    let change = prop_oneof![
        any::<Index>().prop_map(Change::Truncate),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        (any::<Index>(), piece).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Remove(from, to)),
        Just(Change::Twice),
    ];
    let spoiled = (good, vec(change, 0..4)).prop_map(|(good, changes)| {
        let mut bytes = good.as_bytes().to_vec();
        for change in changes {
            let place = |index: Index| index.index(bytes.len() + 1);
            match change {
                Change::Truncate(at) => bytes.truncate(place(at)),
                Change::Replace(at, byte) => {
                    if let Some(there) = {
                        let at = place(at);
                        bytes.get_mut(at)
                    } {
                        *there = byte;
                    }
                }
                Change::Insert(at, piece) => {
                    let at = place(at);
                    drop(bytes.splice(at..at, piece));
                }
                Change::Remove(from, to) => {
                    let (from, to) = (place(from), place(to));
                    drop(bytes.drain(from.min(to)..from.max(to)));
                }
                Change::Twice => bytes.extend_from_within(..),
            }
        }
        bytes
    });
    prop_oneof![6 => spoiled, 1 => vec(any::<u8>(), 0..300)]
}

/// Sends the bytes, closes its side, and reads until the server closes the connection.
pub async fn exchange(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may close the connection before it has read everything.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

/// The status of the first answer.
pub fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.strip_prefix(b"HTTP/1.1 ").or_else(|| answer.strip_prefix(b"HTTP/1.0 "))?;
    std::str::from_utf8(line.get(..3)?).ok()?.parse().ok()
}

/// P13: whatever bytes arrive, the server answers in HTTP or closes the connection. It never answers with a 500 and
/// never falls silent, and the next client is served.
#[test]
fn no_bytes_are_too_wild() {
    if !embedded_or_skip("no_bytes_are_too_wild") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let process = runtime.block_on(Process::start(&["--in-memory"]));
    runtime.block_on(process.api.service("django", 5000, 5009));
    let address = process.api.url.strip_prefix("http://").unwrap().to_owned();
    let cases = u32::try_from(rounds(1_500)).unwrap();
    let config = ProptestConfig { failure_persistence: None, cases, ..ProptestConfig::default() };
    let statuses = RefCell::new(BTreeSet::new());
    TestRunner::new(config)
        .run(&request(), |bytes| {
            let patience = Duration::from_secs(30);
            let answer = runtime.block_on(async { timeout(patience, exchange(&address, &bytes)).await });
            let Ok(answer) = answer else { return Err(TestCaseError::fail("it neither answers nor hangs up")) };
            statuses.borrow_mut().extend(status(&answer));
            let text = String::from_utf8_lossy(&answer);
            prop_assert!(answer.is_empty() || status(&answer).is_some_and(|status| status < 500), "{text}");
            Ok(())
        })
        .unwrap();
    // Some of them were still understood.
    let statuses = statuses.into_inner();
    assert!([200, 201, 400, 404, 431].iter().all(|status| statuses.contains(status)), "{statuses:?}");
    runtime.block_on(async {
        process.api.get("/health").await.expect(200);
        process.api.service("after", 6000, 6009).await;
        process.api.allocate("after", "web-01").await;
        let (well, log) = process.stop("-TERM").await;
        assert!(well && !log.contains("panic"), "{log}");
    });
}
