//! Around the database, on its thread: the images before and after each write.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use dynoxide::actions::delete_item::DeleteItemRequest;
use dynoxide::actions::get_item::GetItemRequest;
use dynoxide::actions::put_item::PutItemRequest;
use dynoxide::actions::transact_write_items::TransactWriteItemsRequest;
use dynoxide::actions::update_item::UpdateItemRequest;
use dynoxide::{AttributeValue, Database};
use lru::LruCache;
use portmaster_domain::Clock;
use portmaster_registry::history::Image;

use super::super::perform::{perform, run};
use super::super::worker::Answer;
use super::journal::{Intent, Journal, PkSk, Stripped};
use super::native::{self, Item};
use super::{Keeping, Message};

/// How many items are remembered: some 10 MB, and more ports than a busy registry has in their short lives at a time.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// An item as it is; none if it is not there.
type State = Option<Arc<Item>>;

/// An item whose time is over, and that is to be removed.
#[derive(Debug)]
pub(in super::super) struct Expired {
    pub(in super::super) key: PkSk,
    /// In seconds since the epoch.
    pub(in super::super) now: i64,
}

/// See the module.
pub(in super::super) struct Feed {
    table: String,
    clock: Clock,
    journal: Option<Journal>,
    changes: SyncSender<Message>,
    remembered: LruCache<PkSk, State>,
    sequence: u64,
}

/// An item that a write is about, and what it will be, if that is known.
struct Watched {
    key: PkSk,
    after: After,
}

enum After {
    /// Nothing will be there.
    Absent,
    /// This very item will.
    Item(Arc<Item>),
    /// It must be read.
    Unknown,
}

impl Feed {
    pub(in super::super) fn new(keeping: &Keeping, journal: Option<Journal>, changes: SyncSender<Message>) -> Self {
        Self {
            table: keeping.table.clone(),
            clock: keeping.clock.clone(),
            journal,
            changes,
            remembered: LruCache::new(REMEMBERED),
            sequence: 0,
        }
    }

    /// Performs a request, and passes on what it changed.
    pub(in super::super) fn perform(&mut self, database: &Database, operation: &str, body: &[u8]) -> Answer {
        match operation {
            "PutItem" => run(body, |request: PutItemRequest| {
                let watched = match self.watched(&request.table_name, &request.item) {
                    Some(key) => vec![Watched { key, after: After::Item(Arc::new(request.item.clone())) }],
                    None => Vec::new(),
                };
                self.around(database, watched, false, |_| database.put_item(request))
            }),
            "DeleteItem" => run(body, |request: DeleteItemRequest| {
                let watched = self.watched(&request.table_name, &request.key);
                let watched = watched.map(|key| Watched { key, after: After::Absent }).into_iter().collect();
                self.around(database, watched, false, |_| database.delete_item(request))
            }),
            "UpdateItem" => run(body, |mut request: UpdateItemRequest| {
                let watched = self.watched(&request.table_name, &request.key);
                let watched: Vec<_> = watched.map(|key| Watched { key, after: After::Unknown }).into_iter().collect();
                // The item as it is now is at hand there; reading it would cost as much as writing it.
                let shows = !watched.is_empty() && matches!(request.return_values.as_deref(), None | Some("NONE"));
                if shows {
                    request.return_values = Some("ALL_NEW".to_owned());
                }
                let is_whole = !watched.is_empty() && request.return_values.as_deref() == Some("ALL_NEW");
                self.around(database, watched, false, |watched| {
                    let mut response = database.update_item(request)?;
                    let whole = if shows {
                        response.attributes.take()
                    } else {
                        response.attributes.as_ref().filter(|_| is_whole).cloned()
                    };
                    if let (Some(one), Some(item)) = (watched.first_mut(), whole) {
                        one.after = After::Item(Arc::new(item));
                    }
                    Ok(response)
                })
            }),
            "TransactWriteItems" => run(body, |request: TransactWriteItemsRequest| {
                let mut watched = Vec::new();
                for part in &request.transact_items {
                    let (key, after) = if let Some(put) = &part.put {
                        (self.watched(&put.table_name, &put.item), After::Item(Arc::new(put.item.clone())))
                    } else if let Some(delete) = &part.delete {
                        (self.watched(&delete.table_name, &delete.key), After::Absent)
                    } else if let Some(update) = &part.update {
                        (self.watched(&update.table_name, &update.key), After::Unknown)
                    } else {
                        (None, After::Unknown)
                    };
                    watched.extend(key.map(|key| Watched { key, after }));
                }
                self.around(database, watched, false, |_| database.transact_write_items(request))
            }),
            "GetItem" | "Query" | "TransactGetItems" | "Scan" | "BatchGetItem" => perform(database, operation, body),
            // Not the registry's: an operator's tool. What it changes of ports is not seen, but by the next change.
            _ => {
                self.remembered.clear();
                perform(database, operation, body)
            }
        }
    }

