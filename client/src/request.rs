//! One call: built, signed, sent, repeated where that is allowed, and read.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Denied, Problem, Unexpected, date};
use crate::retry::{Repeat, Verdict, judge, waits};
use crate::{Answer, Client, Error, Stage, Unreachable};

/// How long a body may be. The longest answer, a list of a thousand ports with all labels, has less than one.
const MAX_BODY: usize = 8 << 20;

/// By how much the clocks here and there may differ before a refused signature is tried again with the clock there.
/// AWS allows five minutes.
const SKEW: Duration = Duration::from_secs(240);

/// All but RFC 3986's unreserved characters: the only encoding on which a signer and a server cannot differ.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A call, ready to be sent any number of times.
pub(crate) struct Request {
    /// What it does, for messages and the log: its path may contain a secret.
    pub(crate) call: &'static str,
    pub(crate) method: Method,
    url: Url,
    headers: HeaderMap,
    body: Vec<u8>,
    pub(crate) repeat: Repeat,
    /// Whether a 404 says that an earlier attempt has done it.
    pub(crate) gone_is_done: bool,
}

/// An answer's status, head and body.
pub(crate) struct Raw {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    sent: Instant,
}

impl Request {
    pub(crate) fn new(client: &Client, call: &'static str, method: Method, path: &str) -> Self {
        let mut url = client.shared.url.clone();
        // A registry behind a custom domain has a path of its own.
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        Self {
            call,
            method,
            url,
            headers: HeaderMap::new(),
            body: Vec::new(),
            repeat: Repeat::Always,
            gone_is_done: false,
        }
    }

    /// The page that a `Link` leads to: an absolute path, which has everything in it.
    pub(crate) fn follow(client: &Client, call: &'static str, link: &str) -> Option<Self> {
        let url = client.shared.url.join(link).ok()?;
        // A link to another host would take the signature with it.
        (link.starts_with('/') && url.origin() == client.shared.url.origin())
            .then(|| Self { url, ..Self::new(client, call, Method::GET, "") })
    }

    pub(crate) fn query<'a>(mut self, pairs: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let encode = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
        let pairs: Vec<_> =
            pairs.into_iter().map(|(key, value)| format!("{}={}", encode(key), encode(&value))).collect();
        if !pairs.is_empty() {
            self.url.set_query(Some(&pairs.join("&")));
        }
        self
    }

    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, Error> {
        self.body = serde_json::to_vec(body).map_err(|reason| Error::Invalid(reason.to_string()))?;
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(self)
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Result<Self, Error> {
        let value = HeaderValue::from_str(value).map_err(|_| Error::Invalid(format!("{name} cannot be {value:?}")))?;
        self.headers.insert(name, value);
        Ok(self)
    }

    fn build(&self) -> reqwest::Request {
        let mut request = reqwest::Request::new(self.method.clone(), self.url.clone());
        *request.headers_mut() = self.headers.clone();
        if !self.body.is_empty() {
            *request.body_mut() = Some(self.body.clone().into());
        }
        request
    }
}

impl Client {
    /// Sends a call, and again where it may be repeated, until the deadline.
    pub(crate) async fn send(&self, request: &Request) -> Result<Raw, Error> {
        let deadline = Instant::now() + self.deadline;
        let mut waits = waits();
        let (mut may_have_been_done, mut corrected) = (false, false);
        loop {
            let failure = match self.attempt(request, deadline).await {
                Ok(raw) => return Ok(raw),
                Err(failure) => failure,
            };
            let verdict = judge(&failure);
            if !corrected && self.correct(&failure).await {
                // Signed anew, with newer keys or another time: at once, and once.
                corrected = true;
                continue;
            }
            if may_have_been_done && request.gone_is_done && is_gone(&failure) {
                return Ok(Raw::done());
            }
            let wait = waits.next().filter(|_| verdict.allows(request.repeat));
            // After what the registry asks for, and not all who were told the same at the same moment.
            let Some(wait) = wait.map(|wait| failure.retry_after().unwrap_or_default() + wait) else {
                return Err(failure);
            };
            if Instant::now() + wait >= deadline {
                return Err(failure);
            }
            may_have_been_done |= verdict == Verdict::Ambiguous;
            tracing::debug!(call = request.call, wait_ms = wait.as_millis(), %failure, "trying again");
            tokio::time::sleep(wait).await;
        }
    }

