//! The local server as a process: its command line, its log, its data across restarts, and kill -9 (promise P7).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portmaster_domain::Clock;
use portmaster_registry::{Endpoint, Registry, Table, connect};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use portmaster_testkit::{Caller, TABLE, World, call, http, service_id};

/// The server's command, without this machine's settings.
pub fn portmaster() -> Command {
    alone(Command::new(env!("CARGO_BIN_EXE_portmasterd")))
}

/// Keeps this machine's settings out of the command.
fn alone(mut command: Command) -> Command {
    for variable in [
        "LISTEN",
        "DATA",
        "HISTORY_DAYS",
        "IN_MEMORY",
        "OFFER_SECONDS",
        "DYNAMODB_ENDPOINT",
        "DATABASE_LISTEN",
        "TABLE",
        "LOG_LEVEL",
    ] {
        command.env_remove(format!("PORTMASTER_{variable}"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A server that has printed where it listens.
pub struct Process {
    child: Child,
    pub api: Caller,
    greeting: Vec<String>,
    /// Read all the time. (A server whose log is not read drops lines.)
    log: tokio::task::JoinHandle<String>,
}

impl Process {
    pub async fn start(arguments: &[&str]) -> Self {
        let mut command = portmaster();
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        Self::started_by(command).await
    }

    /// Starts the server that a command becomes.
    pub async fn started_by(command: Command) -> Self {
        let mut child = alone(command).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut greeting = Vec::new();
        while greeting.len() < 4 {
            greeting.push(lines.next_line().await.unwrap().expect("it greets in four lines"));
        }
        let url = greeting[0].strip_prefix("Portmaster listens on ").unwrap().to_owned();
        let mut stderr = child.stderr.take().unwrap();
        let log = tokio::spawn(async move {
            let mut log = String::new();
            stderr.read_to_string(&mut log).await.unwrap();
            log
        });
        Self { child, api: Caller::new(url), greeting, log }
    }

    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub async fn on(data: &Path) -> Self {
        Self::start(&["--data", data.to_str().unwrap()]).await
    }

    fn signal(&self, signal: &str) {
        // The shell's own `kill`, since a program of that name may be missing.
        let command = format!("kill {signal} {}", self.child.id().unwrap());
        assert!(std::process::Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    /// Stops it; returns whether it ended well, and its log.
    pub async fn stop(mut self, signal: &str) -> (bool, String) {
        self.signal(signal);
        (self.child.wait().await.unwrap().success(), self.log.await.unwrap())
    }
}

/// Returns the output of a start that fails.
async fn refusal(command: &mut Command) -> String {
    let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await.unwrap().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "one clear line: {text}");
    text
}

#[tokio::test]
async fn it_keeps_its_data_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("made/by/it");
    let first = Process::on(&data).await;
    assert!(first.greeting[1].contains(data.canonicalize().unwrap().to_str().unwrap()));
    assert!(first.greeting[2].contains("curl"));
    first.api.service("django", 5000, 5099).await;
    first.api.allocate("django", "web-01").await;
    let (port, secret) = first.api.offer("django", "web-02").await;
    for signal in ["-TERM", "-INT"] {
        let again = Process::on(&folder.path().join(signal)).await;
        assert!(again.stop(signal).await.0, "it stops cleanly on {signal}");
    }
    assert!(first.stop("-TERM").await.0);

    let second = Process::on(&data).await;
    assert_eq!(second.api.get("/v1/services/django/ports/web-01").await.expect(200).port(), 5000);
    assert_eq!(second.api.accept("django", &secret).await.expect(201).port(), port);
    assert_eq!(second.api.offer("django", "web-03").await.0, 5002);
    assert!(second.stop("-INT").await.0);
}

/// P7: everything that was acknowledged is there after kill -9, and no port is allocated twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_in_the_middle_of_a_load_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::on(folder.path()).await;
    process.api.service("django", 2000, 9999).await;
    // Acknowledged: allocations by name, offers by name with their secrets, and names that were released.
    let allocated = Arc::new(Mutex::new(BTreeMap::<String, u16>::new()));
    let offered = Arc::new(Mutex::new(BTreeMap::<String, (u16, String)>::new()));
    let next = Arc::new(AtomicUsize::new(0));
    for round in 0..3 {
        let workers: Vec<_> = (0..8)
            .map(|_| {
                let url = process.api.url.clone();
                let (allocated, offered, next) = (Arc::clone(&allocated), Arc::clone(&offered), Arc::clone(&next));
                tokio::spawn(async move {
                    let client = http(&url).build().unwrap();
                    let offers = format!("{url}/v1/services/django/offers");
                    // Until the server is gone.
                    loop {
                        let name = format!("web-{}", next.fetch_add(1, Ordering::Relaxed));
                        let Ok(answer) = client.post(&offers).json(&json!({ "name": name })).send().await else {
                            return;
                        };
                        let Ok(offer) = answer.json::<Value>().await else { return };
                        let secret = offer["secret"].as_str().unwrap().to_owned();
                        let port = u16::try_from(offer["port"].as_u64().unwrap()).unwrap();
                        offered.lock().unwrap().insert(name.clone(), (port, secret.clone()));
                        let accept = format!("{offers}/{secret}/accept");
                        let Ok(answer) = client.post(accept).send().await else { return };
                        if answer.status() == 201 {
                            offered.lock().unwrap().remove(&name);
                            allocated.lock().unwrap().insert(name, port);
                        }
                    }
                })
            })
            .collect();
        let enough = 100 * (round + 1);
        while allocated.lock().unwrap().len() < enough {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        process.child.kill().await.unwrap();
        for worker in workers {
            worker.await.unwrap();
        }

        process = Process::on(folder.path()).await;
        let allocated = allocated.lock().unwrap().clone();
        let mut seen = BTreeMap::new();
        let mut path = Some("/v1/services/django/ports?limit=1000".to_owned());
        while let Some(next) = path {
            let page = process.api.get(&next).await.expect(200);
            for item in page.body.as_array().unwrap() {
                let port = u16::try_from(item["port"].as_u64().unwrap()).unwrap();
                let name = item["name"].as_str().unwrap().to_owned();
                assert!(seen.insert(port, name).is_none(), "a port twice");
            }
            path = page.next();
        }
        for (name, port) in &allocated {
            assert_eq!(seen.get(port), Some(name), "acknowledged and lost");
        }
        let names: std::collections::BTreeSet<_> = seen.values().collect();
        assert_eq!(names.len(), seen.len(), "a name twice");
        // An offer whose acceptance was cut off was accepted, or can be; either way it belongs to its holder.
        let offers: Vec<_> = offered.lock().unwrap().clone().into_iter().collect();
        for (name, (port, secret)) in offers {
            let answer = process.api.accept("django", &secret).await;
            assert!(answer.status.is_success(), "{name}: {answer:?}");
            assert_eq!((answer.port(), answer.body["name"].as_str()), (port, Some(name.as_str())));
        }
        offered.lock().unwrap().clear();
    }
    assert!(process.stop("-TERM").await.0);
}

#[tokio::test]
async fn it_says_in_one_line_why_it_cannot_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let running = Process::on(folder.path()).await;
    let address = running.api.url.strip_prefix("http://").unwrap();
    let taken = refusal(portmaster().args(["--in-memory", "--listen", address])).await;
    assert!(taken.contains(address) && taken.contains("--listen"), "{taken}");
    let in_use = refusal(portmaster().args(["--data", data, "--listen", "127.0.0.1:0"])).await;
    assert!(in_use.contains("in use") && in_use.contains(data), "{in_use}");

    let file = folder.path().join("a-file");
    std::fs::write(&file, "x").unwrap();
    let inside = file.join("data");
    let unusable = refusal(portmaster().args(["--data", inside.to_str().unwrap(), "--listen", "127.0.0.1:0"])).await;
    assert!(unusable.contains("a-file/data") && unusable.contains("--data"), "{unusable}");
    let broken = folder.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("portmaster.db"), "this is no database, and long enough to be seen to be none").unwrap();
    let broken = refusal(portmaster().args(["--data", broken.to_str().unwrap(), "--listen", "127.0.0.1:0"])).await;
    assert!(broken.contains("broken"), "{broken}");

    let world = World::new().await;
    let aws = |command: &mut Command, endpoint: &str| {
        command.args(["--listen", "127.0.0.1:0", "--dynamodb-endpoint", endpoint]);
        let key = world.database.access_key();
        for (name, value) in [("REGION", "local"), ("ACCESS_KEY_ID", key), ("SECRET_ACCESS_KEY", "x")] {
            command.env(format!("AWS_{name}"), value);
        }
    };
    let mut command = portmaster();
    aws(&mut command, world.database.url());
    let missing = refusal(command.args(["--table", "elsewhere"])).await;
    assert!(missing.contains("\"elsewhere\"") && missing.contains("create-table"), "{missing}");
    let mut command = portmaster();
    // Port 1 of the loopback interface, on which no process listens.
    aws(&mut command, "http://127.0.0.1:1");
    let unreachable = refusal(&mut command).await;
    assert!(unreachable.contains("127.0.0.1:1") && unreachable.contains("--dynamodb-endpoint"), "{unreachable}");
    assert!(running.stop("-TERM").await.0);
}

#[tokio::test]
async fn it_serves_another_dynamodb() {
    let world = World::new().await;
    world.api.service("django", 5000, 5099).await;
    let mut command = portmaster();
    command.args(["--listen", "127.0.0.1:0", "--dynamodb-endpoint", world.database.url()]);
    let key = world.database.access_key();
    for (name, value) in [("REGION", "local"), ("ACCESS_KEY_ID", key), ("SECRET_ACCESS_KEY", "x")] {
        command.env(format!("AWS_{name}"), value);
    }
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next_line().await.unwrap().unwrap();
    let there = Caller::new(first.strip_prefix("Portmaster listens on ").unwrap().to_owned());
    let (port, secret) = there.offer("django", "web-01").await;
    assert_eq!(port, 5000);
    assert_eq!(world.api.accept("django", &secret).await.expect(201).port(), port);
}

/// Returns the sockets that a process listens on: local address and port in hexadecimal, as the kernel shows them.
fn listening_sockets(pid: u32) -> Vec<String> {
    let inode = |link: &Path| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    let own: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|fd| inode(&std::fs::read_link(fd.ok()?.path()).ok()?))
        .collect();
    assert!(!own.is_empty(), "a server has a socket");
    let mut listening = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")) else { continue };
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (address, remote, inode) = (fields[1], fields[2], fields[9]);
            let is_connected = !remote.ends_with(":0000");
            if own.iter().any(|own| own == inode) && !is_connected {
                listening.push(format!("{table} {address}"));
            }
        }
    }
    listening
}

