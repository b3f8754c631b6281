//! The grammars of values in sets (lib/parse.c of ipset).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bstr::{BStr, ByteSlice};
use nom::bytes::complete::{tag, take_while_m_n};
use nom::combinator::{all_consuming, map_res, opt};
use nom::multi::separated_list1;
use nom::sequence::preceded;
use nom::{IResult, Parser};

use super::icmp::{self, PROTOCOL_ICMP, PROTOCOL_ICMPV6};
use crate::databases::Names;
use crate::extension::Problem;
use crate::names::closest;
use crate::ruleset::Family;
use crate::value;

/// A number from `min` to `max`.
pub(super) fn number(word: &[u8], min: u64, max: u64) -> Result<u64, Problem> {
    value::integer(word, u64::MAX)
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| {
            let shown = BStr::new(word);
            Problem::new(format!("{shown:?} is not a number from {min} to {max}"))
        })
}

/// A number of 32 bits.
pub(super) fn number32(word: &[u8]) -> Result<u32, Problem> {
    number(word, 0, u32::MAX.into()).map(|number| number as u32)
}

/// Seconds, as many as fit into 31 bits as milliseconds.
pub(super) fn timeout(word: &[u8]) -> Result<u32, Problem> {
    number(word, 0, u64::from(u32::MAX >> 1) / 1000).map(|number| number as u32)
}

/// Cuts at the first separator, unless the word begins or ends with one (`ipset_strchr`).
pub(super) fn cut(word: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = word.find_byte(separator)?;
    (word.first() != Some(&separator) && word.last() != Some(&separator))
        .then(|| (&word[..at], &word[at + 1..]))
}

/// An address of the family; nothing is looked up.
pub(super) fn address(word: &[u8], family: Family) -> Result<IpAddr, Problem> {
    let (v4, v6) = (address_v4(word), address_v6(word));
    let found = match family {
        Family::V4 => v4.map(IpAddr::V4),
        Family::V6 => v6.map(IpAddr::V6),
    };
    found.ok_or_else(|| {
        let shown = BStr::new(word);
        match (v4, v6) {
            (Some(_), _) => Problem::new(format!("{shown} is an IPv4 address in an IPv6 set"))
                .with_help("put it into a set with family inet"),
            (_, Some(_)) => Problem::new(format!("{shown} is an IPv6 address in an IPv4 set"))
                .with_help("create the set with family inet6"),
            _ => Problem::new(format!("{shown:?} is no address"))
                .with_help("host names are not looked up: write addresses"),
        }
    })
}

/// One to four parts of decimal or octal digits; the last fills what is left (`inet_aton`). The
/// resolver takes a hexadecimal part for a name.
fn address_v4(word: &[u8]) -> Option<Ipv4Addr> {
    let parts: Option<Vec<u64>> = word
        .split_str(".")
        .map(|part| {
            let is_number = part.iter().all(u8::is_ascii_digit);
            value::integer(part, u32::MAX.into()).filter(|_| is_number)
        })
        .collect();
    let parts = parts?;
    let (last, heads) = parts.split_last()?;
    let free = 32_u32.checked_sub(8 * u32::try_from(heads.len()).ok()?)?;
    let head = heads
        .iter()
        .try_fold(0_u64, |sum, &part| (part <= 255).then_some(sum << 8 | part))?;
    (free > 0 && *last < 1 << free).then_some(())?;
    u32::try_from(head << free | last)
        .ok()
        .map(Ipv4Addr::from_bits)
}

fn address_v6(word: &[u8]) -> Option<Ipv6Addr> {
    word.to_str().ok()?.parse().ok()
}

/// The bits of an address.
pub(super) fn width(family: Family) -> u8 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

/// The part of an address that a prefix covers.
pub(super) fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask_v4(length))),
        IpAddr::V6(v6) => {
            let shift = 128_u32.saturating_sub(length.into());
            let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

/// The mask of a prefix length.
pub(super) fn mask_v4(length: u8) -> u32 {
    let shift = 32_u32.saturating_sub(length.into());
    u32::MAX.checked_shl(shift).unwrap_or(0)
}

/// An address under a mask of its own family.
pub(super) fn under(address: IpAddr, mask: IpAddr) -> IpAddr {
    match (address, mask) {
        (IpAddr::V4(address), IpAddr::V4(mask)) => {
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask.to_bits()))
        }
        (IpAddr::V6(address), IpAddr::V6(mask)) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask.to_bits()))
        }
        (address, _) => address,
    }
}

