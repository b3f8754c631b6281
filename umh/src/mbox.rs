//! The protocol of the kernel's bpfilter: requests of the kernel on one pipe, answers on another.
//!
//! The kernel (net/bpfilter/bpfilter_kern.c up to Linux 6.8) starts a helper, asks one thing at a time, and
//! waits. A request names memory of the process that called getsockopt or setsockopt at SOL_IP; the helper
//! reads and writes it. A request with the command 0 only asks whether anybody is there.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ipt2bpf_parser::ruleset::Family;
use zerocopy::byteorder::native_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::caller::Caller;
use crate::xtables::{Done, Errno, Refusal, Tables};

/// How long a caller may hold up the reading of its memory.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest value that is read.
const LONGEST: u32 = 64 << 20;
/// How many callers may be holding us up at once.
const MOST_HELD: usize = 64;

/// `struct mbox_request` (include/uapi/linux/bpfilter.h, net/bpfilter/msgfmt.h).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Request {
    address: U64,
    length: U32,
    is_set: U32,
    command: U32,
    pid: U32,
}

/// Answers until the kernel hangs up.
///
/// # Errors
/// Those of the pipes.
pub fn serve(mut input: impl Read, mut output: impl Write, tables: &Tables) -> io::Result<()> {
    // Whoever holds a copy is held up.
    let held = Arc::new(());
    loop {
        let mut request = Request::new_zeroed();
        match input.read_exact(request.as_mut_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let status = match answer(&request, tables, &held) {
            Ok(()) => 0,
            Err(Refusal {
                errno: Errno(errno),
                said,
            }) => {
                tell(&said);
                -errno
            }
        };
        output.write_all(&status.to_ne_bytes())?;
        output.flush()?;
    }
}

fn answer(request: &Request, tables: &Tables, held: &Arc<()>) -> Result<(), Refusal> {
    let is_set = request.is_set.get() != 0;
    let (option, address) = (request.command.get(), request.address.get());
    let (length, pid) = (request.length.get(), request.pid.get());
    if option == 0 && !is_set {
        return Ok(());
    }
    if length > LONGEST {
        return Err(Errno(libc::ENOMEM).into());
    }
    let length = length as usize;
    let wanted = if is_set {
        length
    } else {
        length.min(Tables::HEAD)
    };
    let (caller, bytes) = in_time(held, PATIENCE, move || {
        let caller = Caller::open(pid).map_err(|_| Errno(libc::ESRCH))?;
        let bytes = caller.read(address, wanted)?;
        Ok((caller, bytes))
    })?;
    let family = Family::V4;
    let done = match is_set {
        true => tables.set(family, option, &bytes)?,
        false => tables.get(family, option, &bytes, length)?,
    };
    let Done {
        payload,
        old_counters,
        said,
    } = done;
    tell(&said);
    if let Some((address, counters)) = old_counters {
        // The table is replaced, whatever becomes of its counters.
        let _ = in_time(held, PATIENCE, move || caller.write(address, &counters));
    } else if !payload.is_empty() {
        in_time(held, PATIENCE, move || caller.write(address, &payload))?;
    }
    Ok(())
}

/// Does something with a caller's memory on a thread of its own, and waits no longer than this.
fn in_time<T: Send + 'static>(
    held: &Arc<()>,
    patience: Duration,
    work: impl FnOnce() -> Result<T, Errno> + Send + 'static,
) -> Result<T, Errno> {
    if Arc::strong_count(held) > MOST_HELD {
        return Err(Errno(libc::EBUSY));
    }
    let (sender, receiver) = mpsc::channel();
    let held = Arc::clone(held);
    let started = thread::Builder::new().spawn(move || {
        // Nobody may wait any more.
        let _ = sender.send(work());
        drop(held);
    });
    started.map_err(|_| Errno(libc::ENOMEM))?;
    let done = receiver.recv_timeout(patience);
    done.unwrap_or(Err(Errno(libc::ETIMEDOUT)))
}

/// Standard error is the kernel's log, or a file; when nobody reads there, nobody misses it.
fn tell(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_holds_us_up_and_not_everybody_at_once() {
        let held = Arc::new(());
        let quick = || Ok(7);
        assert_eq!(in_time(&held, PATIENCE, quick), Ok(7));
        let (hold, wait) = mpsc::channel::<()>();
        let slow = move || {
            // Until the other side is gone.
            let _ = wait.recv();
            Ok(0)
        };
        let patience = Duration::from_millis(20);
        assert_eq!(in_time(&held, patience, slow), Err(Errno(libc::ETIMEDOUT)));
        let others: Vec<_> = (0..MOST_HELD).map(|_| Arc::clone(&held)).collect();
        assert_eq!(in_time(&held, PATIENCE, quick), Err(Errno(libc::EBUSY)));
        drop(others);
        drop(hold);
        assert_eq!(in_time(&held, PATIENCE, quick), Ok(7));
    }
}