/// The embedded database has no socket: other programs on this machine, such as a page in a browser, reach the registry
/// through its API or not at all.
#[tokio::test]
async fn nothing_listens_but_the_api() {
    let process = Process::start(&["--in-memory"]).await;
    process.api.service("django", 5000, 5099).await;
    process.api.allocate("django", "web-01").await;
    let port: u16 = process.api.url.rsplit_once(':').unwrap().1.parse().unwrap();
    let sockets = listening_sockets(process.child.id().unwrap());
    assert_eq!(sockets, [format!("tcp 0100007F:{port:04X}")]);
    assert!(process.stop("-TERM").await.0);
}

/// With a socket, it still refuses pages: those of another origin, and those that have its address under a host name of
/// their own.
#[tokio::test]
async fn its_database_answers_no_browser() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let process = Process::start(&["--in-memory", "--database-listen", &free]).await;
    let client = http(&format!("http://{free}")).build().unwrap();
    let ask = |operation: &str| {
        let request = client.post(format!("http://{free}/")).header("content-type", "application/x-amz-json-1.0");
        let target = format!("DynamoDB_20120810.{operation}");
        request.header("x-amz-target", target).body(r#"{"TableName":"portmaster"}"#)
    };
    let scan = || ask("Scan");
    assert_eq!(scan().send().await.unwrap().status(), 200);
    let own = format!("http://{free}");
    for origin in ["https://evil.example", "null", own.as_str()] {
        let preflight = client.request(reqwest::Method::OPTIONS, format!("http://{free}/"));
        let preflight = preflight.header("access-control-request-method", "POST");
        for request in [scan(), client.get(format!("http://{free}/")), preflight] {
            let answer = request.header("origin", origin).send().await.unwrap();
            assert_eq!(answer.status(), 403, "{origin}");
            assert!(answer.headers().keys().all(|name| !name.as_str().starts_with("access-control")), "{answer:?}");
            assert!(!answer.text().await.unwrap().contains("Items"));
        }
    }
    // Without an origin, a request that is not DynamoDB's is not found, and an unknown operation is refused.
    assert_eq!(client.get(format!("http://{free}/")).send().await.unwrap().status(), 404);
    let plain = client.post(format!("http://{free}/")).header("content-type", "text/plain").body("{}");
    assert_eq!(plain.send().await.unwrap().status(), 404);
    assert_eq!(ask("Nonsense").send().await.unwrap().status(), 400);
    assert!(process.stop("-TERM").await.0);
}

