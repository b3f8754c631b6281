//! Networks by the length of their prefix, as addresses of connections and tunnels are compared.

use std::fmt;
use std::net::IpAddr;

use bstr::ByteSlice;
use serde::Serialize;

use crate::extension::{Problem, Value};
use crate::print::Inet;
use crate::ruleset::Family;
use crate::value::{host, prefix_length};

/// The addresses that start like one. The other bits of the address are kept, as the tool prints
/// them, and mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Prefix {
    /// An address of the rule's family.
    pub address: IpAddr,
    /// How many leading bits count.
    pub length: u8,
}

/// `address/length`, without the length when all bits count.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Inet(self.address);
        match (self.address, self.length) {
            (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => write!(f, "{address}"),
            (_, length) => write!(f, "{address}/{length}"),
        }
    }
}

/// `address[/mask]` (libxtables, `xtopt_parse_hostmask`).
pub(crate) fn read(value: &Value<'_>) -> Result<Prefix, Problem> {
    let family = value.rule.family;
    let word = value.word(0);
    let (address, length) = match word.split_once_str("/") {
        Some((address, mask)) => (address, prefix_length(mask, family)?),
        None if family == Family::V4 => (word, 32),
        None => (word, 128),
    };
    Ok(Prefix {
        address: host(address, family)?,
        length,
    })
}
