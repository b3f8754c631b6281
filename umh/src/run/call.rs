//! One call of a command, from what the kernel tells of it to the answer.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipt2bpf_parser::ruleset::Family;

use super::filter::level;
use crate::caller::{Caller, Namespace, network_of, refusal};
use crate::descriptors;
use crate::sys::{Listener, Notification};
use crate::xtables::{Done, Errno, Refusal, Tables};

/// The lists of tables, as iptables-save opens them.
const LISTS: [(&[u8], Family); 2] = [
    (b"/proc/net/ip_tables_names\0", Family::V4),
    (b"/proc/net/ip6_tables_names\0", Family::V6),
];
/// The longest value that is read; what parses blobs takes half of it.
const LONGEST: usize = 64 << 20;

/// How far a call is, for those who wait for it.
#[derive(Debug)]
pub struct Pending {
    id: u64,
    stage: Mutex<Stage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// In the caller's memory since then; when that takes too long, the answer is this error number, or zero.
    Caller { since: Instant, late: i32 },
    /// At work, which ends by itself.
    Working,
    /// Answered.
    Done,
}

impl Pending {
    /// A call that begins with the caller's memory.
    pub fn new(id: u64) -> Pending {
        Pending {
            id,
            stage: Mutex::new(Stage::Caller {
                since: Instant::now(),
                late: libc::ETIMEDOUT,
            }),
        }
    }

    /// Answers a call whose caller holds it up for too long.
    pub fn expire(&self, listener: &Listener, patience: Duration) {
        if let Some(late) = self.give_up(patience) {
            // When nobody waits any more, nobody misses it.
            let _ = listener.answer(self.id, late);
        }
    }

    /// The answer to a call that is too late for its own.
    fn give_up(&self, patience: Duration) -> Option<i32> {
        let mut stage = self.lock();
        match *stage {
            Stage::Caller { since, late } if since.elapsed() > patience => {
                *stage = Stage::Done;
                Some(late)
            }
            _ => None,
        }
    }

