//! The thread that keeps the history: from images to tenures and events, and the tenures into a database of their own.

use std::collections::HashMap;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dynoxide::Database;
use lru::LruCache;
use portmaster_domain::{Tenure, TenureId, Timestamp};
use portmaster_registry::History;
use portmaster_registry::history::{Image, Moment, Sequence, changes};
use tokio::sync::{Notify, oneshot};

use super::super::perform::perform;
use super::super::worker::{Alarm, Answer};
use super::feed::read;
use super::journal::{self, PkSk, Stripped};
use super::native::{self, Item};
use super::{HISTORY_TABLE, Keeping};

/// How many messages may wait for the thread; whoever sends one more waits.
const WAITING: usize = 8_192;

/// How long nothing must have come before tenures are written.
const IDLE: Duration = Duration::from_millis(100);

/// How long it rests when it has caught up. An event, or an answer, waits no longer.
const NAP: Duration = Duration::from_millis(10);

/// How long a tenure waits at most, and how many of them do.
const LATEST: Duration = Duration::from_secs(5);
const MOST: usize = 20_000;

/// How many tenures one transaction writes.
const BATCH: usize = 4_000;

/// How many images are remembered, so that they need not be read twice.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(8_192).unwrap();

/// How long it waits after a write has failed.
const PAUSE: Duration = Duration::from_secs(5);

/// What the thread is told.
#[derive(Debug)]
pub(in super::super) enum Message {
    /// A write has changed an item.
    Change { before: Option<Arc<Item>>, after: Option<Arc<Item>>, at: Timestamp, by_ttl: bool, sequence: u64 },
    /// A segment of the journal is complete.
    Complete(u64),
    /// A request to the history's database.
    Request { operation: String, body: Vec<u8>, answer: oneshot::Sender<Answer> },
    /// Write everything, and end.
    Stop,
}

/// An item as it was seen last, and what it said.
type Seen = (Option<Arc<Item>>, Option<Arc<Image>>);

/// A tenure that waits to be written.
struct Pending {
    tenure: Tenure,
    sequence: Sequence,
}

/// See the module.
pub(in super::super) struct Recorder {
    keeping: Keeping,
    database: Database,
    /// Where the journal is, if there is one, and its segments whose changes all have arrived here.
    folder: Option<PathBuf>,
    complete: Vec<u64>,
    pending: HashMap<TenureId, Pending>,
    /// Since when the first of them waits.
    since: Option<Instant>,
    /// When a write failed, if the last one did.
    failed: Option<Instant>,
    images: LruCache<PkSk, Seen>,
    /// Whether the table of tenures is known to be there.
    is_ready: bool,
    swept: Instant,
}

impl Recorder {
    /// Over this database, with what earlier processes have left in a folder.
    ///
    /// `registry` is the registry's database: what their last writes did is in it.
    pub(in super::super) fn new(
        keeping: Keeping,
        database: Database,
        folder: Option<&Path>,
        registry: &Database,
    ) -> io::Result<Self> {
        let mut recorder = Self {
            keeping,
            database,
            folder: folder.map(Path::to_owned),
            complete: Vec::new(),
            pending: HashMap::new(),
            since: None,
            failed: None,
            images: LruCache::new(REMEMBERED),
            is_ready: false,
            swept: Instant::now(),
        };
        if let Some(folder) = folder {
            recorder.replay(folder, registry)?;
        }
        Ok(recorder)
    }

    /// Catches up with the journal. Its changes may have been written before: then they are written again, as they were.
    fn replay(&mut self, folder: &Path, registry: &Database) -> io::Result<()> {
        let (intents, numbers) = journal::left(folder)?;
        // From the last to the first: what a write found is what the one before it left.
        let mut next: HashMap<PkSk, Option<Item>> = HashMap::new();
        let mut found = Vec::new();
        for intent in intents.into_iter().rev() {
            for (key, before) in intent.items {
                let after = match next.remove(&key) {
                    Some(after) => after,
                    None => {
                        let item = read(registry, &self.keeping.table, &key).map_err(io::Error::other)?;
                        item.and_then(|item| Some(Stripped::of(&item)?.to_item()))
                    }
                };
                if before != after {
                    found.push((before.clone(), after, intent.at, intent.by_ttl, intent.sequence));
                }
                next.insert(key, before);
            }
        }
        let count = found.len();
        for (before, after, at, by_ttl, sequence) in found.into_iter().rev() {
            let (before, after) = (before.as_ref().and_then(image), after.as_ref().and_then(image));
            self.change(before.as_ref(), after.as_ref(), Timestamp::from_millis(at), by_ttl, sequence, false);
        }
        self.complete = numbers;
        if count > 0 {
            tracing::info!(target: "portmaster::history", changes = count, "caught up with the journal");
        }
        Ok(())
    }