/// Functions on this machine (`sam local`, `cargo lambda watch`) can share its database.
#[tokio::test]
async fn its_database_listens_where_it_is_told_to() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let first = Process::start(&["--in-memory", "--database-listen", &free]).await;
    assert!(first.greeting[2].contains(&format!("http://{free}")), "{:?}", first.greeting);
    first.api.service("django", 5000, 5099).await;
    let taken =
        refusal(portmaster().args(["--in-memory", "--listen", "127.0.0.1:0", "--database-listen", &free])).await;
    assert!(taken.contains(&free) && taken.contains("--database-listen"), "{taken}");
    let client = connect(&Endpoint::Embedded(format!("http://{free}"))).await;
    let other = Registry::new(Table::new(client, TABLE), Clock::System, 1800);
    other.get_service(&call(), &service_id("django")).await.unwrap();
}

/// Sends these bytes as they are; returns what comes back until the connection ends.
async fn raw(api: &Caller, bytes: &[u8], half_close: bool) -> String {
    let address = api.url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    if half_close {
        stream.shutdown().await.unwrap();
    }
    let mut answer = String::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await;
    answer
}

#[tokio::test]
async fn a_client_that_hangs_up_is_served_and_logged() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::on(folder.path()).await;
    process.api.service("django", 5000, 5099).await;
    let put = |id: &str, service: &str, start: u16| {
        let body = json!({ "start": start, "end": start + 9 }).to_string();
        let length = body.len();
        format!(
            "PUT /v1/services/{service} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {id}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    // The client has sent everything and closes its side; that is no reason not to answer.
    assert!(raw(&process.api, put("half", "half", 6000).as_bytes(), true).await.starts_with("HTTP/1.1 201"));
    let mut stream = tokio::net::TcpStream::connect(process.api.url.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(put("gone", "gone", 7000).as_bytes()).await.unwrap();
    drop(stream);
    let mut looks = 0;
    while process.api.get("/v1/services/gone").await.status != 200 {
        looks += 1;
        assert!(looks < 500, "it was not done");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The line is written after the answer.
    tokio::time::sleep(Duration::from_millis(500)).await;
    // A head that never ends does not keep the server from stopping.
    let mut stuck = tokio::net::TcpStream::connect(process.api.url.strip_prefix("http://").unwrap()).await.unwrap();
    stuck.write_all(b"GET /heal").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (well, log) = process.stop("-TERM").await;
    assert!(well && log.contains("\"half\"") && log.contains("\"gone\""), "{log}");
}

/// Standard error is a pipe that is never read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_stops_neither_requests_nor_the_end() {
    let mut command = portmaster();
    let mut child = command.args(["--listen", "127.0.0.1:0", "--in-memory", "--log-level", "trace"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next_line().await.unwrap().unwrap();
    let url = first.strip_prefix("Portmaster listens on ").unwrap().to_owned();
    // Some 450 bytes of log each, and a pipe has room for 65,536.
    let client = http(&url).timeout(Duration::from_secs(20)).build().unwrap();
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let (client, path) = (client.clone(), format!("{url}/v1/services"));
            tokio::spawn(async move {
                for _ in 0..300 {
                    assert_eq!(client.get(&path).send().await.unwrap().status(), 200);
                }
            })
        })
        .collect();
    for asking in asking {
        asking.await.unwrap();
    }
    let kill = format!("kill -TERM {}", child.id().unwrap());
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(10), child.wait()).await.expect("it ends");
    assert!(ended.unwrap().success());
    drop(child.stderr);
}

/// A client that is idle, sends half a head, or asks for much and reads none of it does not keep the server from
/// stopping.
#[tokio::test]
async fn clients_that_wait_or_do_not_read_do_not_hold_its_end() {
    let process = Process::start(&["--in-memory"]).await;
    let address: std::net::SocketAddr = process.api.url.strip_prefix("http://").unwrap().parse().unwrap();
    let mut streams = Vec::new();
    for bytes in ["", "GET /heal", "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    for _ in 0..3 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        // Some 70 KB each: more in total than any socket buffers.
        let asked = "GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(500);
        stream.write_all(asked.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = std::time::Instant::now();
    let (well, log) = process.stop("-TERM").await;
    assert!(well && began.elapsed() < Duration::from_secs(5), "{:?} {log}", began.elapsed());
}

/// Clients keep connections and reuse them; Python's `http.client` does not expect one to be closed.
#[tokio::test]
async fn a_connection_is_kept_between_requests() {
    let process = Process::start(&["--in-memory"]).await;
    let address = process.api.url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    for wait in [0, 7] {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 1024];
        let length = stream.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "after {wait} seconds");
    }
}

#[tokio::test]
async fn its_data_is_nobody_elses() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let process = Process::on(&data).await;
    process.api.service("django", 5000, 5099).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for file in std::fs::read_dir(&data).unwrap() {
        let path = file.unwrap().path();
        let has_data = path.file_name().unwrap().to_str().unwrap().starts_with("portmaster.db");
        assert!(!has_data || mode(&path) == 0o600, "{}", path.display());
    }
    assert!(process.stop("-TERM").await.0);
}