/// Whether a mask leaves every address as it is.
pub(super) fn is_all_ones(mask: IpAddr) -> bool {
    match mask {
        IpAddr::V4(mask) => mask.to_bits() == u32::MAX,
        IpAddr::V6(mask) => mask.to_bits() == u128::MAX,
    }
}

/// Six bytes in hexadecimal between colons.
pub(super) fn mac(word: &[u8]) -> Result<[u8; 6], Problem> {
    let byte = || {
        map_res(
            take_while_m_n(1, 2, |byte: u8| byte.is_ascii_hexdigit()),
            |digits: &[u8]| u8::from_str_radix(digits.to_str_lossy().as_ref(), 16),
        )
    };
    let found: IResult<&[u8], Vec<u8>> =
        all_consuming(separated_list1(tag(&b":"[..]), byte())).parse(word);
    found
        .ok()
        .and_then(|(_, bytes)| bytes.try_into().ok())
        .ok_or_else(|| {
            Problem::new(format!("{:?} is no Ethernet address", BStr::new(word)))
                .with_help("write six bytes such as 00:16:3e:00:00:01")
        })
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const UDPLITE: u8 = 136;

/// Whether a set keeps ports of this protocol (`ip_set_proto_with_ports`).
fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | SCTP | UDPLITE)
}

/// `[protocol:]port[-port]`, or an ICMP type and code by name or as `type/code`, or `protocol:0`.
/// Gives the protocol and both ends of the range, the smaller first.
pub(super) fn protocol_port(
    word: &[u8],
    family: Family,
    names: &Names,
) -> Result<(u8, u16, u16), Problem> {
    let Some((name, port)) = cut(word, b':') else {
        let (low, high) = ports(word, TCP, names)?;
        return Ok((TCP, low, high));
    };
    let protocol = value::protocol(name, names)?;
    match (protocol, family) {
        (0, _) => Err(Problem::new("protocol 0 is no protocol of a set")),
        (PROTOCOL_ICMP, Family::V6) => {
            Err(Problem::new("ICMP stands in an IPv6 set").with_help("write icmpv6"))
        }
        (PROTOCOL_ICMPV6, Family::V4) => {
            Err(Problem::new("ICMPv6 stands in an IPv4 set").with_help("write icmp"))
        }
        (PROTOCOL_ICMP | PROTOCOL_ICMPV6, _) => {
            let (kind, code) = icmp_type(protocol, port)?;
            let port = u16::from_be_bytes([kind, code]);
            Ok((protocol, port, port))
        }
        _ if has_ports(protocol) => {
            let (low, high) = ports(port, protocol, names)?;
            Ok((protocol, low, high))
        }
        _ if port == b"0" => Ok((protocol, 0, 0)),
        _ => Err(
            Problem::new(format!("protocol {} has no ports", BStr::new(name)))
                .with_help(format!("write {}:0", BStr::new(name))),
        ),
    }
}

fn icmp_type(protocol: u8, word: &[u8]) -> Result<(u8, u8), Problem> {
    if let Some(pair) = icmp::of_name(protocol, word) {
        return Ok(pair);
    }
    let pair =
        cut(word, b'/').and_then(|(kind, code)| Some((value::byte(kind)?, value::byte(code)?)));
    pair.ok_or_else(|| {
        let problem = Problem::new(format!("{:?} is no ICMP type and code", BStr::new(word)));
        match closest(word, icmp::names(protocol)) {
            Some(name) => problem.with_help(format!("did you mean {name}?")),
            None => problem
                .with_help("write both as numbers, such as 3/4, or a name such as echo-request"),
        }
    })
}

