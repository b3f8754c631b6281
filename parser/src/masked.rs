//! Numbers under a mask, as the marks of packets and connections are compared.

use std::fmt;

use serde::Serialize;

/// A 32-bit number that equals another under a mask: `other & mask == value`. A value with bits
/// outside the mask equals none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Masked {
    /// The number, as given.
    pub value: u32,
    /// The bits that are compared.
    pub mask: u32,
}

/// `0xVALUE/0xMASK`, without the mask when it is all bits.
impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mask {
            u32::MAX => write!(f, "{:#x}", self.value),
            mask => write!(f, "{:#x}/{mask:#x}", self.value),
        }
    }
}
