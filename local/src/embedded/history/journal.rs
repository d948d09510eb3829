//! The journal: what was about to be written, in files beside the database.
//!
//! A line is noted before a write is done, with the image of each of its items before it, and in place of a secret the
//! name of its tenure. What the write did, if anything, is what the next line about the same item says it was before,
//! or what the item says now. So a line is enough, and it need not wait for the disk: the file outlives the process,
//! however that ends. (After a failure of the machine the last seconds of history may be missing; the registry's own
//! data is not.)
//!
//! The lines are in segments. A segment is removed when everything in it has been written to the history.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use dynoxide::AttributeValue;
use portmaster_registry::history::Image;
use serde::{Deserialize, Serialize, Serializer};

use super::native::{self, Item};

/// How large a segment becomes, in bytes: some 10,000 lines.
const SEGMENT: u64 = 4 * 1024 * 1024;

const PREFIX: &str = "history-";
const SUFFIX: &str = ".journal";

/// The attribute that no journal has.
const SECRET: &str = "secret";

/// The key of an item.
pub(in super::super) type PkSk = (String, String);

/// A write that was about to be done: as it is noted, with references, or as it is read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Intent<K = PkSk, I = Item> {
    /// When, in milliseconds.
    pub(super) at: i64,
    /// The number of the change.
    pub(super) sequence: u64,
    /// Whether the item was removed because its time was over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) by_ttl: bool,
    /// The items as they were.
    pub(super) items: Vec<(K, Option<I>)>,
}

/// The journal, where the feed writes it.
#[derive(Debug)]
pub(in super::super) struct Journal {
    folder: PathBuf,
    number: u64,
    file: File,
    written: u64,
    /// Whether the last line may be incomplete: the disk took only a part of it.
    is_torn: bool,
    buffer: Vec<u8>,
}

/// The segments of a folder, by number.
fn segments(folder: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            found.insert(number, path);
        }
    }
    Ok(found)
}

fn segment(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{PREFIX}{number:012}{SUFFIX}"))
}

fn create(folder: &Path, number: u64) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(segment(folder, number))
}

/// Removes a segment.
pub(super) fn remove(folder: &Path, number: u64) {
    if let Err(error) = fs::remove_file(segment(folder, number)) {
        tracing::warn!(target: "portmaster::history", %error, "a part of the history's journal was not removed");
    }
}

impl Journal {
    /// Opens a journal in a folder, after the segments that are there.
    pub(in super::super) fn open(folder: &Path) -> io::Result<Self> {
        let number = segments(folder)?.keys().next_back().map_or(1, |last| last + 1);
        let file = create(folder, number)?;
        Ok(Self { folder: folder.to_owned(), number, file, written: 0, is_torn: false, buffer: Vec::new() })
    }

    /// Removes what earlier processes have left: without history, what the items say now would be taken for what those
    /// processes did.
    pub(in super::super) fn discard(folder: &Path) -> io::Result<()> {
        segments(folder)?.into_values().try_for_each(fs::remove_file)
    }

    /// Notes a write before it is done. Returns the number of a segment that is complete with it.
    pub(super) fn note(&mut self, intent: &Intent<&PkSk, Stripped<'_>>) -> io::Result<Option<u64>> {
        self.buffer.clear();
        if self.is_torn {
            self.buffer.push(b'\n');
        }
        serde_json::to_writer(&mut self.buffer, intent)?;
        self.buffer.push(b'\n');
        self.is_torn = true;
        self.file.write_all(&self.buffer)?;
        self.is_torn = false;
        self.written += self.buffer.len() as u64;
        if self.written < SEGMENT {
            return Ok(None);
        }
        let complete = self.number;
        self.file = create(&self.folder, complete + 1)?;
        (self.number, self.written) = (complete + 1, 0);
        Ok(Some(complete))
    }
}

/// An item as the journal has it: without its secret, in whose place is the name of its tenure. It is written as it
/// stands, since every write waits for that.
#[derive(Debug)]
pub(super) struct Stripped<'a> {
    item: &'a Item,
    tenure: Option<AttributeValue>,
}

