//! The log of a server that must never wait for the log's reader.
//!
//! Standard error may be a pipe that nobody empties, or a terminal that somebody stopped. Synchronous writes would then
//! block the requests, and the server's shutdown with them. So lines go into a queue, and a thread of its own writes
//! them; when the queue is full a line is dropped and counted, and as soon as there is room again the log reports how
//! many were.
//!
//! We do not use the usual library (`tracing-appender`): when its queue is full at the end it prints to standard
//! output, which can wait for ever or panic if that is closed, and it does not log how many lines it dropped. (The
//! functions write synchronously: Lambda freezes a process after its response.)

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How many bytes may be queued: some ten thousand lines.
const ROOM: usize = 4 * 1024 * 1024;

/// How many are written at once.
const BATCH: usize = 64 * 1024;

/// How long the shutdown waits for the reader of the log.
const PATIENCE: Duration = Duration::from_secs(1);

/// The queue. Clones share it.
#[derive(Clone, Debug)]
pub struct Log(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    /// Signals that there is something to write.
    filled: Condvar,
    /// Signals that nothing is queued or being written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    dropped: u64,
    is_writing: bool,
}

impl Log {
    /// Starts the log on standard error.
    ///
    /// # Errors
    /// If there is no standard error, or no thread can be started.
    pub fn start(level: &str) -> io::Result<Self> {
        // Not `io::stderr()`, whose lock would be held while a write waits.
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let log = Self::on(stderr, |dropped| {
            tracing::warn!(target: "portmaster::log", dropped, "lines were dropped: nobody read them in time");
        })?;
        portmaster_http::log::start_with(level, log.clone());
        // The default hook prints to standard error itself. The message of a panic may contain anything, so the log has
        // its location, and its message only if that is a fixed text.
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let message = panic.payload().downcast_ref::<&str>().copied().unwrap_or_default();
            let thread = std::thread::current().name().unwrap_or_default().to_owned();
            tracing::error!(target: "portmaster::panic", place, thread, message, "a part of the server panicked");
        }));
        Ok(log)
    }

    fn on(mut writer: impl Write + Send + 'static, tell: impl Fn(u64) + Send + 'static) -> io::Result<Self> {
        let log = Self(Arc::default());
        let queue = Arc::clone(&log.0);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            loop {
                let (batch, dropped) = queue.take();
                if dropped > 0 {
                    // The queue has room, since a batch has just been taken from it.
                    tell(dropped);
                }
                // A failure to write the log is no reason to stop.
                let _ = writer.write_all(&batch);
            }
        })?;
        Ok(log)
    }

    /// Writes a line that is not an event.
    pub fn say(&self, line: &str) {
        self.0.push(format!("{line}\n").into_bytes());
    }

    /// Waits until everything is written, or for a second: a reader that is slower than that does not delay the server.
    pub fn finish(&self) {
        let is_busy = |state: &mut State| state.is_writing || !state.lines.is_empty();
        let _ = self.0.emptied.wait_timeout_while(self.0.lock(), PATIENCE, is_busy);
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: Vec<u8>) {
        let mut state = self.lock();
        if state.bytes + line.len() > ROOM {
            state.dropped += 1;
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        drop(state);
        self.filled.notify_one();
    }

    /// The next bytes to write, and the number of lines dropped since the last time. Waits until there is something.
    fn take(&self) -> (Vec<u8>, u64) {
        let mut state = self.lock();
        state.is_writing = false;
        if state.lines.is_empty() {
            self.emptied.notify_all();
        }
        let mut state =
            self.filled.wait_while(state, |state| state.lines.is_empty()).unwrap_or_else(PoisonError::into_inner);
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some(line) = state.lines.pop_front()
        {
            batch.extend_from_slice(&line);
        }
        state.bytes -= batch.len();
        state.is_writing = true;
        (batch, std::mem::take(&mut state.dropped))
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_reader_who_comes_late_gets_what_was_kept_and_hears_of_the_rest() {
        let (read, write) = io::pipe().unwrap();
        let told = Arc::new(AtomicU64::new(0));
        let telling = Arc::clone(&told);
        let log = Log::on(write, move |dropped| {
            telling.fetch_add(dropped, Ordering::SeqCst);
        });
        let log = log.unwrap();
        let (line, count) = ("x".repeat(1023), 20_000);
        let began = Instant::now();
        for _ in 0..count {
            log.say(&line);
        }
        log.finish();
        assert!(began.elapsed() < Duration::from_secs(10), "nobody reads, and nobody waits for that");

        let reading = std::thread::spawn(move || {
            let lines = BufReader::new(read).lines().map(Result::unwrap);
            lines.take_while(|line| line != "the end").count()
        });
        while !log.0.lock().lines.is_empty() {
            log.finish();
        }
        log.say("the end");
        let read = u64::try_from(reading.join().unwrap()).unwrap();
        let dropped = told.load(Ordering::SeqCst);
        assert_eq!(read + dropped, count, "kept, or counted");
        assert!(read >= 4_096 && dropped > 1_000, "{read} {dropped}");
    }
}
