//! The addresses and ports that `DNAT`, `SNAT`, `MASQUERADE` and `REDIRECT` map to (libxt_NAT).

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Problem, Surroundings, Value};
use crate::listing::Listing;
use crate::print::Inet;
use crate::ruleset::Family;
use crate::span::Span;
use crate::value::leading_integer;

/// What a packet's address and port become. What is none stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct NatRange {
    /// The addresses.
    pub addresses: Option<AddressRange>,
    /// The ports.
    pub ports: Option<NatPorts>,
}

/// An inclusive range of addresses of one family. It may run backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct AddressRange {
    /// First address.
    pub first: IpAddr,
    /// Last address.
    pub last: IpAddr,
}

/// An inclusive range of ports, host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct NatPorts {
    /// First port.
    pub first: u16,
    /// Last port, not below the first.
    pub last: u16,
    /// The port that is mapped to the first one, those behind it to those behind that
    /// (`NF_NAT_RANGE_PROTO_OFFSET`).
    pub base: Option<u16>,
}

/// TCP, UDP, SCTP, DCCP, and ICMP for its query identifier.
const PROTOCOLS: [u8; 5] = [6, 17, 132, 33, 1];

/// An error unless the rule has `-p` with a protocol with ports before the option with these ports.
/// An inverted protocol passes.
pub(super) fn need_ports(arguments: &Arguments<'_>, option: Span) -> Result<(), Diagnostic> {
    let error = |message: &str| Diagnostic::error(code::MISPLACED, option, message);
    match &arguments.rule.base.protocol {
        Some(protocol) if !PROTOCOLS.contains(&protocol.value.value) => {
            Err(error("the protocol of this rule has no ports")
                .with_help("write -p tcp, udp, sctp or dccp, or leave the ports out"))
        }
        Some(protocol) if protocol.value.span.start > option.start => {
            Err(error("the protocol stands behind the ports").with_help("put -p before -j"))
        }
        Some(_) => Ok(()),
        None => Err(
            error("ports need -p tcp, udp, sctp or dccp in the same rule")
                .with_help("add -p tcp, or another of them, before -j"),
        ),
    }
}

impl NatRange {
    /// `[address[-address]][:ports]`; an IPv6 address with ports stands in brackets.
    pub(super) fn read(value: &Value<'_>) -> Result<Self, Problem> {
        let (word, family) = (value.word(0), value.rule.family);
        let bad = || {
            Problem::new(format!(
                "{:?} is no address or range of them",
                BStr::new(word)
            ))
            .with_help(match family {
                Family::V4 => "write 192.0.2.1, 192.0.2.1-192.0.2.9 or 192.0.2.1:80",
                Family::V6 => "write 2001:db8::1, 2001:db8::1-2001:db8::9 or [2001:db8::1]:80",
            })
        };
        // Where the address starts and ends, and the colon before the ports. Two colons without
        // brackets belong to an IPv6 address.
        let (start, end, colon) = match word.find_byte(b'[') {
            Some(_) if family == Family::V4 => return Err(bad()),
            Some(bracket) => {
                let start = bracket + 1;
                let end = start + word[start..].find_byte(b']').ok_or_else(bad)?;
                let colon = word[end..].find_byte(b':').map(|at| end + at);
                (start, end, colon)
            }
            None => {
                let colon = word.find_byte(b':');
                let colon = colon.filter(|at| !word[at + 1..].contains(&b':'));
                (0, colon.unwrap_or(word.len()), colon)
            }
        };
        let ports = match colon {
            Some(colon) => Some(NatPorts::read(&word[colon + 1..], value.rule)?),
            None => None,
        };
        // libxt_NAT takes a colon in the first or third place for one without an address.
        let addresses = match colon {
            Some(0 | 2) => None,
            _ => Some(AddressRange::read(&word[start..end], family).ok_or_else(bad)?),
        };
        Ok(Self { addresses, ports })
    }
}

impl AddressRange {
    fn read(text: &[u8], family: Family) -> Option<Self> {
        let (first, last) = text.split_once_str("-").unwrap_or((text, text));
        let address = |text: &[u8]| -> Option<IpAddr> {
            let text = text.to_str().ok()?;
            match family {
                Family::V4 => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
                Family::V6 => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            }
        };
        Some(Self {
            first: address(first)?,
            last: address(last)?,
        })
    }
}

impl NatPorts {
    /// `port`, a number or a service, or `first-last[/base]`.
    pub(super) fn read(text: &[u8], rule: &Surroundings<'_>) -> Result<Self, Problem> {
        let bad = |what: &[u8]| {
            Problem::new(format!("{:?} is no port", BStr::new(what)))
                .with_help("write a port, or a range as 1024-2047")
        };
        let Some((first, rest)) = number(text) else {
            let port = rule.names.service(text).ok_or_else(|| bad(text))?;
            return Ok(Self::one(port));
        };
        let Some(rest) = rest.strip_prefix(b"-") else {
            return if rest.is_empty() {
                Ok(Self::one(first))
            } else {
                Err(bad(text))
            };
        };
        let (last, rest) = number(rest).ok_or_else(|| bad(rest))?;
        if last < first {
            return Err(
                Problem::new(format!("the range {first}-{last} runs backwards"))
                    .with_help(format!("write {last}-{first}")),
            );
        }
        let base = match rest {
            b"" => None,
            // What stands behind the number is not looked at.
            [b'/', base @ ..] => Some(match number(base) {
                Some((base, _)) if base > 0 => base,
                _ => rule.names.service(base).ok_or_else(|| bad(base))?,
            }),
            _ => return Err(bad(text)),
        };
        Ok(Self { first, last, base })
    }

    fn one(port: u16) -> Self {
        Self {
            first: port,
            last: port,
            base: None,
        }
    }

    /// As the structures without a base hold it: that there is one, and zero for it (libxt_NAT,
    /// `NAT_parse`).
    pub(super) fn without_base(self) -> Self {
        Self {
            base: self.base.map(|_| 0),
            ..self
        }
    }
}

fn number(text: &[u8]) -> Option<(u16, &[u8])> {
    let (value, rest) = leading_integer(text)?;
    Some((u16::try_from(value).ok()?, rest))
}

impl Display for NatRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.addresses, &self.ports) {
            (Some(range), Some(ports)) if range.first.is_ipv6() => write!(f, "[{range}]:{ports}"),
            (Some(range), Some(ports)) => write!(f, "{range}:{ports}"),
            (Some(range), None) => write!(f, "{range}"),
            (None, Some(ports)) => write!(f, ":{ports}"),
            (None, None) => Ok(()),
        }
    }
}

impl Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Inet(self.first))?;
        if self.first != self.last {
            write!(f, "-{}", Inet(self.last))?;
        }
        Ok(())
    }
}

impl Display for NatPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.first != self.last {
            write!(f, "-{}", self.last)?;
        }
        if let Some(base) = self.base {
            write!(f, "/{base}")?;
        }
        Ok(())
    }
}

/// What `-L` shows of a range.
pub(super) fn list_range(line: &mut Listing<'_>, range: &NatRange) {
    let text = range.to_string();
    if !text.is_empty() {
        line.word(format_args!("to:{text}"));
    }
}
