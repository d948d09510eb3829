//! The signals that `portmaster run` passes on, and who sent each.
//!
//! The sender matters at a terminal: what ^C and ^\ send goes to every process of the terminal's foreground group, so the
//! command has it already, and a second copy would count as a second ^C, which many programs take for "do not tidy up".
//! The kernel says whether it made the signal itself or carries that of another process.

use std::io;

use rustix::process::Signal;
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use tokio::sync::mpsc;

/// The signals that are passed on. (The terminal's ^Z is not among them: it stops this process like its command, or the
/// shell would wait for a job that never stops.)
const PASSED_ON: [Signal; 6] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// A signal that this process has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    /// Which one.
    pub(super) signal: Signal,
    /// Whether the terminal sent it, and so sent it to the command as well, if that is in the same process group.
    pub(super) by_terminal: bool,
}

/// What has arrived and was not yet looked at.
pub(super) struct Signals(mpsc::UnboundedReceiver<Arrived>);

impl Signals {
    /// Receives from now on what would have ended this process. A signal that this process was told to ignore stays
    /// ignored, here and in the command: so `nohup` and the background jobs of a script mean what they mean elsewhere.
    pub(super) fn receive() -> io::Result<Self> {
        let ignored = ignored();
        let wanted = PASSED_ON.map(Signal::as_raw).into_iter().filter(|number| ignored & (1 << (number - 1)) == 0);
        let mut origins = SignalsInfo::<WithOrigin>::new(wanted)?;
        let (send, received) = mpsc::unbounded_channel();
        // A thread of its own, since the library's wait blocks. It ends with the process.
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for origin in &mut origins {
                let Some(signal) = Signal::from_named_raw(origin.signal) else { continue };
                let arrived = Arrived { signal, by_terminal: origin.process.is_none() };
                if send.send(arrived).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self(received))
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Arrived {
        match self.0.recv().await {
            Some(arrived) => arrived,
            // The thread lives as long as the process does.
            None => std::future::pending().await,
        }
    }
}

/// The set of signals that this process was started to ignore; bit 0 is signal 1.
fn ignored() -> u64 {
    #[cfg(target_os = "linux")]
    {
        let status = procfs::process::Process::myself().and_then(|process| process.status());
        status.map_or(0, |status| status.sigign)
    }
    #[cfg(not(target_os = "linux"))]
    0
}
