//! The prefixes of `SNPT` and `DNPT` (ip6t_NPT.c, RFC 6296).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Opt, OptionSpec, Problem, Value};
use crate::print::{Inet6, Line};
use crate::value::host_and_length;

/// The two prefixes of a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Prefixes {
    /// `--src-pfx`, the prefix that is replaced.
    pub from: Prefix,
    /// `--dst-pfx`, the prefix that replaces it.
    pub to: Prefix,
}

/// An IPv6 prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Prefix {
    /// Its address, zero behind the prefix.
    pub address: Ipv6Addr,
    /// Its length in bits, at most 64.
    pub length: u8,
}

/// The kernel translates no longer ones.
pub(crate) const LONGEST: u8 = 64;

static FROM: Opt<Prefix> = Opt::new(&["src-pfx"], prefix);
static TO: Opt<Prefix> = Opt::new(&["dst-pfx"], prefix);

pub(super) const OPTIONS: [&OptionSpec; 2] = [&FROM.spec, &TO.spec];

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Inet6(self.address), self.length)
    }
}

impl Prefixes {
    pub(super) fn read(arguments: &Arguments<'_>) -> Result<Self, Diagnostic> {
        Ok(Self {
            from: arguments.need(&FROM)?.value.value,
            to: arguments.need(&TO)?.value.value,
        })
    }

    /// Writes the prefixes; the empty one is not written.
    pub(super) fn print(&self, line: &mut Line) {
        for (option, prefix) in [("--src-pfx", &self.from), ("--dst-pfx", &self.to)] {
            if prefix.length != 0 {
                line.word(option);
                line.word(prefix);
            }
        }
    }
}

impl Prefix {
    /// The bits behind the prefix, which the kernel wants to be zero.
    fn host_bits(self) -> u128 {
        u128::MAX.checked_shr(self.length.into()).unwrap_or(0)
    }

    /// Whether a bit behind the prefix is set.
    pub(crate) fn has_host_bits(self) -> bool {
        self.address.to_bits() & self.host_bits() != 0
    }
}

fn prefix(value: &Value<'_>) -> Result<Prefix, Problem> {
    let address = match host_and_length(value.word(0), value.rule.family)? {
        (IpAddr::V6(address), length) if length <= LONGEST => Some((address, length)),
        _ => None,
    };
    let Some((address, length)) = address else {
        return Err(
            Problem::new("the kernel translates prefixes of at most 64 bits")
                .with_help("write a prefix as in 2001:db8::/48"),
        );
    };
    let prefix = Prefix { address, length };
    if prefix.has_host_bits() {
        return Err(
            Problem::new("the address has bits behind its prefix").with_help(format!(
                "write {}/{length}",
                Inet6(Ipv6Addr::from_bits(address.to_bits() & !prefix.host_bits()))
            )),
        );
    }
    Ok(prefix)
}
