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

/// A daemon leaves its process group, and may go on after its command. Whoever got its port could not use it.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_something_still_uses_is_left_to_its_lease() {
    let ground = Ground::new().await;
    let port = ground.start;
    let mut job = ground.script("job", &["--lease", "60s"], "echo $PORT; read line; exit 3");
    assert_eq!(job.line().await, port.to_string());
    // This stands for the daemon.
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let end = job.end().await;
    assert_eq!(end.code, 3, "{}", end.err);
    let said = format!("port {port} is still in use on this host (TCP over IPv4), so it is not given back");
    assert!(end.err.contains(&said), "{}", end.err);
    assert_eq!(ground.held().await, [("job".to_owned(), port)]);
    drop(listener);
    ground.world.pass(std::time::Duration::from_secs(60 + 10 + 1));
    assert_eq!(ground.take("other", json!({ "owner": "others", "port": port })).await, port);

    // Of several ports, the others are given back; and without the trial all of them.
    let mut job = ground.script("set", &["--ports", "a,b"], "echo $PORT_A; read line");
    let first: u16 = job.line().await.parse().unwrap();
    let _listener = TcpListener::bind(("127.0.0.1", first)).unwrap();
    job.end().await;
    assert_eq!(ground.held().await, [("other".to_owned(), port), ("set-a".to_owned(), first)]);
    let mut job = ground.script("set", &["--ports", "a,b", "--no-probe"], "echo $PORT_A; read line");
    job.line().await;
    job.end().await;
    assert_eq!(ground.held().await, [("other".to_owned(), port)]);
}

/// Where a role may not ask for offers, no port can be put into quarantine, and the next one would be the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_that_may_not_be_quarantined_ends_the_attempts() {
    let ground = Ground::new().await;
    let refuse = "HTTP/1.1 403 Forbidden\r\napigw-requestid: x\r\nContent-Type: application/json\r\n\
                  Content-Length: 23\r\n\r\n{\"message\":\"Forbidden\"}";
    let url = super::lossy::answering(&ground.world.api.url, "POST /v1/services/web/offers", refuse).await;
    let _listener = TcpListener::bind(("127.0.0.1", ground.start)).unwrap();
    let end = super::job::Job::new(&url, "job", &[], &["echo", "started"]).end().await;
    assert_eq!((end.code, end.out.as_str()), (125, ""), "{}", end.err);
    assert_eq!(end.err.matches("is in use on this host").count(), 1, "{}", end.err);
    assert!(end.err.contains("cannot be put into quarantine"), "{}", end.err);
    assert!(end.err.contains("error: the gateway refused to ask for an offer"), "{}", end.err);
    assert!(!end.err.contains("so nobody gets it"), "{}", end.err);
    assert_eq!(ground.held().await, []);
}
