//! One at a time: whoever reads what is attached, changes it and puts it back holds a lock meanwhile, so
//! that nobody's change is lost.
//!
//! The lock is that of flock(2) on the directory that the root of the pins lies in, because the root comes
//! and goes. The kernel lets go of it when the process ends, however it does.

use std::fs::File;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::attach::Registry;
use crate::error::Error;

/// How long to wait for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// So long.
    For(Duration),
    /// As long as it takes.
    Forever,
}

/// The right to change what is attached, for as long as the value lives.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "the open file is the lock")] File);

/// How often a lock is looked at that others hold.
const PERIOD: Duration = Duration::from_millis(5);

impl Registry {
    /// Waits until nobody else changes what is attached, and keeps others waiting as long as the value lives.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory of the root is not there.
    pub fn turn(&self) -> Result<Turn, Error> {
        loop {
            if let Some(turn) = self.turn_within(Wait::Forever)? {
                return Ok(turn);
            }
        }
    }

    /// The same, or none when others have the turn all the time.
    ///
    /// # Errors
    /// As [`Registry::turn`].
    pub fn turn_within(&self, wait: Wait) -> Result<Option<Turn>, Error> {
        lock(self.root().parent().unwrap_or(self.root()), wait)
    }
}

fn lock(path: &Path, wait: Wait) -> Result<Option<Turn>, Error> {
    let start = Instant::now();
    let directory = File::open(path).map_err(Error::io(path))?;
    let operation = match wait {
        Wait::Forever => FlockOperation::LockExclusive,
        Wait::No | Wait::For(_) => FlockOperation::NonBlockingLockExclusive,
    };
    loop {
        match flock(&directory, operation) {
            Ok(()) => return Ok(Some(Turn(directory))),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => match wait {
                Wait::For(time) if start.elapsed() < time => sleep(PERIOD),
                _ => return Ok(None),
            },
            Err(error) => return Err(Error::io(path)(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let ask = |wait| lock(dir.path(), wait).unwrap();
        let held = ask(Wait::No);
        assert!(held.is_some());
        assert!(ask(Wait::No).is_none());
        let start = Instant::now();
        let time = Duration::from_millis(50);
        assert!(ask(Wait::For(time)).is_none());
        assert!(start.elapsed() >= time);
        drop(held);
        assert!(ask(Wait::Forever).is_some());
    }
}