    /// Goes on, unless it was answered meanwhile.
    fn enter(&self, next: Stage) -> bool {
        let mut stage = self.lock();
        match *stage {
            Stage::Done => false,
            _ => {
                *stage = next;
                true
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call with all that its answer takes.
pub struct Call {
    pub listener: Arc<Listener>,
    pub tables: Arc<Tables>,
    /// Where the programs are; elsewhere the kernel answers.
    pub namespace: Namespace,
    pub notification: Notification,
    pub state: Arc<Pending>,
}

/// What the answer is.
enum Answer {
    /// Zero or an error number.
    Number(i32),
    /// The kernel's own.
    Pass,
    /// A file with this text.
    File(String),
}

impl Call {
    /// Answers. An answer to nobody is none: the caller was killed, or was too slow.
    pub fn run(self) {
        let answer = self.answer();
        let is_awaited = self.state.enter(Stage::Done);
        let answer = match answer {
            _ if !is_awaited => return,
            Err(CallError::Late) => return,
            Err(CallError::Errno(errno)) => Answer::Number(errno.0),
            Ok(answer) => answer,
        };
        let id = self.notification.id;
        let _ = match answer {
            Answer::Number(errno) => self.listener.answer(id, errno),
            Answer::Pass => self.listener.pass(id),
            Answer::File(text) => descriptors::sealed("names", text.as_bytes())
                .and_then(|file| self.listener.give(id, file.as_fd()))
                .or_else(|_| self.listener.answer(id, libc::ENFILE)),
        };
    }

    fn answer(&self) -> Result<Answer, CallError> {
        let Notification {
            id,
            pid,
            call,
            arguments: [first, second, third, fourth, fifth, _],
        } = self.notification;
        let caller = Caller::open(pid)?;
        // From here on the memory is known to be the caller's.
        if !self.listener.waits(id) {
            return Err(CallError::Late);
        }
        if call == libc::SYS_openat {
            return self.open(&caller, second);
        }
        let mut families = [Family::V4, Family::V6].into_iter();
        let family = families.find(|&it| level(it) == second as u32);
        let family = family.ok_or(Errno(libc::ENOPROTOOPT))?;
        let socket = match caller.descriptor(first) {
            Ok(socket) => socket,
            Err(error) => return Ok(Answer::Number(error.raw_os_error().unwrap_or(libc::EBADF))),
        };
        if let Some(errno) = refusal(family, socket.as_fd()) {
            return Err(errno.into());
        }
        if network_of(socket.as_fd())? != self.namespace {
            return Ok(Answer::Pass);
        }
        if !caller.may_administer()? {
            return Err(Errno(libc::EPERM).into());
        }
        let option = third as u32;
        match call == libc::SYS_setsockopt {
            true => self.set(&caller, family, option, fourth, fifth as i32),
            false => self.get(&caller, family, option, fourth, fifth),
        }
    }

    fn open(&self, caller: &Caller, path: u64) -> Result<Answer, CallError> {
        let mut name = [0; 32];
        let read = caller.read_some(path, &mut name).unwrap_or(0);
        let name = &name[..read];
        let listed = LISTS.iter().find(|(path, _)| name.starts_with(path));
        let Some(&(_, family)) = listed else {
            return Ok(Answer::Pass);
        };
        if caller.network()? != self.namespace {
            return Ok(Answer::Pass);
        }
        self.work()?;
        let names = self.tables.names(family).map_err(|it| self.tell(it))?;
        Ok(Answer::File(names))
    }

    fn set(
        &self,
        caller: &Caller,
        family: Family,
        option: u32,
        address: u64,
        length: i32,
    ) -> Result<Answer, CallError> {
        let length = usize::try_from(length).map_err(|_| Errno(libc::EINVAL))?;
        if length > LONGEST {
            return Err(Errno(libc::ENOMEM).into());
        }
        let value = caller.read(address, length)?;
        self.work()?;
        let done = self.tables.set(family, option, &value);
        let Done {
            old_counters, said, ..
        } = done.map_err(|refusal| self.tell(refusal))?;
        say(&said);
        if let Some((address, counters)) = old_counters {
            // The table is replaced; the kernel, too, says nothing of counters that cannot be written
            // (ip_tables.c, `__do_replace`).
            self.back_to_caller(0)?;
            let _ = caller.write(address, &counters);
        }
        Ok(Answer::Number(0))
    }

    fn get(
        &self,
        caller: &Caller,
        family: Family,
        option: u32,
        address: u64,
        length: u64,
    ) -> Result<Answer, CallError> {
        let length = caller.read(length, size_of::<i32>())?;
        let length = length.first_chunk().map(|it| i32::from_ne_bytes(*it));
        let length = length.and_then(|it| usize::try_from(it).ok());
        let length = length.ok_or(Errno(libc::EINVAL))?;
        let mut head = vec![0; length.min(Tables::HEAD)];
        let read = caller.read_some(address, &mut head)?;
        head.truncate(read);
        self.work()?;
        let done = self.tables.get(family, option, &head, length);
        let Done { payload, .. } = done.map_err(|refusal| self.tell(refusal))?;
        self.back_to_caller(libc::ETIMEDOUT)?;
        if !self.listener.waits(self.notification.id) {
            return Err(CallError::Late);
        }
        caller.write(address, &payload)?;
        Ok(Answer::Number(0))
    }

    /// Leaves the caller's memory.
    fn work(&self) -> Result<(), CallError> {
        match self.state.enter(Stage::Working) {
            true => Ok(()),
            false => Err(CallError::Late),
        }
    }

    /// Goes back to the caller's memory; when that takes too long, the answer is this.
    fn back_to_caller(&self, late: i32) -> Result<(), CallError> {
        let since = Instant::now();
        match self.state.enter(Stage::Caller { since, late }) {
            true => Ok(()),
            false => Err(CallError::Late),
        }
    }

    fn tell(&self, refusal: Refusal) -> CallError {
        say(&refusal.said);
        refusal.errno.into()
    }
}

/// Writes to standard error, where the command's own messages go. When nobody reads there, nobody misses it.
fn say(text: &str) {
    use std::io::Write;
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Why there is no answer of its own.
enum CallError {
    /// The caller is told this.
    Errno(Errno),
    /// The caller is gone, or was told something already.
    Late,
}

impl From<Errno> for CallError {
    fn from(errno: Errno) -> CallError {
        CallError::Errno(errno)
    }
}

impl From<io::Error> for CallError {
    /// One that we may not look at gets nothing.
    fn from(_: io::Error) -> CallError {
        CallError::Errno(Errno(libc::EPERM))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_caller_makes_a_call_late() {
        let (none, long) = (Duration::ZERO, Duration::from_secs(1000));
        let call = Pending::new(1);
        assert_eq!(call.give_up(long), None);
        assert!(call.enter(Stage::Working));
        assert_eq!(call.give_up(none), None);
        let since = Instant::now();
        assert!(call.enter(Stage::Caller { since, late: 0 }));
        std::thread::sleep(Duration::from_millis(1));
        // The table was replaced, so this is no error.
        assert_eq!(call.give_up(none), Some(0));
        assert!(!call.enter(Stage::Working), "it is answered");
        assert_eq!(call.give_up(none), None);
    }
}
