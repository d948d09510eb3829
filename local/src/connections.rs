//! Serves HTTP on a listener, with a limit to every wait for a client.
//!
//! `axum::serve` would wait for clients without limit: for one that does not finish its request's head, for one that
//! does not read its response, and for both when it should stop. hyper has a single timeout for the wait between two
//! requests and for the head of the next one; here these are two. And this server still answers on a half-closed
//! connection, whose client has announced that it sends no more.
//!
//! | a connection waits for | how long | then |
//! |---|---|---|
//! | the next request | [`Limits::idle`] | it is closed |
//! | the rest of a request's head | [`Limits::head`] | it is closed |
//! | its client, to read a part of a response | [`Limits::unread`]; a second when stopping | it is closed |
//! | a request in progress | as long as the request may take | it is answered |
//!
//! When it is told to stop, it closes idle connections at once. There are at most as many connections as the process
//! may have files open, less some for other files; at that limit idle connections are closed, and the next client waits
//! until one is.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::{Instant, Sleep, sleep};

/// How long the server waits for clients, and how many of them there are at most.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// How long a connection is kept for its client's next request. As in nginx, and longer than most clients keep
    /// theirs: a client that closes first never sends a request into a closing connection.
    idle: Duration,
    /// How long a client may take to send a request's head, from its first byte.
    head: Duration,
    /// How long a client may go without reading any of its response.
    unread: Duration,
    /// The maximum number of connections.
    most: usize,
}

/// How long a client may go without reading any of its response when the server is stopping.
const UNREAD_AT_THE_END: Duration = Duration::from_secs(1);

/// How often a connection that should end is checked.
const LOOK: Duration = Duration::from_millis(50);

/// Open files that are not connections: the database's, the log, the runtime's own.
const OTHER_FILES: u64 = 64;

impl Limits {
    /// As many connections as the file limit allows, within reason.
    fn usual() -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = usize::try_from(files.saturating_sub(OTHER_FILES).clamp(8, 4096)).unwrap_or(4096);
        let (idle, head, unread) = (Duration::from_secs(75), Duration::from_secs(5), Duration::from_secs(10));
        Self { idle, head, unread, most }
    }
}

/// A service that answers the requests of all connections: a router, perhaps with something in front of it.
pub(crate) trait Answers:
    Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> Answers for S where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

/// Serves until told to stop, then lets the requests in flight finish.
pub(crate) async fn serve<S: Answers>(listener: TcpListener, service: S, stopped: oneshot::Receiver<()>) {
    serve_within(Limits::usual(), listener, service, stopped).await;
}

async fn serve_within<S: Answers>(
    limits: Limits,
    listener: TcpListener,
    service: S,
    mut stopped: oneshot::Receiver<()>,
) {
    let room = Arc::new(Semaphore::new(limits.most));
    let crowded = Arc::new(Notify::new());
    let (stop, stopping) = watch::channel(false);
    loop {
        let permit = tokio::select! {
            permit = room_for_one(&room, &crowded) => permit,
            _ = &mut stopped => break,
        };
        let Ok(permit) = permit else { break };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Probably out of file descriptors all the same: wait until some are free.
                    tracing::warn!(target: "portmaster::serve", %error, "a connection was not accepted");
                    crowded.notify_waiters();
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            _ = &mut stopped => break,
        };
        let _ = stream.set_nodelay(true);
        let (service, crowded, stopping) = (service.clone(), Arc::clone(&crowded), stopping.clone());
        tokio::spawn(async move {
            connection(limits, stream, service, &crowded, stopping).await;
            drop(permit);
        });
    }
    drop(listener);
    let _ = stop.send(true);
    // All permits are back when every connection has ended.
    let _ = room.acquire_many(u32::try_from(limits.most).unwrap_or(u32::MAX)).await;
}

/// Waits for room for one more connection.
async fn room_for_one(
    room: &Arc<Semaphore>,
    crowded: &Notify,
) -> Result<tokio::sync::OwnedSemaphorePermit, tokio::sync::AcquireError> {
    loop {
        if let Ok(permit) = Arc::clone(room).try_acquire_owned() {
            return Ok(permit);
        }
        crowded.notify_waiters();
        if let Ok(permit) = tokio::time::timeout(LOOK, Arc::clone(room).acquire_owned()).await {
            return permit;
        }
    }
}

