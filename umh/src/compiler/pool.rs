//! The compiling processes, from outside: started when they are needed, killed when they are late.
//!
//! One process works for one user at a time. Before it works for another it is replaced, so that what a
//! hostile ruleset may have done to it ends with its user's jobs.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::JOB_LIMIT;
use super::job::{Answer, Job};
use crate::failure::Failure;
use crate::frame::Frame;
use crate::timed::Timed;

/// How long a process may take until it is ready.
const START: Duration = Duration::from_secs(30);

/// How a compiling process is started: a program that calls [`run`](super::run).
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Compiling processes.
#[derive(Debug)]
pub struct Pool {
    launch: Launch,
    time: Duration,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug)]
struct State {
    /// How many more jobs may run now.
    free: usize,
    idle: Vec<Worker>,
}

impl Pool {
    /// At most `size` processes, each with so much time for a job. They are started when there is something
    /// to do.
    pub fn new(launch: Launch, size: usize, time: Duration) -> Pool {
        Pool {
            launch,
            time,
            state: Mutex::new(State {
                free: size.max(1),
                idle: Vec::new(),
            }),
            freed: Condvar::new(),
        }
    }

    /// How long a job may take.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// Does a job for a user, whose number is given.
    ///
    /// # Errors
    /// What the job answers, or that it has no answer.
    pub fn run(&self, user: u32, job: &Job, bytes: Vec<u8>) -> Result<Answer, Failure> {
        // Jobs are strings and numbers.
        let text = serde_json::to_vec(job).unwrap_or_default();
        self.run_text(user, Frame { text, bytes })
    }

    /// The same, with the answer of its type.
    ///
    /// # Errors
    /// As [`Pool::run`].
    pub fn ask<T: DeserializeOwned>(
        &self,
        user: u32,
        job: &Job,
        bytes: Vec<u8>,
    ) -> Result<(T, Vec<u8>), Failure> {
        let Answer { value, bytes } = self.run(user, job, bytes)?;
        let value = serde_json::from_value(value).map_err(|_| Failure::compiler_died())?;
        Ok((value, bytes))
    }

    /// The same with a job that is JSON already.
    ///
    /// # Errors
    /// As [`Pool::run`].
    pub fn run_text(&self, user: u32, frame: Frame) -> Result<Answer, Failure> {
        if frame.text.len().saturating_add(frame.bytes.len()) > JOB_LIMIT {
            return Err(Failure::too_large(JOB_LIMIT));
        }
        let worker = self.take(user)?;
        let done = worker.and_then(|mut worker| {
            let answer = worker.run(&frame, self.time)?;
            Ok((worker, answer))
        });
        let (worker, answer) = match done {
            Ok((worker, answer)) => (Some(worker), Ok(answer)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                (None, Err(Failure::timed_out(self.time.as_secs())))
            }
            Err(_) => (None, Err(Failure::compiler_died())),
        };
        let mut state = self.lock();
        state.free += 1;
        state.idle.extend(worker);
        drop(state);
        self.freed.notify_one();
        let Frame { text, bytes } = answer?;
        let result: Result<Value, Failure> =
            serde_json::from_slice(&text).map_err(|_| Failure::compiler_died())?;
        result.map(|value| Answer { value, bytes })
    }

    /// Waits for its turn, and gets a process that has worked for nobody else.
    fn take(&self, user: u32) -> Result<io::Result<Worker>, Failure> {
        let until = Instant::now() + self.time;
        let mut state = self.lock();
        while state.free == 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::busy());
            }
            let waited = self.freed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.free -= 1;
        let own = state.idle.iter().position(|worker| worker.user == user);
        let found = own.map(|at| state.idle.swap_remove(at));
        // One of another user's makes room.
        let other = match found {
            None => state.idle.pop(),
            Some(_) => None,
        };
        drop(state);
        drop(other);
        Ok(match found {
            Some(worker) => Ok(worker),
            None => Worker::start(&self.launch, user),
        })
    }

    /// A thread that panicked with the lock has left the numbers right: nothing between them panics.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process, killed when it is dropped.
#[derive(Debug)]
struct Worker {
    child: Child,
    socket: UnixStream,
    user: u32,
}

impl Worker {
    fn start(launch: &Launch, user: u32) -> io::Result<Worker> {
        let (socket, theirs) = UnixStream::pair()?;
        let child = Command::new(&launch.program)
            .args(&launch.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        let worker = Worker {
            child,
            socket,
            user,
        };
        Frame::read(&mut Timed::new(&worker.socket, START), 0)?;
        Ok(worker)
    }

    fn run(&mut self, job: &Frame, time: Duration) -> io::Result<Frame> {
        let mut socket = Timed::new(&self.socket, time);
        job.write(&mut socket)?;
        Frame::read(&mut socket, JOB_LIMIT)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