    /// Sends a call once.
    async fn attempt(&self, request: &Request, deadline: Instant) -> Result<Raw, Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        let attempt = async {
            let (answer, sent) = self.begin(request).await?;
            self.finish(answer, sent).await
        };
        let raw = tokio::time::timeout(left.min(self.attempt), attempt).await.map_err(|_| self.late())??;
        self.note_date(&raw.headers);
        if raw.status.is_success() { Ok(raw) } else { Err(self.refusal(request, &raw)) }
    }

    /// Sends a call once, and returns its answer as soon as its head is there: for a body that has no end.
    pub(crate) async fn open(&self, request: &Request) -> Result<reqwest::Response, Error> {
        let attempt = async {
            let (answer, sent) = self.begin(request).await?;
            match answer.status().is_success() {
                true => Ok(answer),
                false => Err(self.refusal(request, &self.finish(answer, sent).await?)),
            }
        };
        tokio::time::timeout(self.attempt, attempt).await.map_err(|_| self.late())?
    }

    /// Signs a call and sends it. Returns the answer as soon as its head is there, and when the call was sent.
    async fn begin(&self, request: &Request) -> Result<(reqwest::Response, Instant), Error> {
        let mut http = request.build();
        if let Some(signer) = self.shared.signer().await? {
            signer.sign(&mut http, self.signing_time())?;
        }
        let sent = Instant::now();
        tracing::debug!(call = request.call, "sending");
        let answer = self.shared.http.execute(http).await.map_err(|error| self.lost(error))?;
        tracing::debug!(
            call = request.call,
            status = answer.status().as_u16(),
            ms = sent.elapsed().as_millis(),
            "answered"
        );
        Ok((answer, sent))
    }

    /// Reads the rest of an answer.
    async fn finish(&self, mut answer: reqwest::Response, sent: Instant) -> Result<Raw, Error> {
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.lost(error))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_BODY {
                let reason = "a body of more than 8 MiB".to_owned();
                return Err(Error::Unexpected(Unexpected::new(status, &headers, &self.shared.origin, Some(reason))));
            }
        }
        Ok(Raw { status, headers, body, sent })
    }

    fn lost(&self, error: reqwest::Error) -> Error {
        Error::Unreachable(Unreachable::new(&self.shared.origin, error))
    }

    fn late(&self) -> Error {
        let origin = self.shared.origin.clone();
        Error::Unreachable(Unreachable { stage: Stage::Timeout, origin, reason: String::new() })
    }

    fn refusal(&self, request: &Request, raw: &Raw) -> Error {
        let Raw { status, headers, body, .. } = raw;
        if let Some(problem) = Problem::read(*status, headers, body) {
            return Error::Problem(Box::new(problem));
        }
        match Denied::read(*status, headers, body, request.call) {
            Some(denied) => Error::Denied(denied),
            None => Error::Unexpected(Unexpected::new(*status, headers, &self.shared.origin, None)),
        }
    }

    /// Reads a body.
    pub(crate) fn read<T: DeserializeOwned>(&self, raw: &Raw) -> Result<Answer<T>, Error> {
        let value = serde_json::from_slice(&raw.body).map_err(|reason| {
            let is_json = raw.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().ends_with(b"json"));
            // The reason of a body in JSON names a place in it and a type, and none of its values but the wrong one.
            let reason = is_json.then(|| format!("a body that this version cannot read ({:?})", reason.classify()));
            Error::Unexpected(Unexpected::new(raw.status, &raw.headers, &self.shared.origin, reason))
        })?;
        let etag = raw.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        Ok(Answer { value, status: raw.status, etag, date: date(&raw.headers), sent: raw.sent })
    }

    /// Sends a call and reads its answer.
    pub(crate) async fn fetch<T: DeserializeOwned>(&self, request: &Request) -> Result<Answer<T>, Error> {
        self.read(&self.send(request).await?)
    }

    /// The time of signatures: this machine's, or the registry's where the two have been found to differ.
    fn signing_time(&self) -> SystemTime {
        let now = SystemTime::now();
        let skew = self.shared.skew_millis.load(Ordering::Relaxed);
        let by = Duration::from_millis(skew.unsigned_abs());
        if skew < 0 { now.checked_sub(by).unwrap_or(now) } else { now + by }
    }

    /// Notes how far the clock there is ahead of the one here, to the second.
    fn note_date(&self, headers: &HeaderMap) {
        let here = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if let (Some(there), Ok(here)) = (date(headers), i64::try_from(here.as_millis())) {
            self.shared.clock_millis.store(there.millis() - here, Ordering::Relaxed);
        }
    }

    /// Whether a refusal may be about keys that are too old or a clock that is wrong, and both have been put right.
    async fn correct(&self, failure: &Error) -> bool {
        let Error::Denied(denied) = failure else { return false };
        if denied.is_of_an_expired_token() {
            return self.shared.forget_credentials().await;
        }
        let ahead = self.shared.clock_millis.load(Ordering::Relaxed);
        let differs = Duration::from_millis(ahead.unsigned_abs()) > SKEW;
        let is_corrected = self.shared.skew_millis.load(Ordering::Relaxed) != 0;
        if denied.status == StatusCode::FORBIDDEN && differs && !is_corrected && self.shared.signs() {
            tracing::warn!(
                seconds = ahead / 1000,
                "this machine's clock is wrong; requests are signed with the registry's"
            );
            self.shared.skew_millis.store(ahead, Ordering::Relaxed);
            return true;
        }
        false
    }
}

impl Raw {
    /// What is returned for a call that an earlier attempt has done, as its repetition found out.
    fn done() -> Self {
        let (status, headers) = (StatusCode::NO_CONTENT, HeaderMap::new());
        Self { status, headers, body: Vec::new(), sent: Instant::now() }
    }
}

fn is_gone(failure: &Error) -> bool {
    failure.problem().is_some_and(|problem| problem.status == StatusCode::NOT_FOUND)
}