/// Serves one connection to its end. A broken connection is its client's affair.
async fn connection<S: Answers>(
    limits: Limits,
    stream: TcpStream,
    service: S,
    crowded: &Notify,
    mut stopping: watch::Receiver<bool>,
) {
    let activity = Arc::new(Activity::default());
    let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
    http.http1().half_close(true).timer(TokioTimer::new()).header_read_timeout(limits.idle);
    let seen = Arc::clone(&activity);
    let observed = service_fn(move |request| {
        let (busy, answering) = (Busy::begin(&seen), service.call(request));
        async move {
            let response = answering.await;
            drop(busy);
            response
        }
    });
    let io = TokioIo::new(Watched { limits, stream, activity: Arc::clone(&activity), head: None, unread: None });
    let mut serving = std::pin::pin!(http.serve_connection(io, observed));
    let mut is_closing = false;
    loop {
        tokio::select! {
            _ = &mut serving => return,
            _ = stopping.wait_for(|stop| *stop), if !is_closing => {
                serving.as_mut().graceful_shutdown();
                is_closing = true;
                if activity.is_idle() { return }
            }
            // A client that was about to send a request sees its connection close, as it would at the idle limit.
            () = crowded.notified(), if !is_closing => if activity.is_idle() { return },
            () = sleep(LOOK), if is_closing => if activity.is_over() { return },
        }
    }
}

/// The activity of a connection.
#[derive(Debug, Default)]
struct Activity {
    /// How many requests have begun.
    begun: AtomicU64,
    /// Whether one of them has not been answered yet.
    is_busy: AtomicBool,
    /// Since when the client has read nothing of what is written.
    unread: Mutex<Option<Instant>>,
}

impl Activity {
    fn unread(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No request is in flight and no response is unread. (A partly received head is not a request yet.)
    fn is_idle(&self) -> bool {
        !self.is_busy.load(Ordering::Relaxed) && self.unread().is_none()
    }

    /// Nothing is left to do or to wait for.
    fn is_over(&self) -> bool {
        let is_unread = |since: Instant| since.elapsed() >= UNREAD_AT_THE_END;
        !self.is_busy.load(Ordering::Relaxed) && self.unread().is_none_or(is_unread)
    }
}

/// A request is in flight while this lives.
struct Busy(Arc<Activity>);

impl Busy {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        activity.is_busy.store(true, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.is_busy.store(false, Ordering::Relaxed);
    }
}

/// A stream that fails if its client sends a head too slowly, or does not read.
struct Watched {
    limits: Limits,
    stream: TcpStream,
    activity: Arc<Activity>,
    /// When the head must have arrived, and how many requests had begun before it.
    head: Option<(Pin<Box<Sleep>>, u64)>,
    /// When the client must have read something.
    unread: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    /// The result of a write: records whether the client has read.
    fn written<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            if self.unread.take().is_some() {
                *self.activity.unread() = None;
            }
            return result;
        }
        if self.unread.is_none() {
            *self.activity.unread() = Some(Instant::now());
        }
        let limit = self.limits.unread;
        let over = self.unread.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(over.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let begun = this.activity.begun.load(Ordering::Relaxed);
        // The head that was waited for has arrived.
        this.head.take_if(|(_, before)| *before != begun);
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            // Bytes that arrive while a request is in flight belong to its body, or wait for their turn.
            if this.head.is_none() && !this.activity.is_busy.load(Ordering::Relaxed) {
                this.head = Some((Box::pin(sleep(this.limits.head)), begun));
            }
        } else if result.is_pending()
            && let Some((over, _)) = &mut this.head
        {
            ready!(over.as_mut().poll(cx));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the head of a request takes too long")));
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use hyper_util::service::TowerToHyperService;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const LARGE: &[u8] = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n";

    /// A server with short limits.
    struct Server {
        address: std::net::SocketAddr,
        stop: Option<oneshot::Sender<()>>,
        serving: JoinHandle<()>,
    }

    impl Server {
        async fn start(change: impl FnOnce(&mut Limits)) -> Self {
            let minute = Duration::from_secs(60);
            let mut limits = Limits { idle: minute, head: minute, unread: minute, most: 100 };
            change(&mut limits);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let large = "x".repeat(16 * 1024 * 1024);
            let slow = async || {
                sleep(Duration::from_millis(500)).await;
                "late"
            };
            let router = Router::new()
                .route("/", get(async || "here"))
                .route("/large", get(async move || large))
                .route("/slow", get(slow));
            let service = TowerToHyperService::new(router);
            let (stop, stopped) = oneshot::channel();
            let serving = tokio::spawn(serve_within(limits, listener, service, stopped));
            Self { address, stop: Some(stop), serving }
        }

        async fn send(&self, bytes: &[u8]) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream
        }

        /// Stops the server and returns the time that it took.
        async fn stop(mut self) -> Duration {
            let began = Instant::now();
            self.stop = None;
            timeout(Duration::from_secs(30), self.serving).await.unwrap().unwrap();
            began.elapsed()
        }
    }

