//! The Hint item: the ports of a service that a process found taken when it read the whole range.
//!
//! It saves a cold process from reading tens of thousands of items where one of 6 KB says nearly the same, and it
//! spares the table a crowd of such processes. No decision rests on it: a port that it calls free is claimed on the
//! Port item's own condition, and a port that it calls taken is read again within the time that any memory lasts. So it
//! is written unconditionally, by a process that has just read everything, and an absent, old or damaged Hint only
//! costs that read.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::item::{Item, Key, number};
use super::ports::Freshness;
use super::{StoreError, Table};
use crate::Call;
use portmaster_domain::allocator::{Hint, PortSet};
use portmaster_domain::{Expiry, Port, PortRange, ServiceId, Timestamp};

/// When TTL removes it, in case its service is gone. It is out of date long before.
const KEPT_SECONDS: i64 = 60 * 60;

/// The bytes of a bitmap that a range touches.
fn bytes(range: PortRange) -> std::ops::RangeInclusive<usize> {
    range.start().index() / 8..=range.end().index() / 8
}

fn read(item: &Item) -> Option<Hint> {
    let number = |name: &str| item.get(name)?.as_n().ok()?.parse::<i64>().ok();
    let port = |name: &str| Port::new(number(name)?.try_into().ok()?).ok();
    let range = PortRange::new(port("start")?, port("end")?).ok()?;
    let mut bitmap = vec![0; PortSet::BYTES];
    let part = item.get("bits")?.as_b().ok()?.as_ref();
    let place = bitmap.get_mut(bytes(range)).filter(|place| place.len() == part.len())?;
    place.copy_from_slice(part);
    let taken = PortSet::from_bytes(&bitmap)?;
    Some(Hint { range, taken, seen: Timestamp::from_millis(number("seen")?) })
}

fn item(service: &ServiceId, hint: &Hint) -> Item {
    let mut item = Key::hint(service).attributes();
    let bitmap = hint.taken.to_bytes();
    let bits = bitmap.get(bytes(hint.range)).unwrap_or_default().to_vec();
    item.insert("bits".to_owned(), AttributeValue::B(Blob::new(bits)));
    item.insert("start".to_owned(), number(hint.range.start().get().into()));
    item.insert("end".to_owned(), number(hint.range.end().get().into()));
    item.insert("seen".to_owned(), number(hint.seen.millis()));
    item.insert("expires_at".to_owned(), number(Expiry::after(hint.seen, KEPT_SECONDS).seconds()));
    item
}

impl Table {
    /// Reads the hint of a service: at most 1 read unit.
    pub(crate) async fn hint(&self, call: &Call, service: &ServiceId) -> Result<Option<Hint>, StoreError> {
        let item = self.get_as(call, &Key::hint(service), Freshness::Eventual).await?;
        Ok(item.as_ref().and_then(read))
    }

    /// Writes the hint for other processes: a write unit for each 8,000 ports of the range.
    pub(crate) async fn put_hint(&self, call: &Call, service: &ServiceId, hint: &Hint) -> Result<(), StoreError> {
        self.put(call, &item(service, hint)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_comes_back_as_it_was_written() {
        let service = ServiceId::new(portmaster_domain::Namespace::default(), "django".try_into().unwrap());
        for (start, end) in [(1024, 49_151), (5000, 5999), (5003, 5004), (1024, 1031), (49_151, 49_151)] {
            let range = PortRange::new(Port::new(start).unwrap(), Port::new(end).unwrap()).unwrap();
            let mut taken = PortSet::default();
            taken.insert(range.start());
            taken.insert(range.end());
            let hint = Hint { range, taken, seen: Timestamp::from_millis(1_800_000_000_123) };
            let written = item(&service, &hint);
            assert_eq!(read(&written), Some(hint));
            for missing in ["bits", "start", "end", "seen"] {
                let mut damaged = written.clone();
                damaged.remove(missing);
                assert_eq!(read(&damaged), None);
            }
            let mut damaged = written;
            damaged.insert("bits".to_owned(), AttributeValue::B(Blob::new(vec![0; 7000])));
            assert_eq!(read(&damaged), None);
        }
    }
}