impl<'a> Stripped<'a> {
    /// None if what it has in place of a secret is not one.
    pub(super) fn of(item: &'a Item) -> Option<Self> {
        let tenure = match item.get(SECRET) {
            None => None,
            Some(AttributeValue::S(secret)) => {
                let tenure = Image::tenure_of(native::text(item, "pk")?, native::text(item, "sk")?, secret).ok()?;
                Some(AttributeValue::S(tenure.into()))
            }
            Some(_) => return None,
        };
        Some(Self { item, tenure })
    }

    fn attributes(&self) -> impl Iterator<Item = (&str, &AttributeValue)> {
        let kept = self.item.iter().filter(|(name, _)| *name != SECRET).map(|(name, value)| (name.as_str(), value));
        kept.chain(self.tenure.iter().map(|tenure| (Image::TENURE, tenure)))
    }

    /// A copy.
    pub(super) fn to_item(&self) -> Item {
        self.attributes().map(|(name, value)| (name.to_owned(), value.clone())).collect()
    }
}

impl Serialize for Stripped<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.attributes())
    }
}

/// What earlier processes were about to write, in its order, and the segments that have it.
pub(super) fn left(folder: &Path) -> io::Result<(Vec<Intent>, Vec<u64>)> {
    let (mut intents, mut numbers) = (Vec::new(), Vec::new());
    for (number, path) in segments(folder)? {
        numbers.push(number);
        for line in BufReader::new(File::open(path)?).split(b'\n') {
            match serde_json::from_slice(&line?) {
                Ok(intent) => intents.push(intent),
                // The process was killed while it wrote the line, and so before it did what the line says.
                Err(error) => tracing::debug!(target: "portmaster::history", %error, "an incomplete line"),
            }
        }
    }
    Ok((intents, numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_gives_back_what_was_noted_and_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let port = portmaster_domain::Port::new(5000).unwrap();
        let secret = portmaster_domain::Secret::generate(port);
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let item = Item::from([
            ("pk".to_owned(), text("N#default#PORT")),
            ("sk".to_owned(), text("05000")),
            ("secret".to_owned(), text(&secret.expose())),
        ]);
        let key = ("N#default#PORT".to_owned(), "05000".to_owned());
        let mut journal = Journal::open(folder.path()).unwrap();
        let first = Intent { at: 5, sequence: 7, by_ttl: false, items: vec![(&key, None)] };
        assert_eq!(journal.note(&first).unwrap(), None);
        let second = Intent { at: 6, sequence: 8, by_ttl: true, items: vec![(&key, Stripped::of(&item))] };
        journal.note(&second).unwrap();
        // A line that was not completed.
        journal.file.write_all(b"{\"at\":7,").unwrap();
        let (intents, numbers) = left(folder.path()).unwrap();
        assert_eq!((intents.len(), numbers.as_slice()), (2, &[1][..]));
        assert_eq!((intents[1].at, intents[1].sequence, intents[1].by_ttl), (6, 8, true));
        let kept = intents[1].items[0].1.clone().unwrap();
        assert_eq!(native::text(&kept, "secret"), None);
        assert_eq!(native::text(&kept, "tenure").map(str::len), Some(32));
        let written = std::fs::read_to_string(segment(folder.path(), 1)).unwrap();
        assert!(!written.contains(&secret.expose()));
        assert_eq!(Journal::open(folder.path()).unwrap().number, 2);
        Journal::discard(folder.path()).unwrap();
        assert!(left(folder.path()).unwrap().0.is_empty());
    }

    #[test]
    fn a_segment_is_complete_when_it_is_large() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        let item = Item::from([("text".to_owned(), AttributeValue::S("x".repeat(1_000_000)))]);
        let key = ("N#default".to_owned(), "SERVICE#django".to_owned());
        let intent = Intent { at: 5, sequence: 7, by_ttl: false, items: vec![(&key, Stripped::of(&item))] };
        let complete: Vec<_> = (0..5).map(|_| journal.note(&intent).unwrap()).collect();
        assert_eq!(complete, [None, None, None, None, Some(1)]);
        remove(folder.path(), 1);
        assert_eq!(left(folder.path()).unwrap().1, [2]);
    }
}
