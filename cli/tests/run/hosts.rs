//! Ports that something else on this host uses.

use std::net::{TcpListener, UdpSocket};

use serde_json::json;

use super::ground::Ground;

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_in_use_here_is_kept_from_everybody_and_the_next_one_is_taken() {
    let ground = Ground::new().await;
    let (first, second) = (ground.start, ground.start + 1);
    let _listener = TcpListener::bind(("127.0.0.1", first)).unwrap();
    let _socket = UdpSocket::bind(("127.0.0.1", second)).unwrap();
    let mut job = ground.script("job", &[], "echo $PORT; read line");
    assert_eq!(job.line().await, (ground.start + 2).to_string());
    assert_eq!((ground.state(first).await, ground.state(second).await), ("quarantined".into(), "quarantined".into()));
    let end = job.end().await;
    assert!(end.err.contains(&format!("port {first} is in use on this host (TCP over IPv4)")), "{}", end.err);
    assert!(end.err.contains(&format!("port {second} is in use on this host (UDP over IPv4)")), "{}", end.err);
    assert_eq!(ground.held().await, []);

    let untried = ground.script("job", &["--no-probe"], "echo $PORT").end().await;
    assert_eq!(untried.out, format!("{}\n", first + 2), "{}", untried.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_was_asked_for_by_number_is_not_replaced() {
    let ground = Ground::new().await;
    let _listener = TcpListener::bind(("127.0.0.1", ground.start)).unwrap();
    let number = ground.start.to_string();
    let end = ground.job("job", &["--port", &number], &["echo", "started"]).end().await;
    assert_eq!((end.code, end.out.as_str()), (125, ""), "{}", end.err);
    assert!(end.err.contains("in use on this host"), "{}", end.err);
    assert_eq!(ground.state(ground.start).await, "free", "its caller can have it as soon as it can be used");
    let untried = ground.script("job", &["--port", &number, "--no-probe"], "echo $PORT").end().await;
    assert_eq!(untried.out, format!("{number}\n"), "{}", untried.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_the_owner_had_already_and_that_is_in_use_stays_its_own() {
    let ground = Ground::new().await;
    let port = ground.take("job", json!({ "owner": "tests", "lease_seconds": 900 })).await;
    let again = ground.script("job", &["--lease", "5m"], "echo $PORT; read line; exit 0");
    let end = again.end().await;
    assert_eq!((end.code, end.out), (0, format!("{port}\n")), "{}", end.err);

    let port = ground.take("job", json!({ "owner": "tests", "lease_seconds": 900 })).await;
    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let end = ground.job("job", &[], &["echo", "started"]).end().await;
    assert_eq!((end.code, end.out.as_str()), (125, ""), "{}", end.err);
    assert!(end.err.contains("earlier run"), "{}", end.err);
    assert_eq!(ground.held().await, [("job".to_owned(), port)]);

    // Of a set, what is new is given back.
    let part = ground.take("set-b", json!({ "owner": "tests" })).await;
    let _listener = TcpListener::bind(("127.0.0.1", part)).unwrap();
    let end = ground.job("set", &["--ports", "a,b"], &["echo", "started"]).end().await;
    assert_eq!((end.code, end.out.as_str()), (125, ""), "{}", end.err);
    assert_eq!(ground.held().await, [("job".to_owned(), port), ("set-b".to_owned(), part)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_whole_even_if_some_of_its_ports_are_in_use() {
    let ground = Ground::new().await;
    let first = ground.start;
    let _listener = TcpListener::bind(("127.0.0.1", first + 1)).unwrap();
    let script = "echo $PORT_A $PORT_B $PORT_C; read line";
    let mut job = ground.script("job", &["--ports", "a,b,c"], script);
    let ports: Vec<u16> = job.line().await.split(' ').map(|port| port.parse().unwrap()).collect();
    assert_eq!((ports[0], ports[2]), (first, first + 2), "the others keep theirs");
    assert!(ports[1] > first + 2, "{ports:?}");
    job.end().await;

    let mut job = ground.script("next", &["--ports", "a,b,c", "--contiguous"], script);
    let ports: Vec<u16> = job.line().await.split(' ').map(|port| port.parse().unwrap()).collect();
    assert_eq!((ports[1], ports[2]), (ports[0] + 1, ports[0] + 2));
    assert!(!ports.contains(&(first + 1)), "{ports:?}");
    job.end().await;
    assert_eq!(ground.held().await, []);
    assert_eq!(ground.state(first + 1).await, "quarantined");
}