    /// Removes an item whose time is over, if it still is.
    pub(in super::super) fn expire(
        &mut self,
        database: &Database,
        Expired { key, now }: Expired,
    ) -> Result<(), String> {
        let request = DeleteItemRequest {
            table_name: self.table.clone(),
            key: attributes(&key),
            condition_expression: Some("expires_at <= :now".to_owned()),
            expression_attribute_values: Some([(":now".to_owned(), AttributeValue::N(now.to_string()))].into()),
            ..DeleteItemRequest::default()
        };
        let is_watched = Image::is_of(&key.0, &key.1);
        let watched = is_watched.then_some(Watched { key, after: After::Absent }).into_iter().collect();
        match self.around(database, watched, true, |_| database.delete_item(request)) {
            Err(error) if error.status_code() != 400 => Err(error.to_string()),
            // It was renewed, or is gone.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// The key of an item that history or events are about.
    fn watched(&self, table: &str, item: &Item) -> Option<PkSk> {
        let (pk, sk) = (native::text(item, "pk")?, native::text(item, "sk")?);
        (table == self.table && Image::is_of(pk, sk)).then(|| (pk.to_owned(), sk.to_owned()))
    }

    /// Performs a write, noting first what its items were, and passing on what they are.
    fn around<T>(
        &mut self,
        database: &Database,
        mut watched: Vec<Watched>,
        by_ttl: bool,
        write: impl FnOnce(&mut Vec<Watched>) -> dynoxide::Result<T>,
    ) -> dynoxide::Result<T> {
        if watched.is_empty() {
            return write(&mut watched);
        }
        let before = watched.iter().map(|one| self.state(database, &one.key)).collect::<Result<Vec<_>, _>>()?;
        let at = self.clock.now();
        self.sequence = self.sequence.saturating_add(1).max(u64::try_from(at.millis()).unwrap_or_default() * 1_000);
        let sequence = self.sequence;
        if self.journal.is_some() {
            let stripped = before.iter().map(|item| item.as_deref().and_then(Stripped::of));
            let items = watched.iter().map(|one| &one.key).zip(stripped).collect();
            self.note(&Intent { at: at.millis(), sequence, by_ttl, items });
        }
        let written = write(&mut watched)?;
        for (Watched { key, after }, before) in watched.into_iter().zip(before) {
            let after = match after {
                After::Absent => None,
                After::Item(item) => Some(item),
                After::Unknown => read(database, &self.table, &key)?,
            };
            self.remembered.put(key, after.clone());
            if before != after {
                self.send(Message::Change { before, after, at, by_ttl, sequence });
            }
        }
        Ok(written)
    }

    /// An item as it is.
    fn state(&mut self, database: &Database, key: &PkSk) -> dynoxide::Result<State> {
        if let Some(state) = self.remembered.get(key) {
            return Ok(state.clone());
        }
        read(database, &self.table, key)
    }

    fn note(&mut self, intent: &Intent<&PkSk, Stripped<'_>>) {
        let Some(journal) = &mut self.journal else { return };
        match journal.note(intent) {
            Ok(Some(complete)) => self.send(Message::Complete(complete)),
            Ok(None) => {}
            // The registry goes on: what it has told its callers does not depend on its history.
            Err(error) => {
                tracing::warn!(target: "portmaster::history", %error, "the history's journal cannot be written");
            }
        }
    }

    /// Waits if the recorder is far behind, so that what waits for it is bounded. If it has ended, so does the process.
    fn send(&self, message: Message) {
        let _ = self.changes.send(message);
    }
}

fn attributes((pk, sk): &PkSk) -> Item {
    let text = |text: &String| AttributeValue::S(text.clone());
    [("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))].into()
}

/// Reads an item from the database.
pub(super) fn read(database: &Database, table: &str, key: &PkSk) -> dynoxide::Result<State> {
    let request = GetItemRequest { table_name: table.to_owned(), key: attributes(key), ..GetItemRequest::default() };
    Ok(database.get_item(request)?.item.map(Arc::new))
}
