//! The Usage item: how full a service was when the reconciler last came by.
//!
//! No decision rests on it, so it is written unconditionally: of two runs at once, the later one's numbers stay, and the
//! next run corrects what is wrong about them. TTL removes the item of a service, or of a namespace, that is gone.

use std::collections::HashMap;

use super::access::Keys;
use super::item::{Item, Key, decode_at, encode, number, usage_partition};
use super::ports::Freshness;
use super::{StoreError, Table};
use crate::Call;
use portmaster_domain::{Expiry, Namespace, ServiceId, ServiceName, Usage};

/// When TTL removes it, unless it is written again: much later than the reconciler comes by at the latest.
const KEPT_SECONDS: i64 = 30 * 24 * 60 * 60;

/// How many one page has at most: some 300 KB.
const PAGE: usize = 1_000;

/// A Usage item as it was read, with its service; none if this version cannot read it.
fn usage(item: Item) -> Option<(ServiceName, Usage)> {
    let key = Key::of(&item)?;
    let name = ServiceName::try_from(key.sk.as_str()).ok()?;
    Some((name, decode_at(&key, item).ok()?))
}

impl Table {
    /// Reads the usage of a service, eventually consistently: half a read unit.
    pub(crate) async fn usage(&self, call: &Call, service: &ServiceId) -> Result<Option<Usage>, StoreError> {
        let item = self.get_as(call, &Key::usage(service), Freshness::Eventual).await?;
        Ok(item.and_then(usage).map(|(_, usage)| usage))
    }

    /// Reads the usage of the services of a namespace from one name to another, both included, or of all of them:
    /// eventually consistently, half a read unit for each 4 KB, that is for some twenty of them.
    pub(crate) async fn usages(
        &self,
        call: &Call,
        namespace: &Namespace,
        names: Option<(&ServiceName, &ServiceName)>,
    ) -> Result<HashMap<ServiceName, Usage>, StoreError> {
        let partition = usage_partition(namespace);
        let keys = names.map_or(Keys::All, |(first, last)| Keys::Between(first.as_str(), last.as_str()));
        let (mut found, mut start) = (HashMap::new(), None);
        loop {
            let output = self.query(call, (&partition, keys), start, PAGE, Freshness::Eventual).await?;
            found.extend(output.items.unwrap_or_default().into_iter().filter_map(usage));
            start = output.last_evaluated_key;
            if start.is_none() {
                return Ok(found);
            }
        }
    }

    /// Writes the usage of a service: a write unit.
    pub(crate) async fn put_usage(&self, call: &Call, service: &ServiceId, usage: &Usage) -> Result<(), StoreError> {
        let mut item = encode(&Key::usage(service), usage)?;
        let expires_at = Expiry::after(usage.as_of, KEPT_SECONDS);
        item.insert("expires_at".to_owned(), number(expires_at.seconds()));
        self.put(call, &item).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portmaster_domain::{Counts, Peak, Timestamp};

    #[test]
    fn a_usage_comes_back_as_it_was_written() {
        let long = |letter: &str| letter.repeat(64);
        let service = ServiceId::new(long("n").as_str().try_into().unwrap(), long("s").as_str().try_into().unwrap());
        let at = Timestamp::from_millis(1_800_000_000_123);
        let all = 48_128;
        let counts = Counts { free: all, offered: all, allocated: all, cooling: all, quarantined: all, reserved: all };
        let peaks = (0..8).map(|day| Peak { day: 20_000 + day, taken: all }).collect();
        let written = Usage { created: at, as_of: at, counts, largest_free_run: all, peaks };
        let mut item = encode(&Key::usage(&service), &written).unwrap();
        item.insert("expires_at".to_owned(), number(1_800_000_000));
        assert_eq!(usage(item.clone()), Some((service.name, written)));
        item.remove("counts");
        assert_eq!(usage(item), None);
    }
}