#[tokio::test]
async fn wrong_options_are_refused_and_help_names_them_all() {
    for wrong in [
        vec!["--offer-seconds", "0"],
        vec!["--offer-seconds", "ten"],
        vec!["--listen", "nowhere"],
        vec!["--listen", ":8080"],
        vec!["--allow-host", "https://ports.example.com"],
        vec!["--dynamodb-endpoint", "nonsense"],
        vec!["--dynamodb-endpoint", "ftp://127.0.0.1"],
        vec!["--log-level", "loud"],
        vec!["--frobnicate"],
        vec!["--in-memory", "--dynamodb-endpoint", "http://127.0.0.1:1"],
    ] {
        let output = portmaster().args(&wrong).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains(wrong[0]), "{wrong:?}");
    }
    let output = portmaster().env("PORTMASTER_IN_MEMORY", "maybe").output().await.unwrap();
    assert_eq!(output.status.code(), Some(2), "a typing error is no reason to forget everything");
    let help = String::from_utf8(portmaster().arg("--help").output().await.unwrap().stdout).unwrap();
    for option in
        ["listen", "allow-host", "data", "in-memory", "offer-seconds", "dynamodb-endpoint", "table", "log-level"]
    {
        assert!(help.contains(&format!("--{option}")), "{option}");
        let variable = format!("PORTMASTER_{}", option.replace('-', "_").to_uppercase());
        assert!(help.contains(&variable), "{variable}");
    }
}

