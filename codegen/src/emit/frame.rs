//! The stack of a program: the context for callbacks, the `struct packet`, and behind it an area for
//! whatever is in work.

use crate::field::layout;

/// Where things lie on a program's stack. Offsets count from the start of the struct.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    packet: i16,
}

impl Frame {
    /// Bytes of the scratch area: the longest header, TCP's options, `struct bpf_fib_lookup`.
    pub const SCRATCH: i16 = 64;

    /// Where the context lies. It is no part of the struct: a global function that is given the struct
    /// takes from the verifier what it knows of pointers in it.
    pub const CONTEXT: i16 = -8;

    /// A stack whose struct has room for so many return places.
    pub fn new(depth: usize) -> Self {
        Frame {
            packet: layout::size(depth) as i16,
        }
    }

    /// The size of the struct.
    pub fn packet_size(self) -> i16 {
        self.packet
    }

    /// Where the scratch area begins.
    pub fn scratch(self) -> i16 {
        self.packet
    }

    /// The distance of an offset from the frame pointer.
    pub fn address(self, offset: i16) -> i16 {
        offset - self.packet - Self::SCRATCH
    }
}
