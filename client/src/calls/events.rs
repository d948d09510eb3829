//! Events: what happens in a registry, as server-sent events (*HTML Living Standard*, "Server-sent events").

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};
use portmaster_wire::Kind;

use crate::error::{Unexpected, Unreachable};
use crate::request::Request;
use crate::{Client, Error, Stage};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// How long nothing may come before the connection counts as lost. A registry says something every 15 seconds, whatever
/// happens.
const SILENCE: Duration = Duration::from_secs(60);

/// How long an event may be. The longest has an owner and all labels, which is less than two KiB.
const MAX_EVENT: usize = 64 << 10;

/// An event, as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// What has happened, such as `port-allocated`; `reset` says that others were not told.
    pub event: String,
    /// Its details, in JSON.
    pub data: String,
    /// From where to go on, for [`Client::events`].
    pub id: Option<String>,
}

/// The events of a registry, as they happen.
#[derive(Debug)]
#[must_use = "events are read with `next`"]
pub struct Events {
    answer: reqwest::Response,
    origin: String,
    lines: Lines,
}

impl Client {
    /// Listens to the events of all namespaces: from now on, or from after the event with this id, if the registry
    /// still remembers it. None if the registry sends no events, as one on AWS does not: there they are on an event bus.
    ///
    /// Neither this nor [`Events::next`] is repeated after a failure; listen again, with the latest id.
    ///
    /// # Errors
    ///
    /// As for every call.
    pub async fn events(&self, after: Option<&str>) -> Result<Option<Events>, Error> {
        let mut request = Request::new(self, "listen to events", Method::GET, &portmaster_wire::path::events())
            .header(header::ACCEPT, "text/event-stream")?;
        if let Some(id) = after {
            request = request.header(LAST_EVENT_ID, id)?;
        }
        let answer = match self.open(&request).await {
            Ok(answer) => answer,
            Err(error) if is_unknown_call(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let kind = answer.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if !kind.starts_with(b"text/event-stream") {
            let reason = "the answer is not a stream of events".to_owned();
            let headers = answer.headers().clone();
            return Err(Error::Unexpected(Unexpected::new(answer.status(), &headers, self.origin(), Some(reason))));
        }
        Ok(Some(Events { answer, origin: self.origin().to_owned(), lines: Lines::default() }))
    }
}

/// Whether a refusal says that there is no such call, and not that something is wrong with it. A gateway that has no
/// such route, or no right for it, answers by itself.
fn is_unknown_call(error: &Error) -> bool {
    match error {
        Error::Problem(problem) => matches!(problem.kind, Some(Kind::NotFound | Kind::MethodNotAllowed)),
        Error::Denied(denied) => [403, 404].contains(&denied.status.as_u16()),
        _ => false,
    }
}

impl Events {
    /// Waits for the next event; none if the registry has ended the stream, as when it stops.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] where the connection is lost, or silent for a minute.
    pub async fn next(&mut self) -> Result<Option<Told>, Error> {
        loop {
            if let Some(told) = self.lines.next() {
                return Ok(Some(told));
            }
            let chunk = tokio::time::timeout(SILENCE, self.answer.chunk()).await.map_err(|_| {
                let reason = "it has been silent for a minute".to_owned();
                Error::Unreachable(Unreachable { stage: Stage::Timeout, origin: self.origin.clone(), reason })
            })?;
            match chunk.map_err(|error| Error::Unreachable(Unreachable::new(&self.origin, error)))? {
                Some(chunk) => self.lines.push(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// What has come and is not read yet, and the event whose lines are being read.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    event: String,
    data: Option<String>,
    id: Option<String>,
}

impl Lines {
    fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
    }

    /// The next whole event.
    fn next(&mut self) -> Option<Told> {
        loop {
            // A line ends with CR, LF or both; a CR at the end may be half of both.
            let end = self.bytes.iter().position(|byte| [b'\n', b'\r'].contains(byte));
            let end = end.filter(|end| self.bytes.get(*end) == Some(&b'\n') || end + 1 < self.bytes.len());
            let Some(end) = end else {
                // Nothing that a registry sends.
                if self.bytes.len() > MAX_EVENT {
                    self.bytes.clear();
                }
                return None;
            };
            let both = self.bytes.get(end..end + 2) == Some(b"\r\n");
            let line: Vec<u8> = self.bytes.drain(..end + if both { 2 } else { 1 }).take(end).collect();
            if let Some(told) = self.take(&String::from_utf8_lossy(&line)) {
                return Some(told);
            }
        }
    }

    fn take(&mut self, line: &str) -> Option<Told> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return Some(Told { event, data: self.data.take()?, id: self.id.clone() });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event = value.to_owned(),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "data" => {
                let data = self.data.take().map_or_else(String::new, |data| data + "\n") + value;
                // One that is too long is dropped, rather than held.
                self.data = (data.len() <= MAX_EVENT).then_some(data);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(chunks: &[&str]) -> Vec<(String, String, Option<String>)> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        for chunk in chunks {
            lines.push(chunk.as_bytes());
            while let Some(Told { event, data, id }) = lines.next() {
                all.push((event, data, id));
            }
        }
        all
    }

    #[test]
    fn events_are_read_wherever_they_are_cut() {
        let text =
            ": hello\r\n\r\nid: 1-7\nevent: port-allocated\ndata: {\"port\":\ndata: 5000}\n\ndata:x\r\revent: y\n\n";
        let expected = vec![
            ("port-allocated".to_owned(), "{\"port\":\n5000}".to_owned(), Some("1-7".to_owned())),
            (String::new(), "x".to_owned(), Some("1-7".to_owned())),
        ];
        assert_eq!(read(&[text]), expected);
        for at in 0..text.len() {
            let (one, other) = text.split_at(at);
            assert_eq!(read(&[one, other]), expected, "cut at {at}");
        }
    }

    #[test]
    fn what_has_no_end_is_not_kept() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.push(&[b'x'; 4096]);
            assert_eq!(lines.next(), None);
            assert!(lines.bytes.len() <= MAX_EVENT + 4096);
        }
        let line = format!("data: {}\n", "y".repeat(1000));
        for _ in 0..100 {
            lines.push(line.as_bytes());
            assert_eq!(lines.next(), None);
        }
        assert!(lines.data.as_ref().is_none_or(|data| data.len() <= MAX_EVENT));
    }
}
