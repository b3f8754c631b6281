//! How a run can fail, and the exit code for each way: 1 the input, 2 the usage, 3 the kernel.

use std::io;

use anyhow::Error;

/// The input is wrong, and messages have said so.
#[derive(Debug)]
pub struct Told;

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the input is wrong")
    }
}
impl std::error::Error for Told {}

/// Arguments that do not fit together in a way the argument parser cannot see.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Usage {}

/// A command that was run has failed, and has said so itself.
#[derive(Debug)]
pub struct Exit(pub u8);

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the command has ended with status {}", self.0)
    }
}
impl std::error::Error for Exit {}

/// The exit code for an error.
pub fn exit_code(error: &Error) -> u8 {
    if let Some(Exit(code)) = error.downcast_ref() {
        *code
    } else if is_broken_pipe(error) {
        0
    } else if error.is::<Usage>() {
        2
    } else if refused(error) {
        3
    } else {
        1
    }
}

/// Whether the reader of our output has gone: it had enough.
pub fn is_broken_pipe(error: &Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Whether the kernel said no.
pub fn refused(error: &Error) -> bool {
    error
        .downcast_ref::<ipt2bpf_runtime::Error>()
        .is_some_and(ipt2bpf_runtime::Error::kernel_refused)
}
