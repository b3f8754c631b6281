//! Tracking in bytecode: three functions.
//!
//! `resolve(context, packet, question)` fills the [`question`], which lies in the program's scratch area;
//! `track(context, packet, question, commit)` gives the packet its state, and with `commit` remembers the
//! flow that it begins, by `enter(context, packet, question, flow)`.

use crate::emit::link::PACKET;
use crate::emit::words::{Place, Word};
use crate::field::layout;

pub mod ask;
mod enter;
mod resolve;
pub mod sctp;
mod tcp;
mod visit;

pub use enter::{EnterMaps, RING_PLACE_BYTES, enter};
pub use resolve::resolve;
pub use visit::{Maps, Table, track};

/// Where a [`Question`](super::resolve::Question) lies in the scratch area.
pub mod question {
    use crate::track::Key;

    /// The key.
    pub const KEY: i16 = 0;
    /// The [`Class`](crate::track::resolve::Class): one byte.
    pub const CLASS: i16 = Key::SIZE as i16;
    /// 1 when the packet goes from the first end to the second.
    pub const FORWARD: i16 = CLASS + 1;
    /// 1 when only an entry may answer.
    pub const IS_ANSWER: i16 = CLASS + 2;
    /// Bytes, a multiple of 8.
    pub const SIZE: i16 = CLASS + 8;
}

/// A number that the verifier does not know, so that it looks only once at what follows, and not for each
/// value that there may be. To it, two loads from a packet's struct are two numbers.
fn hidden(number: u32) -> Word {
    let length = Place::word(PACKET, layout::LENGTH);
    let nothing = length ^ Word::from(length);
    nothing + number
}
