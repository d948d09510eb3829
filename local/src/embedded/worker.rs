//! The thread that owns the embedded database: it performs every request, one after another, in the order in which they
//! were sent.
//!
//! SQLite performs one write at a time however many threads write, and waits for the disk meanwhile; on a thread of its
//! own it blocks none of the runtime's. A channel leads to the thread, and each request carries a oneshot for its
//! response.
//!
//! A request that its caller gave up (its deadline passed, or its task ended) before its turn is not performed at all,
//! as if it had been lost on the way. One whose turn has come is performed before everything that the caller sends
//! after giving it up.
//!
//! **A panic in the database ends the thread**, and the process with it ([`super::Embedded::failed`]). The database
//! holds a lock and perhaps a transaction at that moment. Continuing in an open transaction would acknowledge writes
//! that are never committed, and the lock is poisoned anyway. The kill -9 tests cover a start from the file.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use dynoxide::Database;
use tokio::sync::{Notify, oneshot};

use super::history::{Expired, Feed};

/// The result of a request: the body of the response, or an error's status and body.
pub(super) type Answer = Result<String, (u16, String)>;

/// The sender of requests. Clones lead to the same thread.
#[derive(Clone, Debug)]
pub(super) struct Requests(mpsc::Sender<Message>);

#[derive(Debug)]
enum Message {
    Request { operation: String, body: Vec<u8>, answer: oneshot::Sender<Answer> },
    Expire { item: Expired, done: mpsc::Sender<Result<(), String>> },
    Stop,
}

impl Requests {
    /// The database's response; none if it has stopped.
    pub(super) async fn ask(&self, operation: &str, body: Vec<u8>) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Message::Request { operation: operation.to_owned(), body, answer }).ok()?;
        answered.await.ok()
    }

    /// Removes an item whose time is over, if it still is. Blocks until that is done.
    pub(super) fn expire(&self, item: Expired) -> Result<(), String> {
        let (done, removed) = mpsc::channel();
        let stopped = || "the embedded database has stopped".to_owned();
        self.0.send(Message::Expire { item, done }).map_err(|_| stopped())?;
        removed.recv().map_err(|_| stopped())?
    }

    /// Stops the thread after the requests sent so far.
    pub(super) fn stop(&self) {
        let _ = self.0.send(Message::Stop);
    }
}

/// What performs the requests on the thread.
pub(super) trait Performs: Send + 'static {
    /// Performs a request.
    fn perform(&mut self, database: &Database, operation: &str, body: &[u8]) -> Answer;

    /// Removes an item whose time is over, if it still is.
    fn expire(&mut self, database: &Database, item: Expired) -> Result<(), String>;
}

impl Performs for Feed {
    fn perform(&mut self, database: &Database, operation: &str, body: &[u8]) -> Answer {
        Self::perform(self, database, operation, body)
    }

    fn expire(&mut self, database: &Database, item: Expired) -> Result<(), String> {
        Self::expire(self, database, item)
    }
}

/// Nothing stands around the database: it removes what expires by itself.
impl<F: FnMut(&Database, &str, &[u8]) -> Answer + Send + 'static> Performs for F {
    fn perform(&mut self, database: &Database, operation: &str, body: &[u8]) -> Answer {
        self(database, operation, body)
    }

    fn expire(&mut self, _: &Database, _: Expired) -> Result<(), String> {
        Ok(())
    }
}

/// Starts the thread.
pub(super) fn start(
    database: Database,
    mut performs: impl Performs,
    failed: Arc<Notify>,
) -> io::Result<(Requests, JoinHandle<()>)> {
    let (requests, asked) = mpsc::channel();
    let thread = std::thread::Builder::new().name("database".to_owned()).spawn(move || {
        let _alarm = Alarm(failed);
        loop {
            match asked.recv() {
                Ok(Message::Request { operation, body, answer }) => {
                    if !answer.is_closed() {
                        let _ = answer.send(performs.perform(&database, &operation, &body));
                    }
                }
                Ok(Message::Expire { item, done }) => {
                    let _ = done.send(performs.expire(&database, item));
                }
                Ok(Message::Stop) | Err(_) => return,
            }
        }
    })?;
    Ok((Requests(requests), thread))
}

/// Notifies when its thread panics.
pub(super) struct Alarm(pub(super) Arc<Notify>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_told_and_answers_nobody() {
        let failed = Arc::new(Notify::new());
        let perform = |_: &Database, operation: &str, _: &[u8]| match operation {
            "Break" => panic!("as the database would"),
            _ => Ok("{}".to_owned()),
        };
        let (requests, thread) = start(Database::memory().unwrap(), perform, Arc::clone(&failed)).unwrap();
        assert_eq!(requests.ask("GetItem", Vec::new()).await, Some(Ok("{}".to_owned())));
        assert_eq!(requests.ask("Break", Vec::new()).await, None);
        timeout(Duration::from_secs(10), failed.notified()).await.unwrap();
        assert!(thread.join().is_err());
        assert_eq!(requests.ask("GetItem", Vec::new()).await, None, "nothing is done by a database in doubt");
    }

    #[tokio::test]
    async fn what_was_given_up_before_its_turn_is_not_done() {
        let (release, held) = mpsc::channel::<()>();
        let done = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&done);
        let perform = move |_: &Database, operation: &str, _: &[u8]| {
            if operation == "Slow" {
                held.recv().unwrap();
            }
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(String::new())
        };
        let (requests, thread) = start(Database::memory().unwrap(), perform, Arc::default()).unwrap();
        let slow = tokio::spawn({
            let requests = requests.clone();
            async move { requests.ask("Slow", Vec::new()).await }
        });
        tokio::task::yield_now().await;
        assert!(timeout(Duration::from_millis(10), requests.ask("GetItem", Vec::new())).await.is_err());
        release.send(()).unwrap();
        slow.await.unwrap().unwrap().unwrap();
        requests.ask("GetItem", Vec::new()).await.unwrap().unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 2);
        requests.stop();
        thread.join().unwrap();
        assert_eq!(requests.ask("GetItem", Vec::new()).await, None);
    }
}
