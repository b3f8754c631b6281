//! A command whose iptables calls are answered here, not by the kernel.
//!
//! The command runs under a filter of system calls (`filter`) that hands the calls it names to this process
//! and lets all others go on untouched; what it starts is under the filter, too. A thread for each call looks at the caller,
//! reads what it passes once, asks [`Tables`], and answers (`call`). This thread only waits, and ends calls
//! whose caller holds up its own memory.
//!
//! Whatever goes wrong is an error to the caller. When this process is gone, the kernel answers ENOSYS to all
//! calls that the filter names.

mod call;
mod filter;

use std::io;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno as SystemError;
use thiserror::Error;

use crate::caller::Namespace;
use crate::sys::{self, Listener};
use crate::xtables::Tables;
use call::{Call, Pending};

/// How long a caller may hold up the reading of its memory.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked for calls that are late.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};
/// How many calls are worked on at once.
const MOST_CALLS: usize = 64;

/// Why a command cannot be run so.
#[derive(Debug, Error)]
pub enum RunError {
    /// It cannot be started.
    #[error("{0}: {1}")]
    Start(String, #[source] io::Error),
    /// A command under such a filter can start no other one.
    #[error(
        "this is run by a supervisor of the same kind (ipt2bpf run, a container runtime), and there can be only one"
    )]
    Nested,
    /// Its calls cannot be heard.
    #[error("listening to the command: {0}")]
    Listen(#[source] io::Error),
}

/// Runs a command until it and all that it has started have ended; returns its status.
///
/// # Errors
/// [`RunError`].
pub fn run(mut command: Command, tables: Tables) -> Result<ExitStatus, RunError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let namespace = Namespace::network().map_err(RunError::Listen)?;
    let (mut child, listener) =
        sys::spawn_filtered(&mut command, filter::program()).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::EBUSY) => RunError::Nested,
                _ => RunError::Start(name.clone(), error),
            }
        })?;
    serve(Arc::new(listener), Arc::new(tables), namespace).map_err(RunError::Listen)?;
    child.wait().map_err(|error| RunError::Start(name, error))
}

/// Answers until nobody is left under the filter.
fn serve(listener: Arc<Listener>, tables: Arc<Tables>, namespace: Namespace) -> io::Result<()> {
    let mut pending: Vec<Arc<Pending>> = Vec::new();
    loop {
        // A thread that is held up counts until it has ended, whatever its caller was told.
        pending.retain(|call| Arc::strong_count(call) > 1);
        for call in &pending {
            call.expire(&listener, PATIENCE);
        }
        let mut wanted = [PollFd::new(&listener, PollFlags::IN)];
        let timeout = (!pending.is_empty()).then_some(&TICK);
        match poll(&mut wanted, timeout) {
            Ok(0) | Err(SystemError::INTR) => continue,
            other => other?,
        };
        let events = wanted[0].revents();
        if !events.contains(PollFlags::IN) {
            return Ok(());
        }
        let notification = match listener.receive() {
            Ok(notification) => notification,
            // Its thread has ended.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        if pending.len() >= MOST_CALLS {
            let _ = listener.answer(notification.id, libc::EBUSY);
            continue;
        }
        let state = Arc::new(Pending::new(notification.id));
        pending.push(Arc::clone(&state));
        let call = Call {
            listener: Arc::clone(&listener),
            tables: Arc::clone(&tables),
            namespace,
            notification,
            state,
        };
        let started = thread::Builder::new().spawn(move || call.run());
        if started.is_err() {
            let _ = listener.answer(notification.id, libc::ENOMEM);
        }
    }
}
