//! `GET /v1/events`: what happens, as server-sent events (*HTML Living Standard*, "Server-sent events").
//!
//! The last events are remembered, so that a reader that was away for a moment goes on where it was (`Last-Event-ID`).
//! A reader that was away for too long, or reads too slowly, is told so by the event `reset` and looks again at what it
//! shows. Nobody waits for a reader. On AWS there is no such path: there the events are on an event bus.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use futures::stream::{self, Stream, StreamExt as _};
use portmaster_domain::{Clock, Timestamp};
use portmaster_registry::history::Event;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// How many events are remembered, for readers that were away and for those that are slow.
const REMEMBERED: usize = 1_024;

/// How often a reader hears from a registry in which nothing happens.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Where events are told, and from where readers hear them. Clones lead to the same place.
#[derive(Clone, Debug)]
pub struct Events(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// When the process began: its numbers are not those of another one.
    began: Timestamp,
    last: Mutex<Last>,
    sender: broadcast::Sender<Told>,
}

#[derive(Debug, Default)]
struct Last {
    count: u64,
    events: VecDeque<Told>,
}

/// An event with its number. Many readers share it.
type Told = (u64, Arc<Event>);

impl Default for Events {
    fn default() -> Self {
        let (sender, _) = broadcast::channel(REMEMBERED);
        Self(Arc::new(Shared { began: Clock::System.now(), last: Mutex::default(), sender }))
    }
}

impl Events {
    /// Tells an event to whoever reads. Never waits.
    pub fn tell(&self, event: Event) {
        let mut last = self.last();
        last.count += 1;
        let told = (last.count, Arc::new(event));
        if last.events.len() == REMEMBERED {
            last.events.pop_front();
        }
        last.events.push_back(told.clone());
        // Under the lock, so that a reader that begins misses none and hears none twice. An error: nobody reads.
        let _ = self.0.sender.send(told);
    }

    /// The last events that were told.
    #[must_use]
    pub fn remembered(&self) -> Vec<Event> {
        self.last().events.iter().map(|(_, event)| event.as_ref().clone()).collect()
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.0.began.millis())
    }

    /// What a reader hears: first what it has missed since an event, then what happens.
    fn read(&self, after: Option<&str>) -> impl Stream<Item = Sent> + use<> {
        let (receiver, missed, complete) = {
            let last = self.last();
            let receiver = self.0.sender.subscribe();
            let after = after.map(|id| {
                let (began, number) = id.split_once('-')?;
                let number = number.parse::<u64>().ok().filter(|number| *number <= last.count)?;
                (began == self.0.began.millis().to_string()).then_some(number)
            });
            match after {
                None => (receiver, Vec::new(), true),
                Some(None) => (receiver, Vec::new(), false),
                Some(Some(number)) => {
                    let missed: Vec<_> = last.events.iter().filter(|(other, _)| *other > number).cloned().collect();
                    let complete = missed.len() as u64 == last.count - number;
                    (receiver, if complete { missed } else { Vec::new() }, complete)
                }
            }
        };
        let reset = (!complete).then(|| self.reset(None));
        let events = self.clone();
        let missed: Vec<_> = reset.into_iter().chain(missed.iter().filter_map(|told| self.sent(told))).collect();
        let live = stream::unfold(receiver, move |mut receiver| {
            let events = events.clone();
            async move {
                loop {
                    match receiver.recv().await {
                        Ok(told) => {
                            if let Some(sent) = events.sent(&told) {
                                return Some((sent, receiver));
                            }
                        }
                        Err(RecvError::Lagged(count)) => return Some((events.reset(Some(count)), receiver)),
                        Err(RecvError::Closed) => return None,
                    }
                }
            }
        });
        stream::iter(missed).chain(live)
    }

    fn sent(&self, (number, event): &Told) -> Option<Sent> {
        let told = portmaster_http::told(event);
        let sent = Sent::default().id(self.id(*number)).event(event.kind.slug()).json_data(told);
        sent.inspect_err(|error| tracing::warn!(target: "portmaster::events", %error, "an event was not told")).ok()
    }

    /// The event that says that others were not told: so many, if that is known.
    fn reset(&self, missed: Option<u64>) -> Sent {
        let id = self.id(self.last().count);
        let data = missed.map_or_else(|| "{}".to_owned(), |missed| format!("{{\"missed\":{missed}}}"));
        Sent::default().id(id).event("reset").data(data)
    }
}

/// The handler.
pub(crate) async fn listen(events: Events, headers: HeaderMap) -> Sse<impl Stream<Item = Result<Sent, Infallible>>> {
    let after = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    Sse::new(events.read(after).map(Ok)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
