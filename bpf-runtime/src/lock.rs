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

/// The turn of one process to change what a [`Registry`] has attached, for as long as the value lives.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "the open file is the lock")] File);

/// How often a lock is looked at that others hold.
const PERIOD: Duration = Duration::from_millis(5);

impl Registry {
    /// Waits for the turn, however long that takes.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory of the root is not there.
    pub fn turn(&self) -> Result<Turn, Error> {
        let (directory, path) = self.open_place()?;
        flock(&directory, FlockOperation::LockExclusive)
            .map_err(|error| Error::io(path)(error.into()))?;
        Ok(Turn(directory))
    }

    /// Waits for the turn, but not longer than this. None when others have it all the time.
    ///
    /// # Errors
    /// As [`Registry::turn`].
    pub fn turn_within(&self, time: Duration) -> Result<Option<Turn>, Error> {
        let start = Instant::now();
        let (directory, path) = self.open_place()?;
        loop {
            match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Turn(directory))),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if start.elapsed() < time => sleep(PERIOD),
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(Error::io(path)(error.into())),
            }
        }
    }

    fn open_place(&self) -> Result<(File, &Path), Error> {
        let path = self.root().parent().unwrap_or(self.root());
        Ok((File::open(path).map_err(Error::io(path))?, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_held_by_one_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::at(dir.path().join("root"));
        let ask = |milliseconds| {
            registry
                .turn_within(Duration::from_millis(milliseconds))
                .unwrap()
        };
        let held = ask(0);
        assert!(held.is_some());
        assert!(ask(0).is_none());
        let start = Instant::now();
        assert!(ask(50).is_none());
        assert!(start.elapsed() >= Duration::from_millis(50));
        drop(held);
        assert!(registry.turn().is_ok());
    }
}
