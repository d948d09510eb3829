//! Calls that are passed on for another program, unread.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Url;

use crate::request::Request;
use crate::{Client, Error};

/// The headers of an answer that are passed on. All others are between this client and what answered it.
const PASSED: [header::HeaderName; 4] = [header::CONTENT_TYPE, header::ETAG, header::LINK, header::RETRY_AFTER];

/// A successful answer, as it came.
#[derive(Clone, Debug)]
pub struct Passed {
    /// The status, from 200 to 299.
    pub status: StatusCode,
    /// Type, version, the link to the next page, and when to try again.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Client {
    /// Sends a call without a body, signed and repeated like every other, and returns its answer unread. For a program
    /// that stands between the registry and another one.
    ///
    /// The namespace is what the path says, not [`Client::namespace`].
    ///
    /// # Arguments
    ///
    /// - `method`: GET or DELETE.
    /// - `path`: one of the API's, which begins with `/` and needs no encoding.
    /// - `query`: as in a URL; empty for none. It is decoded and encoded again.
    ///
    /// # Errors
    ///
    /// As for every call. A gateway's own answer is an [`Error::Denied`] and never passed on: it may repeat what the
    /// request was signed with.
    pub async fn pass(&self, method: Method, path: &str, query: &str) -> Result<Passed, Error> {
        let gives_up = method == Method::DELETE;
        let call = if gives_up { "pass on a deletion" } else { "pass on a read" };
        let mut url = Url::parse("http://query.invalid/").map_err(|reason| Error::Invalid(reason.to_string()))?;
        url.set_query(Some(query));
        let pairs: Vec<_> = url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let mut request = Request::new(self, call, method, path).query(pairs);
        request.gone_is_done = gives_up;
        let raw = self.send(&request).await?;
        let kept = PASSED.into_iter().filter_map(|name| {
            let value: HeaderValue = raw.headers.get(&name)?.clone();
            Some((name, value))
        });
        Ok(Passed { status: raw.status, headers: kept.collect(), body: raw.body })
    }
}