/// P18: one structured line per request, and no secret in any of them.
#[tokio::test]
async fn the_log_has_a_line_per_request_and_no_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let process = Process::start(&["--data", data, "--log-level", "trace", "--offer-seconds", "600"]).await;
    let api = &process.api;
    api.service("django", 5000, 5001).await;
    let offer = api.ask_with_key("django", "web-01", "my-idempotency-key").await.expect(201);
    let secret = offer.secret();
    api.ask_with_key("django", "web-01", "my-idempotency-key").await.expect(201);
    api.get(&format!("/v1/services/django/offers/{secret}")).await.expect(200);
    api.get(&format!("/v1/services/django/offers/{secret}/")).await.expect_problem(404, "not-found");
    api.get(&format!("/v1/services/{secret}/offers")).await.expect_problem(404, "service-not-found");
    api.get(&format!("/{secret}")).await.expect_problem(404, "not-found");
    api.send(reqwest::Method::PUT, &format!("/v1/services/django/offers/{secret}"), None, &[]).await.expect(405);
    api.accept("django", &secret).await.expect(201);
    api.reject("django", &secret).await.expect_problem(409, "offer-accepted");
    api.ask("django", "web-01").await.expect_problem(409, "name-taken");
    let id = [("x-request-id", "build-4711")];
    api.send(reqwest::Method::GET, "/v1/ports/5000", None, &id).await.expect(200);
    let (well, log) = process.stop("-TERM").await;
    assert!(well);

    let tail = secret.split_once('-').unwrap().1;
    let service_in_path = log.lines().filter(|line| line.contains(&secret)).collect::<Vec<_>>();
    // As a service's name in the path it is a name like any other. It may appear nowhere else.
    assert!(
        service_in_path
            .iter()
            .all(|line| line.contains("\"route\":\"/v1/services/{service}/offers\"")
                && line.contains("service-not-found")),
        "{service_in_path:?}"
    );
    assert!(log.matches(tail).count() <= 1 && !log.contains("my-idempotency-key"), "{log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let requests: Vec<_> = lines.iter().filter(|line| line["target"] == "portmaster::request").collect();
    assert_eq!(requests.len(), 12);
    for line in &requests {
        for member in ["timestamp", "request_id", "method", "route", "status", "dynamodb_requests", "duration_ms"] {
            assert!(!line[member].is_null(), "no {member}: {line}");
        }
    }
    let made = &requests[1];
    assert_eq!((&made["route"], &made["service"]), (&json!("/v1/services/{service}/offers"), &json!("django")));
    assert_eq!((&made["status"], &made["tries"], &made["write_units"]), (&json!(201), &json!(1), &json!(6.0)));
    let last = requests.last().unwrap();
    assert_eq!((&last["request_id"], &last["route"]), (&json!("build-4711"), &json!("/v1/ports/{port}")));
    assert_eq!(requests.iter().filter(|line| line["outcome"] == "name-taken").count(), 1);
}
