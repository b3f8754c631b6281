//! The grammar of `--tos` and `--set-tos`: `value[/mask]` or a name (libxtables,
//! `xtopt_parse_tosmask`).

use std::fmt;

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use crate::extension::Problem;
use crate::value::byte;

/// A value and a mask for the IPv4 TOS byte or the IPv6 traffic class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TosMask {
    /// The value. Bits outside the mask are kept, as iptables-save prints them.
    pub value: u8,
    /// The bits concerned.
    pub mask: u8,
}

/// The names of RFC 1349, whose mask is [`NAMED_MASK`].
const NAMES: [(&str, u8); 5] = [
    ("Minimize-Delay", 0x10),
    ("Maximize-Throughput", 0x08),
    ("Maximize-Reliability", 0x04),
    ("Minimize-Cost", 0x02),
    ("Normal-Service", 0x00),
];
const NAMED_MASK: u8 = 0x3f;

impl TosMask {
    /// The name that `-L` shows.
    pub(crate) fn symbol(self) -> Option<&'static str> {
        let rows = NAMES.iter().filter(|_| self.mask == NAMED_MASK);
        rows.filter(|row| row.1 == self.value)
            .map(|row| row.0)
            .next()
    }
}

/// Two hexadecimal digits each, as save prints them.
impl fmt::Display for TosMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}/{:#04x}", self.value, self.mask)
    }
}

/// A number with a mask of all bits unless told, or a name in any case.
pub(crate) fn tos_mask(word: &[u8]) -> Result<TosMask, Problem> {
    let named = NAMES
        .iter()
        .find(|row| row.0.as_bytes().eq_ignore_ascii_case(word))
        .map(|row| TosMask {
            value: row.1,
            mask: NAMED_MASK,
        });
    let numeric = || {
        let (value, mask) = match word.split_once_str("/") {
            Some((value, mask)) => (byte(value)?, byte(mask)?),
            None => (byte(word)?, u8::MAX),
        };
        Some(TosMask { value, mask })
    };
    named.or_else(numeric).ok_or_else(|| {
        let names: Vec<&str> = NAMES.iter().map(|row| row.0).collect();
        Problem::new(format!("{:?} is no TOS value", BStr::new(word))).with_help(format!(
            "write a number from 0 to 255, perhaps with /mask, or one of {}",
            names.join(", ")
        ))
    })
}
