//! Printing: what `ipset save` prints (lib/session.c, lib/print.c), with the entries in the order of
//! the text.

use std::fmt::{self, Display};
use std::net::IpAddr;

use super::icmp;
use super::kind::CreateOption;
use super::set::{Entry, Part, Range, Set, SkbInfo};
use super::value;
use crate::names;
use crate::print::Inet6;
use crate::ruleset::Family;

/// The text of some sets, one behind the other.
pub fn print(sets: &[Set]) -> Vec<u8> {
    sets.iter().flat_map(Set::print).collect()
}

impl Set {
    /// The `create` line and one `add` line for each entry. It is bytes because comments may hold
    /// any.
    pub fn print(&self) -> Vec<u8> {
        let name = &self.name.value;
        let mut out = format!("create {name} {}", self.kind).into_bytes();
        for &option in self.kind.options() {
            if let Some(text) = self.option(option) {
                out.push(b' ');
                out.extend_from_slice(text.as_bytes());
            }
        }
        out.push(b'\n');
        for entry in &self.entries {
            out.extend_from_slice(format!("add {name} ").as_bytes());
            entry.value.print(&mut out);
            out.push(b'\n');
        }
        out
    }

    fn option(&self, option: CreateOption) -> Option<String> {
        let options = &self.options;
        let number = |name, value: Option<u32>| value.map(|value| format!("{name} {value}"));
        let flag = |name: &str, on: bool| on.then(|| name.to_owned());
        match option {
            CreateOption::Family => options.family.map(|family| match family {
                Family::V4 => "family inet".to_owned(),
                Family::V6 => "family inet6".to_owned(),
            }),
            CreateOption::Range => options.range.map(|range| match range {
                Range::Addresses(from, to) => format!("range {from}-{to}"),
                Range::Ports(from, to) => format!("range {from}-{to}"),
            }),
            CreateOption::Netmask => number("netmask", options.netmask.map(u32::from)),
            CreateOption::Bitmask => options
                .bitmask
                .map(|mask| format!("bitmask {}", Address(mask))),
            CreateOption::MarkMask => options
                .markmask
                .map(|mask| format!("markmask {mask:#010x}")),
            CreateOption::HashSize => number("hashsize", options.hashsize),
            CreateOption::MaxElem => number("maxelem", options.maxelem),
            CreateOption::BucketSize => number("bucketsize", options.bucketsize.map(u32::from)),
            CreateOption::InitVal => options
                .initval
                .map(|value| format!("initval {value:#010x}")),
            CreateOption::Size => number("size", options.size),
            CreateOption::Timeout => number("timeout", options.timeout),
            CreateOption::Counters => flag("counters", options.counters),
            CreateOption::Comment => flag("comment", options.comment),
            CreateOption::ForceAdd => flag("forceadd", options.forceadd),
            CreateOption::SkbInfo => flag("skbinfo", options.skbinfo),
            // They say in another way what other options say, or nothing.
            CreateOption::From
            | CreateOption::To
            | CreateOption::Network
            | CreateOption::Ignored => None,
        }
    }
}

impl Entry {
    fn print(&self, out: &mut Vec<u8>) {
        let mut word = |text: String| out.extend_from_slice(text.as_bytes());
        for (dimension, part) in self.parts.iter().enumerate() {
            let comma = if dimension == 0 { "" } else { "," };
            word(format!("{comma}{part}"));
        }
        if let Some(timeout) = self.timeout {
            word(format!(" timeout {timeout}"));
        }
        if self.nomatch {
            word(" nomatch".to_owned());
        }
        if let Some(Part::Interface { wildcard: true, .. }) = self.parts.last() {
            word(" wildcard".to_owned());
        }
        if let Some(counters) = self.counters {
            let (packets, bytes) = (counters.packets, counters.bytes);
            word(format!(" packets {packets} bytes {bytes}"));
        }
        if let Some(comment) = &self.comment {
            out.extend_from_slice(b" comment \"");
            out.extend_from_slice(comment);
            out.push(b'"');
        }
        out.extend_from_slice(self.skbinfo.to_string().as_bytes());
    }
}

/// Each option behind a blank.
impl Display for SkbInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SkbInfo {
            mark,
            mark_mask,
            priority,
            queue,
        } = *self;
        match (mark, mark_mask) {
            (0, 0) => {}
            (_, u32::MAX) => write!(f, " skbmark {mark:#x}")?,
            _ => write!(f, " skbmark {mark:#x}/{mark_mask:#x}")?,
        }
        if priority != 0 {
            write!(f, " skbprio {:x}:{:x}", priority >> 16, priority & 0xffff)?;
        }
        if queue != 0 {
            write!(f, " skbqueue {queue}")?;
        }
        Ok(())
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Address(address) => write!(f, "{}", Address(*address)),
            Part::Network { address, length } => {
                let family = match address {
                    IpAddr::V4(_) => Family::V4,
                    IpAddr::V6(_) => Family::V6,
                };
                write!(f, "{}", Address(*address))?;
                match *length == value::width(family) {
                    true => Ok(()),
                    false => write!(f, "/{length}"),
                }
            }
            Part::Mac([a, b, c, d, e, g]) => {
                write!(f, "{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{g:02X}")
            }
            Part::Mark(mark) => write!(f, "{mark:#010x}"),
            Part::Port(port) => write!(f, "{port}"),
            Part::ProtocolPort { protocol, port } => {
                match names::protocol_name(*protocol) {
                    Some(name) => write!(f, "{name}:")?,
                    None => write!(f, "{protocol}:")?,
                }
                let [kind, code] = port.to_be_bytes();
                match (*protocol, icmp::name(*protocol, kind, code)) {
                    (_, Some(name)) => f.write_str(name),
                    (icmp::PROTOCOL_ICMP | icmp::PROTOCOL_ICMPV6, None) => {
                        write!(f, "{kind}/{code}")
                    }
                    (_, None) => write!(f, "{port}"),
                }
            }
            Part::Interface { name, physdev, .. } => {
                write!(f, "{}{name}", if *physdev { "physdev:" } else { "" })
            }
            Part::Set(name) => f.write_str(name),
        }
    }
}

/// An address as `getnameinfo` writes it.
struct Address(IpAddr);

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "{}", Inet6(address)),
        }
    }
}
