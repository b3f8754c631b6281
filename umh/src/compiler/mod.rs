//! The compiling process: one job after the other from standard input, in the sandbox.
//!
//! It is started by [`pool`], reads what it must know of the machine, goes into the
//! [sandbox] and says that it is ready. From then on it reads a job, does it, and answers.
//! Whatever goes wrong with it ends it, and its parent starts another.

mod answers;
pub mod job;
pub mod pool;

mod tables;
mod turns;

use std::io::{self, Read, Write};

use ipt2bpf_codegen::options::{DeviceAccess, KernelVersion};
use ipt2bpf_parser::Names;
use ipt2bpf_runtime::{kernel, system_names};
use rustix::stdio::stdin;
use thiserror::Error;

use crate::failure::Failure;
use crate::frame::Frame;
use crate::sandbox::{self, SandboxError};
use crate::sys;
use job::{Answer, Job};

/// The most bytes of a job.
pub const JOB_LIMIT: usize = 256 << 20;

/// What the compiler knows of the machine.
pub struct Host {
    names: Names,
    device_access: Option<DeviceAccess>,
    tick_rate: u32,
    target: Option<KernelVersion>,
}

impl Host {
    /// Reads it.
    pub fn read() -> Host {
        Host {
            names: system_names(),
            device_access: kernel::device_access(),
            tick_rate: kernel::tick_rate(),
            target: kernel::target(),
        }
    }
}

/// Why the compiling process ends.
#[derive(Debug, Error)]
pub enum CompilerError {
    /// It does not work without its walls.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Its parent cannot be heard or spoken to.
    #[error("standard input: {0}")]
    Io(#[from] io::Error),
}

/// Does jobs from standard input until there are no more; answers go there, too. `memory` bounds its
/// address space, in bytes.
///
/// # Errors
/// [`CompilerError`].
pub fn run(memory: u64) -> Result<(), CompilerError> {
    // Whatever the parent was started with is not for us.
    sys::close_others()?;
    let host = Host::read();
    sandbox::enter(memory)?;
    let mut pipe = Parent;
    Frame::default().write(&mut pipe)?;
    loop {
        let frame = match Frame::read(&mut pipe, JOB_LIMIT) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        };
        answer(&host, &frame).write(&mut pipe)?;
    }
}

/// The socket to the parent, which is standard input, both ways.
struct Parent;

impl Read for Parent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(stdin(), buffer)?)
    }
}

impl Write for Parent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(stdin(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The answer to a job: a [`Failure`] or what the job gives, and bytes.
pub fn answer(host: &Host, frame: &Frame) -> Frame {
    let done = match serde_json::from_slice::<Job>(&frame.text) {
        Ok(job) => job.run(host, &frame.bytes),
        Err(error) => Err(Failure::unreadable(&error)),
    };
    let (result, bytes) = match done {
        Ok(Answer { value, bytes }) => (Ok(value), bytes),
        Err(failure) => (Err(failure), Vec::new()),
    };
    // Values without odd keys always serialise.
    let text = serde_json::to_vec(&result).unwrap_or_default();
    Frame { text, bytes }
}