    /// Returns the bytes that still arrive until the connection ends, and how long that takes.
    async fn rest(mut stream: TcpStream) -> (String, Duration) {
        let (began, mut bytes) = (Instant::now(), Vec::new());
        let _ = timeout(Duration::from_secs(30), stream.read_to_end(&mut bytes)).await.expect("it ends");
        (String::from_utf8(bytes).unwrap(), began.elapsed())
    }

    async fn answered(stream: &mut TcpStream) {
        let mut buffer = [0; 1024];
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(String::from_utf8_lossy(&buffer[..length]).ends_with("here"));
    }

    #[tokio::test]
    async fn an_idle_connection_is_kept_for_a_while_and_then_closed() {
        // A head has its own limit, independent of the time between two requests.
        let server = Server::start(|limits| {
            limits.idle = Duration::from_millis(1500);
            limits.head = Duration::from_millis(100);
        })
        .await;
        let mut stream = server.send(REQUEST).await;
        answered(&mut stream).await;
        sleep(Duration::from_millis(700)).await;
        stream.write_all(REQUEST).await.unwrap();
        answered(&mut stream).await;
        let (more, took) = rest(stream).await;
        assert!(more.is_empty() && (1000..5000).contains(&took.as_millis()), "{more} {took:?}");
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_is_not_waited_for() {
        let server = Server::start(|limits| limits.head = Duration::from_millis(300)).await;
        let (answer, took) = rest(server.send(b"GET / HT").await).await;
        assert!(answer.is_empty() && took < Duration::from_secs(5), "{answer} {took:?}");
        // The same holds for the next request's head, sent byte by byte.
        let mut stream = server.send(REQUEST).await;
        answered(&mut stream).await;
        let began = Instant::now();
        while stream.write_all(b"G").await.is_ok() {
            sleep(Duration::from_millis(50)).await;
            assert!(began.elapsed() < Duration::from_secs(10));
        }
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_given_up() {
        let server = Server::start(|limits| limits.unread = Duration::from_millis(300)).await;
        let stream = server.send(LARGE).await;
        sleep(Duration::from_millis(1500)).await;
        let (answer, _) = rest(stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.len() < 16 * 1024 * 1024, "{}", answer.len());
    }

    #[tokio::test]
    async fn one_that_reads_slowly_gets_it_all() {
        let server = Server::start(|limits| limits.unread = Duration::from_millis(500)).await;
        let mut stream = server.send(LARGE).await;
        let mut length = 0;
        let mut buffer = vec![0; 4 * 1024 * 1024];
        while length < 16 * 1024 * 1024 {
            sleep(Duration::from_millis(50)).await;
            let more = stream.read(&mut buffer).await.unwrap();
            assert!(more > 0, "cut off after {length}");
            length += more;
        }
    }

    #[tokio::test]
    async fn stopping_waits_for_answers_and_for_nothing_else() {
        let server = Server::start(|_| {}).await;
        let mut idle = server.send(REQUEST).await;
        answered(&mut idle).await;
        let half = server.send(b"GET / HT").await;
        let untouched = server.send(b"").await;
        sleep(Duration::from_millis(100)).await;
        assert!(server.stop().await < Duration::from_millis(900));
        drop((idle, half, untouched));

        let server = Server::start(|_| {}).await;
        let slow = server.send(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        sleep(Duration::from_millis(100)).await;
        server.stop().await;
        assert!(rest(slow).await.0.ends_with("late"));

        let server = Server::start(|_| {}).await;
        let unread = server.send(LARGE).await;
        sleep(Duration::from_millis(300)).await;
        assert!(server.stop().await < Duration::from_secs(5));
        drop(unread);
    }

    #[tokio::test]
    async fn where_there_is_no_room_idle_connections_make_some() {
        let server = Server::start(|limits| limits.most = 2).await;
        let mut idle = server.send(REQUEST).await;
        answered(&mut idle).await;
        let slow = server.send(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let mut third = server.send(REQUEST).await;
        timeout(Duration::from_secs(10), answered(&mut third)).await.expect("it has the idle one's place");
        assert!(rest(idle).await.0.is_empty());
        let mut answer = [0; 1024];
        let mut slow = slow;
        let length = slow.read(&mut answer).await.unwrap();
        assert!(String::from_utf8_lossy(&answer[..length]).ends_with("late"), "one in use is not closed");
    }
}
