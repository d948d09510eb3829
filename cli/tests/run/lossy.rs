//! A way to the registry on which answers are lost, come from somebody else, or take long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portmaster_testkit::message;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

/// What happens to requests that begin in a certain way.
#[derive(Clone)]
enum Act {
    /// The answers to the first so many of them are lost.
    Lose(Arc<AtomicUsize>),
    /// They are answered so, and not passed on.
    Answer(&'static str),
    /// They are passed on after so long.
    Delay(Duration),
}

/// Passes requests on to a registry, and loses the answers to the first so many of those that begin like this. Returns
/// the URL by which it is reached.
pub(crate) async fn lossy(url: &str, begin: &'static str, lost: usize) -> String {
    between(url, begin, Act::Lose(Arc::new(AtomicUsize::new(lost)))).await
}

/// Passes requests on to a registry, and gives this answer to those that begin like this.
pub(crate) async fn answering(url: &str, begin: &'static str, answer: &'static str) -> String {
    between(url, begin, Act::Answer(answer)).await
}

/// Passes requests on to a registry, and those that begin like this only after a while.
pub(crate) async fn slow(url: &str, begin: &'static str, delay: Duration) -> String {
    between(url, begin, Act::Delay(delay)).await
}

async fn between(url: &str, begin: &'static str, act: Act) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (own, there) = (listener.local_addr().unwrap(), url.trim_start_matches("http://").to_owned());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(pass_on(stream, there.clone(), begin, act.clone()));
        }
    });
    format!("http://{own}")
}

async fn pass_on(mut here: TcpStream, there: String, begin: &'static str, act: Act) {
    let mut there = TcpStream::connect(there).await.unwrap();
    while let Some(request) = message(&mut here).await {
        let is_meant = request.starts_with(begin.as_bytes());
        let answer = match &act {
            Act::Answer(answer) if is_meant => answer.as_bytes().to_vec(),
            _ => {
                if let Act::Delay(delay) = &act
                    && is_meant
                {
                    tokio::time::sleep(*delay).await;
                }
                there.write_all(&request).await.unwrap();
                let Some(answer) = message(&mut there).await else { return };
                answer
            }
        };
        if let Act::Lose(left) = &act
            && is_meant
            && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        {
            return;
        }
        if here.write_all(&answer).await.is_err() {
            return;
        }
    }
}