    /// Starts the thread.
    pub(in super::super) fn start(self, failed: Arc<Notify>) -> io::Result<(SyncSender<Message>, JoinHandle<()>)> {
        let (sender, messages) = mpsc::sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("history".to_owned()).spawn(move || {
            let _alarm = Alarm(failed);
            yield_to_others();
            self.run(&messages);
        })?;
        Ok((sender, thread))
    }

    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            match messages.recv_timeout(self.patience()) {
                Ok(message) => {
                    if !self.handle(message) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.write();
                    self.sweep();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.write();
                    return;
                }
            }
            while let Ok(message) = messages.try_recv() {
                if !self.handle(message) {
                    return;
                }
            }
            // Nothing times out above while messages keep coming.
            self.sweep();
            // Awake, it would be woken for every change, which costs the database's thread as much as this one.
            std::thread::sleep(NAP);
        }
    }

    /// Returns whether there is more to do.
    fn handle(&mut self, message: Message) -> bool {
        match message {
            Message::Change { before, after, at, by_ttl, sequence } => {
                let (before, after) = self.images_of(before, after);
                self.change(before.as_deref(), after.as_deref(), at, by_ttl, sequence, true);
                let is_late = self.since.is_some_and(|since| since.elapsed() >= LATEST);
                if is_late || self.pending.len() >= MOST {
                    self.write();
                }
            }
            Message::Complete(segment) => {
                self.complete.push(segment);
                self.write();
            }
            Message::Request { operation, body, answer } => {
                if matches!(operation.as_str(), "Query" | "GetItem" | "BatchGetItem" | "Scan") {
                    self.write();
                }
                if !answer.is_closed() {
                    let answered = perform(&self.database, &operation, &body);
                    self.is_ready |= operation == "UpdateTimeToLive" || operation == "DescribeTimeToLive";
                    let _ = answer.send(answered);
                }
            }
            Message::Stop => {
                self.write();
                return false;
            }
        }
        true
    }

    /// How long to wait for a message.
    fn patience(&self) -> Duration {
        match (self.pending.is_empty(), self.failed) {
            (true, _) => self.keeping.sweep,
            (false, None) => IDLE.min(self.keeping.sweep),
            (false, Some(_)) => PAUSE.min(self.keeping.sweep),
        }
    }

    /// The images of an item. What it was is known if it was seen before, and what it is, is what it will have been.
    fn images_of(
        &mut self,
        before: Option<Arc<Item>>,
        after: Option<Arc<Item>>,
    ) -> (Option<Arc<Image>>, Option<Arc<Image>>) {
        let image = |item: &Item| image(item).map(Arc::new);
        let key = after
            .as_ref()
            .or(before.as_ref())
            .and_then(|item| Some((native::text(item, "pk")?.to_owned(), native::text(item, "sk")?.to_owned())));
        let is = after.as_ref().and_then(|item| image(item));
        let Some(key) = key else { return (None, is) };
        let was = match (self.images.put(key, (after, is.clone())), before) {
            (_, None) => None,
            // The very item that was looked at before.
            (Some((Some(item), known)), Some(before)) if Arc::ptr_eq(&item, &before) => known,
            (_, Some(before)) => image(&before),
        };
        (was, is)
    }

    fn change(
        &mut self,
        before: Option<&Image>,
        after: Option<&Image>,
        at: Timestamp,
        by_ttl: bool,
        sequence: u64,
        tell: bool,
    ) {
        let moment = Moment { at, by_ttl, nearly_full: self.keeping.nearly_full };
        let changes = changes(before, after, &moment);
        if tell {
            changes.events.into_iter().for_each(|event| self.keeping.events.tell(event));
        }
        for tenure in changes.tenures {
            self.since.get_or_insert_with(Instant::now);
            self.pending.insert(tenure.id.clone(), Pending { tenure, sequence: sequence.into() });
        }
    }

    /// Writes what is pending. If that fails it stays so, and its journal too.
    fn write(&mut self) {
        let is_pausing = self.failed.is_some_and(|failed| failed.elapsed() < PAUSE);
        if !self.is_ready || is_pausing || (self.pending.is_empty() && self.complete.is_empty()) {
            return;
        }
        let item = |Pending { tenure, sequence }: &Pending| {
            History::item(tenure, sequence, self.keeping.days).ok().and_then(native::to_native)
        };
        // In the order of the table, so that neighbours are written together.
        let mut pending: Vec<_> = self.pending.values().collect();
        pending.sort_unstable_by_key(|Pending { tenure, .. }| (tenure.port, tenure.offered));
        let mut items = pending.into_iter().filter_map(item);
        loop {
            let some: Vec<_> = items.by_ref().take(BATCH).collect();
            if some.is_empty() {
                break;
            }
            // No condition is needed: there is one writer, and it goes by the order of the changes.
            if let Err(error) = self.database.import_items(HISTORY_TABLE, some, Default::default()) {
                tracing::warn!(target: "portmaster::history", %error, "the history cannot be written");
                self.failed = Some(Instant::now());
                return;
            }
        }
        self.pending.clear();
        (self.since, self.failed) = (None, None);
        if let Some(folder) = &self.folder {
            self.complete.drain(..).for_each(|segment| journal::remove(folder, segment));
        }
    }

    fn sweep(&mut self) {
        if self.swept.elapsed() < self.keeping.sweep {
            return;
        }
        self.swept = Instant::now();
        if let Err(error) = self.database.sweep_ttl() {
            tracing::warn!(target: "portmaster::history", %error, "old tenures were not removed");
        }
    }
}

/// Lowers the priority of this thread, so that the threads that answer callers go first. Of a processor that is always
/// busy it still gets a tenth, which is more than it needs.
fn yield_to_others() {
    // On Linux the priority is that of the calling thread (setpriority(2), "C library/kernel differences").
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, 10) {
        tracing::debug!(target: "portmaster::history", %error, "the history's thread keeps the usual priority");
    }
}

/// What an item says; none, with a line in the log, if this version cannot read it.
fn image(item: &Item) -> Option<Image> {
    Image::read(native::to_sdk(item)).unwrap_or_else(|error| {
        tracing::warn!(target: "portmaster::history", %error, "an item has no history: it cannot be read");
        None
    })
}
