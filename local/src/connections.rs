//! Serving HTTP on a listener.

use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How long a client may take to send a request's head.
const HEAD: Duration = Duration::from_secs(5);

/// Serves until told to stop, then lets what has begun end.
///
/// Not `axum::serve`, which can do neither of two things: give up on a client that does not finish its request's head,
/// and would keep the server from stopping; and answer one that has finished and said that it sends no more (a half-closed
/// connection).
pub(crate) async fn serve(listener: TcpListener, router: Router, mut stopped: oneshot::Receiver<()>) {
    let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
    http.http1().half_close(true).timer(TokioTimer::new()).header_read_timeout(HEAD);
    let running = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: wait until some are free.
                    tracing::warn!(target: "portmaster::serve", %error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            _ = &mut stopped => break,
        };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = running.watch(http.serve_connection(TokioIo::new(stream), service).into_owned());
        tokio::spawn(async move {
            // A connection that breaks is its client's affair.
            let _ = connection.await;
        });
    }
    drop(listener);
    running.shutdown().await;
}
