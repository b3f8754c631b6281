//! Why a run ended without a result.

use thiserror::Error;

use crate::module::Hook;

/// A run that the kernel would not have allowed, or that asks for what the interpreter does not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The module has no program at the hook.
    #[error("the module has no program at {0}")]
    NoProgram(Hook),
    /// An instruction failed.
    #[error("{function}, instruction {instruction} `{text}`{}: {cause}", in_line(line.as_deref()))]
    At {
        /// The name of the function.
        function: String,
        /// Counted in slots from the start of the function.
        instruction: usize,
        /// The instruction as the listing shows it.
        text: String,
        /// The text that stands above it in the listing.
        line: Option<String>,
        /// What was wrong.
        cause: Cause,
    },
}

fn in_line(line: Option<&str>) -> String {
    line.map_or_else(String::new, |line| format!(" (for `{line}`)"))
}

/// What was wrong with an instruction.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Cause {
    /// A register that nothing was written to, or that a call has made unreadable.
    #[error("r{0} holds nothing")]
    UninitialisedRegister(u8),
    /// R10 cannot be written.
    #[error("the frame pointer is read-only")]
    FramePointer,
    /// A socket that was looked up and not released.
    #[error("a socket is not released")]
    Unreleased,
    /// Stack that nothing was written to.
    #[error("stack is read before it is written")]
    UninitialisedStack,
    /// An access outside the packet, the stack or a value.
    #[error("{size} bytes at {address:#x} are out of bounds")]
    OutOfBounds {
        /// The first byte; the high 32 bits name the region.
        address: u64,
        /// How many.
        size: usize,
    },
    /// A number used as a pointer, or a pointer of a kind that is never read or called.
    #[error("{0:#x} is not the address of such a thing")]
    NotAnAddress(u64),
    /// A write to what programs only read.
    #[error("memory is read-only")]
    ReadOnly,
    /// An access that must be aligned to its size.
    #[error("{size} bytes at {address:#x} are not aligned")]
    Misaligned {
        /// The first byte; the high 32 bits name the region.
        address: u64,
        /// How many.
        size: usize,
    },
    /// A place in the context that is no whole field, or none that the interpreter has.
    #[error("the context has no {size}-byte field at {offset}")]
    NoSuchField {
        /// Bytes from the start of the context.
        offset: i64,
        /// How many bytes were asked for.
        size: usize,
    },
    /// An instruction outside the set of the assembler.
    #[error("opcode {0:#04x} is not supported")]
    Opcode(u8),
    /// A helper that the kernel does not have at this hook, or that the interpreter does not have.
    #[error("helper {helper} is not available at {hook}")]
    Helper {
        /// `enum bpf_func_id`.
        helper: i32,
        /// Where the program runs.
        hook: Hook,
    },
    /// An argument that makes the verifier refuse the call.
    #[error("argument r{0} of the helper is invalid")]
    Argument(u8),
    /// A call of a kernel function.
    #[error("kernel functions are not available")]
    KernelFunction,
    /// An access to a structure of the kernel.
    #[error("structures of the kernel are not available")]
    KernelField,
    /// A call of a function that the module does not have.
    #[error("the called function does not exist")]
    NoSuchFunction,
    /// More than eight nested calls.
    #[error("more than eight frames")]
    TooManyFrames,
    /// Control ran over the end of the function.
    #[error("there is no instruction here")]
    PastEnd,
    /// The run was stopped.
    #[error("the run took more than {0} instructions")]
    Budget(u64),
}
