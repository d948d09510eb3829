//! What `portmaster run` exits with: the command's own code where there is one, else one that says why there is none.
//! The numbers are those of `timeout` and of the shells, so that scripts need not learn new ones.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

/// The lease was lost, and the command was stopped for it.
pub(super) const LOST: u8 = 124;
/// The command was not started: there was no port, or this program was called in the wrong way.
pub const NO_PORT: u8 = 125;
/// The command exists and cannot be executed.
pub(super) const NOT_EXECUTABLE: u8 = 126;
/// There is no such command.
pub(super) const NOT_FOUND: u8 = 127;

/// The code of a command that ended so: its own, or 128 and the number of the signal that ended it.
pub(super) fn of_status(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        // A code is a byte on every Unix.
        (Some(code), _) => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
        (None, Some(signal)) => of_signal(signal),
        (None, None) => u8::MAX,
    }
}

/// The code of a program that a signal ended.
pub(super) fn of_signal(number: i32) -> u8 {
    u8::try_from(128 + number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_ended_by_itself_and_one_that_was_ended_are_told_apart() {
        // How wait(2) says it: the code is in the second byte, the signal in the first.
        assert_eq!(of_status(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(of_status(ExitStatus::from_raw(255 << 8)), 255);
        assert_eq!(of_status(ExitStatus::from_raw(9)), 137);
        assert_eq!(of_status(ExitStatus::from_raw(15)), 143);
    }
}