/// `port` or `port-port`, the smaller first; each a number or a service over the protocol.
fn ports(word: &[u8], protocol: u8, names: &Names) -> Result<(u16, u16), Problem> {
    let port = |word: &[u8]| {
        let number = value::integer(word, 0xffff).and_then(|port| u16::try_from(port).ok());
        number
            .or_else(|| names.service_of(word, protocol))
            .ok_or_else(|| {
                let shown = BStr::new(word);
                Problem::new(format!("{shown:?} is no port number or known service"))
                    .with_help("write a number from 0 to 65535")
            })
    };
    let (from, to) = match cut(word, b'-') {
        Some((from, to)) => (port(from)?, port(to)?),
        None => {
            let port = port(word)?;
            (port, port)
        }
    };
    Ok((from.min(to), from.max(to)))
}

/// Ports of a `bitmap:port`, where `tcp:` and `udp:` may stand before and only help to name services.
pub(super) fn bitmap_ports(word: &[u8], names: &Names) -> Result<(u16, u16), Problem> {
    match cut(word, b':') {
        None => ports(word, TCP, names),
        Some((protocol, range)) => match value::protocol(protocol, names)? {
            protocol @ (TCP | UDP) => ports(range, protocol, names),
            _ => Err(Problem::new("a bitmap:port knows only tcp and udp ports")),
        },
    }
}

fn hexadecimal(input: &[u8]) -> IResult<&[u8], u32> {
    map_res(
        take_while_m_n(1, 8, |byte: u8| byte.is_ascii_hexdigit()),
        |digits: &[u8]| u32::from_str_radix(digits.to_str_lossy().as_ref(), 16),
    )
    .parse(input)
}

/// `0xMARK[/0xMASK]`.
pub(super) fn skb_mark(word: &[u8]) -> Result<(u32, u32), Problem> {
    let prefixed = || preceded(tag(&b"0x"[..]), hexadecimal);
    let mask = preceded(tag(&b"/"[..]), prefixed());
    let (_, (mark, mask)) = all_consuming((prefixed(), opt(mask)))
        .parse(word)
        .map_err(|_| {
            Problem::new(format!("{:?} is no mark", BStr::new(word)))
                .with_help("write 0xMARK or 0xMARK/0xMASK in hexadecimal")
        })?;
    Ok((mark, mask.unwrap_or(u32::MAX)))
}

/// `MAJOR:MINOR` in hexadecimal.
pub(super) fn skb_priority(word: &[u8]) -> Result<u32, Problem> {
    let half = || map_res(hexadecimal, u16::try_from);
    let both = (half(), preceded(tag(&b":"[..]), half()));
    let found: IResult<&[u8], (u16, u16)> = all_consuming(both).parse(word);
    let (_, (major, minor)) = found.map_err(|_| {
        Problem::new(format!("{:?} is no traffic class", BStr::new(word)))
            .with_help("write MAJOR:MINOR in hexadecimal, such as 1:10")
    })?;
    Ok(u32::from(major) << 16 | u32::from(minor))
}

/// The name of a set: up to 31 bytes.
pub(super) fn set_name(word: &[u8]) -> Result<String, Problem> {
    /// `IPSET_MAXNAMELEN` less the NUL.
    const LIMIT: usize = 31;
    let name = word
        .to_str()
        .map_err(|_| Problem::new("a set's name is valid UTF-8"))?;
    if name.len() > LIMIT {
        let message = format!("the set's name is longer than {LIMIT} bytes");
        return Err(Problem::new(message));
    }
    if name.contains(|c: char| c.is_ascii_whitespace()) {
        return Err(Problem::new("a set's name has no blanks")
            .with_help("ipset save would print it without quotes, which nothing can read"));
    }
    Ok(name.to_owned())
}

/// `[physdev:]NAME` of an interface.
pub(super) fn interface(word: &[u8]) -> Result<(String, bool), Problem> {
    /// `IFNAMSIZ` less the NUL.
    const LIMIT: usize = 15;
    let (name, physdev) = match word.strip_prefix(b"physdev:") {
        Some(name) => (name, true),
        None => (word, false),
    };
    let name = name
        .to_str()
        .map_err(|_| Problem::new("an interface name is valid UTF-8"))?;
    if name.len() > LIMIT {
        let message = format!("the interface name {name:?} is longer than {LIMIT} bytes");
        return Err(Problem::new(message));
    }
    Ok((name.to_owned(), physdev))
}
