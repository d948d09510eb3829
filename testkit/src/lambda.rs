//! A function as a process, under a Lambda Runtime API of our own.

use std::path::Path as File;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc, watch};

use crate::TABLE;

/// One function under a Runtime API (*AWS Lambda Developer Guide*, "Using the Lambda runtime API").
#[derive(Debug)]
pub struct Function {
    process: Child,
    spawned: Instant,
    /// When it first asked for an event.
    ready: watch::Receiver<Option<Instant>>,
    events: mpsc::Sender<(Value, Duration)>,
    answers: Mutex<mpsc::Receiver<Returned>>,
    /// Its standard output: metrics.
    pub metrics: Lines,
    /// Its standard error: its log.
    pub log: Lines,
}

/// What a function returned, or the error that it reported, and when.
type Returned = (Result<Value, Value>, Instant);

/// Lines as they come, each a JSON object.
#[derive(Debug)]
pub struct Lines(Mutex<mpsc::UnboundedReceiver<String>>);

impl Lines {
    fn of(stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (send, receive) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Self(Mutex::new(receive))
    }

    /// Returns the next line.
    pub async fn next(&self) -> Value {
        let mut lines = self.0.lock().await;
        let line = tokio::time::timeout(Duration::from_secs(30), lines.recv()).await.expect("a line in time").unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Returns every line that has come by now, as it is. For a process that has ended: all of them.
    pub async fn rest(&self) -> Vec<String> {
        let mut lines = self.0.lock().await;
        let mut all = Vec::new();
        while let Ok(Some(line)) = tokio::time::timeout(Duration::from_millis(200), lines.recv()).await {
            all.push(line);
        }
        all
    }

    /// Returns the next line of the log that is about a request.
    pub async fn next_request(&self) -> Value {
        self.next_of("portmaster::request").await
    }

    /// Returns the next line of the log with this target.
    pub async fn next_of(&self, target: &str) -> Value {
        loop {
            let line = self.next().await;
            if line["target"] == target {
                return line;
            }
        }
    }
}

#[derive(Clone)]
struct Runtime {
    asked: watch::Sender<Option<Instant>>,
    events: Arc<Mutex<mpsc::Receiver<(Value, Duration)>>>,
    answers: mpsc::Sender<Returned>,
}

async fn next(State(runtime): State<Runtime>) -> Response {
    runtime.asked.send_if_modified(|asked| asked.is_none() && asked.replace(Instant::now()).is_none());
    let Some((event, time)) = runtime.events.lock().await.recv().await else { return std::future::pending().await };
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + time;
    let headers = [
        ("lambda-runtime-aws-request-id", INVOCATION.to_owned()),
        ("lambda-runtime-deadline-ms", deadline.as_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-west-1:123456789012:function:f".to_owned()),
        ("lambda-runtime-trace-id", TRACE.to_owned()),
    ];
    (headers, event.to_string()).into_response()
}

/// The id of every invocation here.
pub const INVOCATION: &str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";
/// The trace of every invocation here.
pub const TRACE: &str = "Root=1-67402b40-0f2c4e6a8b0d1f2e3a4b5c6d;Parent=53995c3f42cd8ad8;Sampled=1";

async fn answer(State(runtime): State<Runtime>, Path((_, outcome)): Path<(String, String)>, body: Bytes) {
    let at = Instant::now();
    let body = serde_json::from_slice(&body).unwrap();
    let returned = if outcome == "response" { Ok(body) } else { Err(body) };
    // Nobody may wait for it any more.
    let _ = runtime.answers.send((returned, at)).await;
}

impl Function {
    /// Starts a binary, whose file has its function's name, on the table at this URL, with more variables in its
    /// environment.
    pub async fn start(binary: &File, database: &str, more: &[(&str, &str)]) -> Self {
        let function = binary.file_name().and_then(|name| name.to_str()).unwrap();
        let (asked, ready) = watch::channel(None);
        let (events, receive_events) = mpsc::channel(1);
        let (send_answers, answers) = mpsc::channel(1);
        let runtime = Runtime { asked, events: Arc::new(Mutex::new(receive_events)), answers: send_answers };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{outcome}", post(answer))
            .with_state(runtime);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, router).into_future());
        let mut command = Command::new(binary);
        command.env_clear().kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, value) in [
            ("AWS_LAMBDA_RUNTIME_API", address.to_string().as_str()),
            ("AWS_LAMBDA_FUNCTION_NAME", function),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "g"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "s"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("DYNAMODB_ENDPOINT", database),
            ("TABLE_NAME", TABLE),
            ("STACK_NAME", "test"),
        ] {
            command.env(name, value);
        }
        command.envs(more.iter().copied());
        let spawned = Instant::now();
        let mut process = command.spawn().unwrap();
        let (metrics, log) = (Lines::of(process.stdout.take().unwrap()), Lines::of(process.stderr.take().unwrap()));
        Self { process, spawned, ready, events, answers: Mutex::new(answers), metrics, log }
    }

    /// The id of its process, as long as that runs.
    pub fn id(&self) -> u32 {
        self.process.id().unwrap()
    }

    /// Kills it, and waits until it is gone.
    pub async fn stop(mut self) {
        self.process.kill().await.unwrap();
    }

    /// Returns how long it took from its start until it asked for its first event. Waits for that.
    pub async fn initialized(&self) -> Duration {
        let mut ready = self.ready.clone();
        let at = ready.wait_for(Option::is_some).await.unwrap().unwrap();
        at - self.spawned
    }

    /// Sends an event with a deadline in 30 seconds.
    pub async fn invoke(&self, event: Value) -> Value {
        self.invoke_within(event, Duration::from_secs(30)).await
    }

    /// Sends an event whose deadline is after this time.
    pub async fn invoke_within(&self, event: Value, time: Duration) -> Value {
        self.try_invoke(event, time).await.unwrap()
    }

    /// Sends an event whose deadline is after this time. Returns what the function returned, or the error that it reported
    /// (`errorType` and `errorMessage`).
    ///
    /// # Errors
    /// The error.
    pub async fn try_invoke(&self, event: Value, time: Duration) -> Result<Value, Value> {
        self.answered(event, time).await.0
    }

    /// Sends an event, and does not wait for its answer.
    pub async fn send(&self, event: Value) {
        self.events.send((event, Duration::from_secs(30))).await.unwrap();
    }

    /// Sends an event, and measures the time until it is answered.
    pub async fn time(&self, event: Value) -> (Value, Duration) {
        let sent = Instant::now();
        let (answer, at) = self.answered(event, Duration::from_secs(30)).await;
        (answer.unwrap(), at - sent)
    }

    async fn answered(&self, event: Value, time: Duration) -> Returned {
        self.events.send((event, time)).await.unwrap();
        let mut answers = self.answers.lock().await;
        tokio::time::timeout(Duration::from_secs(30), answers.recv()).await.expect("an answer in time").unwrap()
    }
}
