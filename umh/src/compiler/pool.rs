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
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::JOB_LIMIT;
use super::job::{Answer, Job};
use super::turns::Turns;
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
    turns: Turns,
    idle: Mutex<Vec<Worker>>,
}

impl Pool {
    /// At most `size` processes, each with so much time for a job. They are started when there is something
    /// to do.
    pub fn new(launch: Launch, size: usize, time: Duration) -> Pool {
        Pool {
            launch,
            time,
            turns: Turns::new(size.max(1)),
            idle: Mutex::default(),
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
        if !self.turns.take(self.time) {
            return Err(Failure::busy());
        }
        let done = self.take(user).and_then(|mut worker| {
            let answer = worker.run(&frame, self.time)?;
            self.idle().push(worker);
            Ok(answer)
        });
        self.turns.give();
        let answer = done.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Failure::timed_out(self.time.as_secs()),
            _ => Failure::compiler_died(),
        });
        let Frame { text, bytes } = answer?;
        let result: Result<Value, Failure> =
            serde_json::from_slice(&text).map_err(|_| Failure::compiler_died())?;
        result.map(|value| Answer { value, bytes })
    }

    /// A process that has worked for nobody else.
    fn take(&self, user: u32) -> io::Result<Worker> {
        let mut idle = self.idle();
        let own = idle.iter().position(|worker| worker.user == user);
        if let Some(own) = own {
            return Ok(idle.swap_remove(own));
        }
        // One of another user's makes room.
        let other = idle.pop();
        drop(idle);
        drop(other);
        Worker::start(&self.launch, user)
    }

    /// Nothing that holds the lock panics.
    fn idle(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
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
