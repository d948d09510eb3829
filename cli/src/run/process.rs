//! The command as processes: itself, what it starts, and how signals reach them.
//!
//! **Without a terminal**, as in CI, the command is the first process of a process group of its own. Signals go to the
//! group, so to what a shell or `npm` has started too, and at the end whatever is left of the group is ended.
//!
//! **With a terminal** the command stays in this process's group, as if it had been started without this program. A
//! group of its own would be a background job: it would be stopped when it reads from the terminal, and making it the
//! foreground one would take the terminal from the other side of a pipe (`portmaster run … | less`). The terminal sends
//! ^C, ^\ and ^Z to the whole group by itself. The group is not ours alone, so it is never signalled as a whole; what
//! the command leaves behind are those of its members that descend from this process. For that, processes whose parent
//! has ended become this one's children (Linux's *subreaper*).

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Which processes are the command's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// Those of a group of its own.
    Own,
    /// Those of our group that descend from us.
    Ours,
}

/// A command that was started.
pub(super) struct Running {
    child: Child,
    leader: Pid,
    group: Group,
}

impl Running {
    /// Starts a command, whose standard streams are this program's.
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        let group = if has_terminal() { Group::Ours } else { Group::Own };
        match group {
            Group::Own => drop(command.process_group(0)),
            // Without it what is left behind is not found, which is no reason to refuse to work.
            #[cfg(target_os = "linux")]
            Group::Ours => drop(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))),
            #[cfg(not(target_os = "linux"))]
            Group::Ours => {}
        }
        let child = command.spawn()?;
        let leader = Pid::from_child(&child);
        Ok(Self { child, leader, group })
    }

    /// Whether a signal of the terminal has reached the command without our help.
    pub(super) fn is_at_terminal(&self) -> bool {
        self.group == Group::Ours
    }

    /// How the command itself has ended, if it has.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Passes a signal on while the command runs: to its group, or to the command alone where the group is not its own,
    /// which is what the sender would have reached without us.
    pub(super) fn signal(&self, signal: Signal) {
        // An error means that there is nobody left to signal, which the caller notices by itself.
        let _ = match self.group {
            Group::Own => kill_process_group(self.leader, signal),
            Group::Ours => kill_process(self.leader, signal),
        };
    }

    /// Kills the command and all that belongs to it.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
        self.signal_rest(Signal::KILL);
    }

    /// Sends a signal to what is left of the command after its end.
    pub(super) fn signal_rest(&self, signal: Signal) {
        if self.group == Group::Own {
            // Its number is not given to another group as long as this one has a member, and hardly in the moment after.
            let _ = kill_process_group(self.leader, signal);
        } else {
            for process in self.rest() {
                let _ = kill_process(process, signal);
            }
        }
    }

    /// Whether something is left of the command after its end.
    pub(super) fn has_rest(&self) -> bool {
        #[cfg(target_os = "linux")]
        return !self.rest().is_empty();
        #[cfg(not(target_os = "linux"))]
        return self.group == Group::Own && rustix::process::test_kill_process_group(self.leader).is_ok();
    }

    /// The processes that are left: those that have not ended. (What has ended and was not collected by its parent is
    /// listed by the system, and holds no port.)
    #[cfg(target_os = "linux")]
    fn rest(&self) -> Vec<Pid> {
        let all = linux::processes();
        let ours = rustix::process::getpid().as_raw_pid();
        let belongs = |one: &linux::Process| match self.group {
            Group::Own => one.group == self.leader.as_raw_pid(),
            Group::Ours => one.pid != ours && Some(one.group) == linux::group() && linux::descends(&all, one, ours),
        };
        let rest = all.iter().filter(|one| !one.has_ended && belongs(one));
        rest.filter_map(|one| Pid::from_raw(one.pid)).collect()
    }

    #[cfg(not(target_os = "linux"))]
    fn rest(&self) -> Vec<Pid> {
        Vec::new()
    }
}

/// Whether this process has a terminal, from which a person may send signals. (Standard input may be something else.)
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Collects processes that have ended and that nobody else collects: orphans of the command, which fall to this process
/// where it is a subreaper or the first process of a container.
#[derive(Default)]
pub(super) struct Orphans {
    /// Those that had ended when it was last looked.
    seen: Vec<i32>,
}

impl Orphans {
    /// Collects those that had ended at the last look already: what this program itself has started (to get credentials,
    /// say) is collected by then by the code that started it, and is not taken from it.
    pub(super) fn collect(&mut self, running: &Running) {
        #[cfg(target_os = "linux")]
        {
            let ours = rustix::process::getpid().as_raw_pid();
            let all = linux::processes();
            let ended = all.iter().filter(|one| one.has_ended && one.parent == ours);
            let ended: Vec<i32> = ended.map(|one| one.pid).filter(|pid| *pid != running.leader.as_raw_pid()).collect();
            for pid in ended.iter().filter(|pid| self.seen.contains(pid)) {
                let _ = rustix::process::waitpid(Pid::from_raw(*pid), rustix::process::WaitOptions::NOHANG);
            }
            self.seen = ended;
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (running, &mut self.seen);
    }
}

/// Why a command was not started, and what this program exits with.
pub(super) fn refusal(program: &OsStr, error: &io::Error) -> (u8, String) {
    let program = program.to_string_lossy();
    match error.kind() {
        io::ErrorKind::NotFound => (super::exit::NOT_FOUND, format!("there is no command {program}")),
        io::ErrorKind::PermissionDenied => (
            super::exit::NOT_EXECUTABLE,
            format!("{program} cannot be executed: {error}. Is it a file, with chmod +x?"),
        ),
        // Among others a script without its first line, which only a shell would execute; and there is none.
        _ => (super::exit::NOT_EXECUTABLE, format!("{program} cannot be executed: {error}")),
    }
}

#[cfg(target_os = "linux")]
mod linux {
    //! The system's list of processes.

    /// A process.
    pub(super) struct Process {
        pub(super) pid: i32,
        pub(super) parent: i32,
        pub(super) group: i32,
        pub(super) has_ended: bool,
    }

    /// Every process that this one may see. One that ends meanwhile is left out.
    pub(super) fn processes() -> Vec<Process> {
        let Ok(all) = procfs::process::all_processes() else { return Vec::new() };
        let stats = all.flatten().filter_map(|process| process.stat().ok());
        let of = |stat: procfs::process::Stat| Process {
            pid: stat.pid,
            parent: stat.ppid,
            group: stat.pgrp,
            has_ended: ['Z', 'X'].contains(&stat.state),
        };
        stats.map(of).collect()
    }

    /// This process's group.
    pub(super) fn group() -> Option<i32> {
        Some(rustix::process::getpgrp().as_raw_pid())
    }

    /// Whether a process descends from another one.
    pub(super) fn descends(all: &[Process], one: &Process, from: i32) -> bool {
        let mut parent = one.parent;
        // The list is not of one moment, so the way up is bounded.
        for _ in 0..all.len() {
            if parent == from {
                return true;
            }
            match all.iter().find(|other| other.pid == parent) {
                Some(other) => parent = other.parent,
                None => return false,
            }
        }
        false
    }
}
