//! Runs the command to its end, whatever that is: by itself, by a signal, or because the port was lost.
//!
//! GitHub gives a job that is cancelled 7.5 seconds after INT and 2.5 more after TERM, and `docker stop` 10 seconds. So a
//! command that was asked to end is killed after its grace (5 seconds unless said otherwise), with everything that it
//! has started, and the release takes two seconds at most. (After an end that nobody asked for it may take ten.)
//!
//! (Linux could end the command when this program is killed, by `PR_SET_PDEATHSIG`. But that has to be set by the child
//! itself, so it needs unsafe code or a second program between the two, and it reaches only the command and not what the
//! command has started. A CI system that kills this program kills the command as well, and the lease does the rest.)

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::process::{Orphans, Running};
use super::signals::{Arrived, Signals};

/// How often it is looked for orphans that have ended, which are few.
const COLLECT: Duration = Duration::from_secs(15);
/// How often it is looked whether the rest of the command has ended, of which nobody is notified.
const LOOK: Duration = Duration::from_millis(25);
/// How long the system may take to end what was killed.
const KILLED: Duration = Duration::from_secs(1);

/// How the command is ended when it has to be.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How long it may take to end after it was asked to.
    pub grace: Duration,
    /// Whether it is ended when its port is lost.
    pub stop_when_lost: bool,
}

impl Policy {
    /// How long the end of the command takes at most, once it was asked to end.
    pub(super) fn longest(self) -> Duration {
        self.grace + KILLED
    }
}

/// How the command has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its own status.
    pub status: ExitStatus,
    /// Whether the port was lost meanwhile.
    pub lost: bool,
    /// Whether the command was stopped because of that.
    pub stopped: bool,
    /// Whether a signal came, so that somebody may be waiting for the end.
    pub hurried: bool,
}

/// Waits for the end of a command and of all that it has started, and brings it about where that is necessary. `lost` is
/// done when the port is lost, with the reason. `warn` tells the caller's user.
///
/// # Errors
///
/// The system does not say how the command ends.
pub(super) async fn supervise(
    mut running: Running,
    signals: &mut Signals,
    lost: impl Future<Output = String>,
    policy: Policy,
    warn: impl Fn(&str),
) -> io::Result<Ended> {
    let mut exits = signal(SignalKind::child())?;
    let mut lost = std::pin::pin!(lost);
    let (mut is_lost, mut stopped) = (false, false);
    let mut ending = Ending { grace: policy.grace, kill_at: None, killed: false, hurried: false, interrupted: None };
    let mut orphans = Orphans::default();
    let status = loop {
        // Before the first wait as well: it may have ended before anybody waited for it.
        if let Some(status) = running.ended()? {
            break status;
        }
        tokio::select! {
            _ = exits.recv() => {}
            arrived = signals.next() => ending.signal(&running, arrived, &warn),
            why = &mut lost, if !is_lost => {
                is_lost = true;
                stopped = policy.stop_when_lost;
                if stopped {
                    warn(&format!("the port is lost, and the command is stopped: {why}"));
                    running.signal(Signal::TERM);
                    ending.begin();
                } else {
                    warn(&format!("the port is lost, and somebody else may get it while the command goes on: {why}"));
                }
            }
            () = at(ending.kill_at) => {
                if !ending.killed {
                    warn(&format!("the command did not end within {:?} and is killed", policy.grace));
                }
                ending.kill(&running);
            }
            () = sleep(COLLECT) => orphans.collect(&running),
        }
    };
    tokio::select! {
        () = end_rest(&running, signals, &mut ending) => {}
        // Only so that the lease is renewed meanwhile. Whether it is lost makes no difference any more.
        () = async { if !is_lost { lost.await; } std::future::pending().await } => {}
    }
    Ok(Ended { status, lost: is_lost, stopped, hurried: ending.hurried })
}

/// Ends what the command has left behind, so that nothing uses the port when somebody else gets it.
async fn end_rest(running: &Running, signals: &mut Signals, ending: &mut Ending) {
    if !running.has_rest() {
        return;
    }
    running.signal_rest(Signal::TERM);
    // If the command was asked to end, its grace is that of its children as well: the end must not take twice as long.
    ending.begin();
    let mut until = ending.kill_at.filter(|_| !ending.killed).unwrap_or_else(Instant::now);
    while running.has_rest() && Instant::now() < until {
        let wait = timeout_at(until.min(Instant::now() + LOOK), signals.next());
        // The command is gone: another ^C is not for it but for us, who keep somebody waiting.
        if let Ok(Arrived { signal: Signal::INT, .. }) = wait.await {
            until = Instant::now();
        }
    }
    let gone = Instant::now() + KILLED;
    while running.has_rest() && Instant::now() < gone {
        // Again and again, as it may be starting processes all the time.
        running.signal_rest(Signal::KILL);
        sleep(LOOK).await;
    }
}

/// Waits until then, or for ever.
async fn at(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => std::future::pending().await,
    }
}

/// The end of the command, once somebody asked for it.
struct Ending {
    grace: Duration,
    /// When the command is killed.
    kill_at: Option<Instant>,
    /// Whether it was killed.
    killed: bool,
    /// Whether a signal came.
    hurried: bool,
    /// When there was the last INT.
    interrupted: Option<Instant>,
}

impl Ending {
    /// Begins the grace, unless it has begun or is over.
    fn begin(&mut self) {
        let _ = self.kill_at.get_or_insert_with(|| Instant::now() + self.grace);
    }

    /// Kills the command now.
    fn kill(&mut self, running: &Running) {
        running.kill();
        // Once more in a while, in the unlikely case that it has started something at this very moment.
        self.kill_at = Some(Instant::now() + KILLED);
        self.killed = true;
    }

    /// Passes a signal on, and begins or hastens the end if it asks for it.
    fn signal(&mut self, running: &Running, arrived: Arrived, warn: &impl Fn(&str)) {
        let Arrived { signal, by_terminal } = arrived;
        self.hurried = true;
        let has_it = by_terminal && running.is_at_terminal();
        if signal == Signal::INT && self.is_second_interrupt(has_it) {
            warn("the command is killed, after a second interrupt");
            return self.kill(running);
        }
        if !has_it {
            running.signal(signal);
        }
        match signal {
            // Somebody sits at the terminal and sees what becomes of it. For many programs ^C is not the end: a shell or
            // a debugger goes on.
            Signal::INT if has_it => {}
            Signal::INT | Signal::TERM => self.begin(),
            // HUP may mean "read your settings again", QUIT "show your threads", and the others anything. If one of them
            // ends the command, this program notices.
            _ => {}
        }
    }

    /// Notes an INT; says whether it is a second one. At a terminal the two have to belong together: within the grace.
    fn is_second_interrupt(&mut self, at_terminal: bool) -> bool {
        let now = Instant::now();
        let before = self.interrupted.replace(now);
        before.is_some_and(|before| !at_terminal || now - before <= self.grace)
    }
}
