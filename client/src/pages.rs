//! Lists, page by page.

use std::marker::PhantomData;

use http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use crate::error::Unexpected;
use crate::request::Request;
use crate::{Client, Error};

/// The pages of a list, which are read one after another.
#[must_use = "a list is read with `next` or `all`"]
pub struct Pages<T> {
    client: Client,
    next: Option<Request>,
    items: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Pages<T> {
    pub(crate) fn new(client: &Client, first: Request) -> Self {
        Self { client: client.clone(), next: Some(first), items: PhantomData }
    }

    /// Reads the next page; none after the last one. A page may have no items.
    ///
    /// # Errors
    ///
    /// As for every call. The next call reads the same page again.
    pub async fn next(&mut self) -> Result<Option<Vec<T>>, Error> {
        let Some(request) = &self.next else { return Ok(None) };
        let raw = self.client.send(request).await?;
        let items = self.client.read::<Vec<T>>(&raw)?.value;
        let next = match link(&raw.headers) {
            None => None,
            Some(link) => Some(Request::follow(&self.client, request.call, &link).ok_or_else(|| {
                let reason = "a link to another host".to_owned();
                Error::Unexpected(Unexpected::new(raw.status, &raw.headers, &self.client.shared.origin, Some(reason)))
            })?),
        };
        self.next = next;
        Ok(Some(items))
    }

    /// Reads all pages. The items need not all have existed at the same moment.
    ///
    /// # Errors
    ///
    /// As for every call.
    pub async fn all(mut self) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        while let Some(items) = self.next().await? {
            all.extend(items);
        }
        Ok(all)
    }
}

/// The path of the next page (RFC 8288).
fn link(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::LINK)?.to_str().ok()?;
    let (target, relation) = text.split_once(">;")?;
    (relation.trim() == "rel=\"next\"").then(|| target.trim_start_matches('<').to_owned())
}
