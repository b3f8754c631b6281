//! A packet in words, such as `tcp 10.0.0.5:40000 > 192.0.2.1:22 syn in eth0`, or in hexadecimal.
//!
//! ```text
//! packet   = hex:DIGITS (in IFACE | out IFACE | mark NUMBER | mac ADDRESS)*
//!          | PROTOCOL ENDPOINT > ENDPOINT word*
//! PROTOCOL = tcp | udp | icmp | icmpv6 | proto NUMBER
//! ENDPOINT = ADDRESS | ADDRESS:PORT | [ADDRESS] | [ADDRESS]:PORT     brackets for IPv6
//! word     = fin | syn | rst | psh | ack | urg | ece | cwr | none    TCP flags; syn without any
//!          | type NUMBER | code NUMBER                               ICMP; 8 or 128 and 0 without
//!          | in IFACE | out IFACE
//!          | frag BYTES     a fragment at this offset; 0 is the first, with more to come
//!          | len BYTES      the length from the IP header on
//!          | ttl NUMBER | tos NUMBER | mark NUMBER                   hexadecimal with 0x; 64, 0 and 0 without
//!          | mac ADDRESS    the Ethernet address that sent it
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::frame::ip_packet;
use crate::packet::{Devices, Metadata};
use ipt2bpf_parser::ruleset::Family;
use nom::Parser;
use nom::bytes::complete::{tag, take_till1, take_while1};
use nom::character::complete::{char, space0, space1};
use nom::combinator::{opt, verify};
use nom::error::{ErrorKind, ParseError};
use nom::multi::many0;
use nom::sequence::{delimited, preceded, terminated};

/// A packet to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketWords {
    /// What the user wrote.
    pub text: String,
    /// The family of its header.
    pub family: Family,
    /// Its bytes from the IP header on. Checksums are not filled in: no rule looks at them.
    pub bytes: Vec<u8>,
    /// The interfaces named.
    pub devices: Devices,
    /// The mark and the sender's Ethernet address.
    pub metadata: Metadata,
}

impl PacketWords {
    /// The Ethernet header of a packet whose sender is told: to nobody in particular.
    pub fn link_header(&self) -> Option<[u8; 14]> {
        let sender = self.metadata.source_mac?;
        let ethertype = match self.family {
            Family::V4 => [0x08, 0x00],
            Family::V6 => [0x86, 0xdd],
        };
        let mut header = [0; 14];
        header[6..12].copy_from_slice(&sender);
        header[12..].copy_from_slice(&ethertype);
        Some(header)
    }
}

impl FromStr for PacketWords {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = |Problem { at, message }| {
            let column = text[..text.len() - at.len()].chars().count();
            format!("{message}\n  {text}\n  {}^", " ".repeat(column))
        };
        let (family, bytes, devices, metadata) = match text.strip_prefix("hex:") {
            Some(digits) => hexadecimal(digits).map_err(problem)?,
            None => described(text).map_err(problem)?,
        };
        Ok(PacketWords {
            text: text.to_owned(),
            family,
            bytes,
            devices,
            metadata,
        })
    }
}

/// What is wrong, and where.
#[derive(Debug)]
struct Problem<'a> {
    /// The rest of the text from there on.
    at: &'a str,
    message: String,
}

impl<'a> Problem<'a> {
    fn new(at: &'a str, message: impl Into<String>) -> Self {
        Problem {
            at,
            message: message.into(),
        }
    }
}

impl<'a> ParseError<&'a str> for Problem<'a> {
    fn from_error_kind(at: &'a str, _: ErrorKind) -> Self {
        Problem::new(at, "this is not understood")
    }

    fn append(_: &'a str, _: ErrorKind, other: Self) -> Self {
        other
    }
}

type Step<'a, T> = nom::IResult<&'a str, T, Problem<'a>>;
type Read = (Family, Vec<u8>, Devices, Metadata);

/// Says what was expected where a parser fails.
fn expect<'a, T>(
    what: &'static str,
    mut parser: impl Parser<&'a str, Output = T, Error = Problem<'a>>,
) -> impl FnMut(&'a str) -> Step<'a, T> {
    move |text| {
        parser
            .parse(text)
            .map_err(|_| nom::Err::Failure(Problem::new(text, format!("expected {what}"))))
    }
}

/// A word, up to the next space.
fn word(text: &str) -> Step<'_, &str> {
    take_till1(char::is_whitespace)(text)
}

fn number<T: FromStr>(text: &str) -> Step<'_, T> {
    word.map_opt(|digits: &str| digits.parse().ok()).parse(text)
}

/// A number as iptables writes it: hexadecimal behind 0x.
fn number_in_any_base(text: &str) -> Step<'_, u32> {
    word.map_opt(|digits: &str| match digits.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => digits.parse().ok(),
    })
    .parse(text)
}

fn byte(text: &str) -> Step<'_, u8> {
    number_in_any_base
        .map_opt(|number| number.try_into().ok())
        .parse(text)
}

/// `aa:bb:cc:dd:ee:ff`
fn mac(text: &str) -> Step<'_, [u8; 6]> {
    word.map_opt(|written: &str| {
        let bytes = written.split(':').map(|pair| match pair.as_bytes() {
            [high, low] => Some(hex_digit(*high)? << 4 | hex_digit(*low)?),
            _ => None,
        });
        let bytes: Option<Vec<u8>> = bytes.collect();
        bytes?.try_into().ok()
    })
    .parse(text)
}

fn interface(text: &str) -> Step<'_, &str> {
    // IFNAMSIZ with its NUL.
    verify(word, |name: &str| name.len() < 16).parse(text)
}

/// One of the words behind the addresses.
#[derive(Clone, Copy, Debug)]
enum Word<'a> {
    TcpFlag(u8),
    IcmpType(u8),
    IcmpCode(u8),
    In(&'a str),
    Out(&'a str),
    Fragment(u16),
    Length(u16),
    TimeToLive(u8),
    TypeOfService(u8),
    Mark(u32),
    Mac([u8; 6]),
}

/// The bits of TCP's flag byte (RFC 9293, 3.1), and a word for none of them.
const TCP_FLAGS: [(&str, u8); 9] = [
    ("fin", 0x01),
    ("syn", 0x02),
    ("rst", 0x04),
    ("psh", 0x08),
    ("ack", 0x10),
    ("urg", 0x20),
    ("ece", 0x40),
    ("cwr", 0x80),
    ("none", 0),
];

/// A word with the place it stands at, for messages.
fn described_word(text: &str) -> Step<'_, (&str, Word<'_>)> {
    let (at, _) = space1(text)?;
    let (rest, name) = word(at)?;
    let (rest, word) = match name {
        "type" => preceded(space0, expect("an ICMP type from 0 to 255", number))
            .map(Word::IcmpType)
            .parse(rest)?,
        "code" => preceded(space0, expect("an ICMP code from 0 to 255", number))
            .map(Word::IcmpCode)
            .parse(rest)?,
        "in" => preceded(
            space0,
            expect("an interface of at most 15 bytes", interface),
        )
        .map(Word::In)
        .parse(rest)?,
        "out" => preceded(
            space0,
            expect("an interface of at most 15 bytes", interface),
        )
        .map(Word::Out)
        .parse(rest)?,
        "frag" => preceded(
            space0,
            expect(
                "a fragment offset in bytes, a multiple of 8 up to 65528",
                verify(number, |offset: &u16| offset.is_multiple_of(8)),
            ),
        )
        .map(Word::Fragment)
        .parse(rest)?,
        "len" => preceded(space0, expect("a length in bytes up to 65535", number))
            .map(Word::Length)
            .parse(rest)?,
        "ttl" => preceded(space0, expect("a time to live from 0 to 255", byte))
            .map(Word::TimeToLive)
            .parse(rest)?,
        "tos" => preceded(space0, expect("a type of service up to 0xff", byte))
            .map(Word::TypeOfService)
            .parse(rest)?,
        "mark" => preceded(
            space0,
            expect("a mark up to 0xffffffff", number_in_any_base),
        )
        .map(Word::Mark)
        .parse(rest)?,
        "mac" => preceded(
            space0,
            expect("an Ethernet address such as 02:00:00:00:00:01", mac),
        )
        .map(Word::Mac)
        .parse(rest)?,
        flag => match TCP_FLAGS.iter().find(|(known, _)| *known == flag) {
            Some(&(_, bits)) => (rest, Word::TcpFlag(bits)),
            None => {
                let message =
                    "expected a TCP flag, type, code, in, out, frag, len, ttl, tos, mark or mac";
                return Err(nom::Err::Failure(Problem::new(at, message)));
            }
        },
    };
    Ok((rest, (at, word)))
}

/// What carries ports or types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
    Icmp,
    Icmpv6,
    Number(u8),
}

fn protocol(text: &str) -> Step<'_, Protocol> {
    let (rest, name) = expect("tcp, udp, icmp, icmpv6, proto or hex:", word)(text)?;
    let protocol = match name {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "icmp" => Protocol::Icmp,
        "icmpv6" => Protocol::Icmpv6,
        "proto" => {
            let number = expect("a protocol number from 0 to 255", number);
            return preceded(space0, number).map(Protocol::Number).parse(rest);
        }
        _ => {
            let message = "expected tcp, udp, icmp, icmpv6, proto or hex:";
            return Err(nom::Err::Failure(Problem::new(text, message)));
        }
    };
    Ok((rest, protocol))
}

/// An address with the port behind it.
#[derive(Clone, Copy, Debug)]
struct Endpoint<'a> {
    at: &'a str,
    address: IpAddr,
    port: Option<u16>,
}

fn endpoint(text: &str) -> Step<'_, Endpoint<'_>> {
    let digits = |text| take_while1(|c: char| c.is_ascii_digit())(text);
    let port = |text| {
        preceded(
            char(':'),
            digits.map_opt(|digits: &str| digits.parse().ok()),
        )
        .parse(text)
    };
    let bracketed = delimited(
        char('['),
        take_till1(|c| c == ']').map_opt(|inner: &str| inner.parse().ok()),
        char(']'),
    )
    .map(|address: Ipv6Addr| IpAddr::V6(address))
    .and(opt(port));
    let plain4 = take_while1(|c: char| c.is_ascii_digit() || c == '.')
        .map_opt(|inner: &str| inner.parse().ok())
        .map(|address: Ipv4Addr| IpAddr::V4(address))
        .and(opt(port));
    let plain6 = word
        .map_opt(|inner: &str| inner.parse().ok())
        .map(|address: Ipv6Addr| (IpAddr::V6(address), None));
    let (rest, (address, port)) = bracketed.or(plain6).or(plain4).parse(text)?;
    let endpoint = Endpoint {
        at: text,
        address,
        port,
    };
    // What follows must be the end or a space, lest a port of 65536 be read as 6553.
    match rest.chars().next() {
        Some(next) if !next.is_whitespace() => Err(nom::Err::Error(Problem::from_error_kind(
            rest,
            ErrorKind::Char,
        ))),
        _ => Ok((rest, endpoint)),
    }
}

/// A packet as its words tell it.
#[derive(Debug)]
struct Description<'a> {
    protocol: Protocol,
    source: Endpoint<'a>,
    destination: Endpoint<'a>,
    words: Vec<(&'a str, Word<'a>)>,
}

fn description(text: &str) -> Step<'_, Description<'_>> {
    const EXAMPLE: &str = "an address such as 10.0.0.5:40000 or [2001:db8::5]:40000";
    let (rest, _) = space0(text)?;
    let (rest, protocol) = protocol(rest)?;
    let (rest, source) = preceded(space0, expect(EXAMPLE, endpoint)).parse(rest)?;
    let (rest, _) = preceded(space0, expect("> and the destination", tag(">"))).parse(rest)?;
    let (rest, destination) = preceded(space0, expect(EXAMPLE, endpoint)).parse(rest)?;
    let (rest, words) = terminated(many0(described_word), space0).parse(rest)?;
    let description = Description {
        protocol,
        source,
        destination,
        words,
    };
    Ok((rest, description))
}

/// Runs a parser over a whole text.
fn whole<'a, T>(step: Step<'a, T>) -> Result<T, Problem<'a>> {
    match step {
        Ok(("", value)) => Ok(value),
        Ok((rest, _)) => Err(Problem::new(rest, "this is not understood")),
        Err(nom::Err::Error(problem) | nom::Err::Failure(problem)) => Err(problem),
        Err(nom::Err::Incomplete(_)) => Err(Problem::new("", "the packet is not complete")),
    }
}

fn described(text: &str) -> Result<Read, Problem<'_>> {
    whole(description(text))?.packet()
}

/// The words, each at most once, but for flags, which add up.
#[derive(Debug, Default)]
struct Details<'a> {
    flags: Option<(&'a str, u8)>,
    icmp_type: Option<(&'a str, u8)>,
    icmp_code: Option<(&'a str, u8)>,
    input: Option<(&'a str, &'a str)>,
    output: Option<(&'a str, &'a str)>,
    fragment: Option<(&'a str, u16)>,
    length: Option<(&'a str, u16)>,
    time_to_live: Option<(&'a str, u8)>,
    type_of_service: Option<(&'a str, u8)>,
    mark: Option<(&'a str, u32)>,
    mac: Option<(&'a str, [u8; 6])>,
}

impl<'a> Details<'a> {
    fn of(words: &[(&'a str, Word<'a>)]) -> Result<Self, Problem<'a>> {
        let mut details = Details::default();
        for &(at, word) in words {
            match word {
                Word::TcpFlag(bits) => {
                    let before = details.flags.map_or(0, |(_, bits)| bits);
                    details.flags = Some((at, before | bits));
                }
                Word::IcmpType(value) => set(&mut details.icmp_type, at, value)?,
                Word::IcmpCode(value) => set(&mut details.icmp_code, at, value)?,
                Word::In(name) => set(&mut details.input, at, name)?,
                Word::Out(name) => set(&mut details.output, at, name)?,
                Word::Fragment(offset) => set(&mut details.fragment, at, offset)?,
                Word::Length(length) => set(&mut details.length, at, length)?,
                Word::TimeToLive(value) => set(&mut details.time_to_live, at, value)?,
                Word::TypeOfService(value) => set(&mut details.type_of_service, at, value)?,
                Word::Mark(mark) => set(&mut details.mark, at, mark)?,
                Word::Mac(mac) => set(&mut details.mac, at, mac)?,
            }
        }
        Ok(details)
    }

    fn devices(&self) -> Devices {
        let name =
            |word: Option<(&str, &str)>| word.map_or(String::new(), |(_, name)| name.to_owned());
        Devices {
            input: name(self.input),
            output: name(self.output),
        }
    }

    fn metadata(&self) -> Metadata {
        Metadata {
            mark: self.mark.map_or(0, |(_, mark)| mark),
            source_mac: self.mac.map(|(_, mac)| mac),
            ethernet: self.mac.is_some(),
            ..Metadata::default()
        }
    }
}

fn set<'a, T>(place: &mut Option<(&'a str, T)>, at: &'a str, value: T) -> Result<(), Problem<'a>> {
    match place.replace((at, value)) {
        Some(_) => Err(Problem::new(at, "this is said twice")),
        None => Ok(()),
    }
}

impl<'a> Description<'a> {
    fn packet(&self) -> Result<Read, Problem<'a>> {
        let details = Details::of(&self.words)?;
        let is_tcp = self.protocol == Protocol::Tcp;
        let is_icmp = matches!(self.protocol, Protocol::Icmp | Protocol::Icmpv6);
        if let Some((at, _)) = details.flags.filter(|_| !is_tcp) {
            return Err(Problem::new(at, "only tcp has flags"));
        }
        if let Some((at, _)) = details.icmp_type.or(details.icmp_code).filter(|_| !is_icmp) {
            return Err(Problem::new(
                at,
                "only icmp and icmpv6 have a type and a code",
            ));
        }
        let later = details.fragment.is_some_and(|(_, offset)| offset > 0);
        let transport = if later {
            if let Some((at, _)) = details.flags.or(details.icmp_type).or(details.icmp_code) {
                return Err(Problem::new(
                    at,
                    "only the first fragment has a transport header",
                ));
            }
            self.no_ports("only the first fragment has ports")?;
            vec![0; 8]
        } else {
            self.transport(&details)?
        };
        let fragment = details.fragment.map(|(_, offset)| offset);
        let (family, header) = match (self.source.address, self.destination.address) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => (
                Family::V4,
                header4(self.number()?, source, destination, fragment),
            ),
            (IpAddr::V6(source), IpAddr::V6(destination)) => (
                Family::V6,
                header6(self.number()?, source, destination, fragment),
            ),
            _ => {
                let message = "source and destination are of different families";
                return Err(Problem::new(self.destination.at, message));
            }
        };
        let header_length = header.len();
        let mut bytes = [header, transport].concat();
        if let Some((at, length)) = details.length {
            let length = usize::from(length);
            if length < header_length {
                let message = format!("the IP header alone has {header_length} bytes");
                return Err(Problem::new(at, message));
            }
            bytes.resize(length, 0);
        }
        write_length(family, &mut bytes);
        write_service(
            family,
            &mut bytes,
            details.time_to_live.map_or(64, |(_, hops)| hops),
            details.type_of_service.map_or(0, |(_, service)| service),
        );
        Ok((family, bytes, details.devices(), details.metadata()))
    }

    /// The protocol's number, where the family has it.
    fn number(&self) -> Result<u8, Problem<'a>> {
        match (self.protocol, self.source.address) {
            (Protocol::Icmp, IpAddr::V6(_)) => Err(Problem::new(
                self.source.at,
                "icmp has IPv4 addresses; write icmpv6 for these",
            )),
            (Protocol::Icmpv6, IpAddr::V4(_)) => Err(Problem::new(
                self.source.at,
                "icmpv6 has IPv6 addresses; write icmp for these",
            )),
            (Protocol::Icmp, _) => Ok(1),
            (Protocol::Tcp, _) => Ok(6),
            (Protocol::Udp, _) => Ok(17),
            (Protocol::Icmpv6, _) => Ok(58),
            (Protocol::Number(number), _) => Ok(number),
        }
    }

    fn transport(&self, details: &Details<'a>) -> Result<Vec<u8>, Problem<'a>> {
        match self.protocol {
            Protocol::Tcp => {
                let mut header = vec![0; 20];
                header[..4].copy_from_slice(&self.ports()?);
                // Five words and no options.
                header[12] = 5 << 4;
                header[13] = details.flags.map_or(0x02, |(_, bits)| bits);
                Ok(header)
            }
            Protocol::Udp => {
                let mut header = vec![0; 8];
                header[..4].copy_from_slice(&self.ports()?);
                header[5] = 8;
                Ok(header)
            }
            Protocol::Icmp | Protocol::Icmpv6 => {
                self.no_ports("icmp has no ports")?;
                let echo = if self.protocol == Protocol::Icmp {
                    8
                } else {
                    128
                };
                let mut header = vec![0; 8];
                header[0] = details.icmp_type.map_or(echo, |(_, value)| value);
                header[1] = details.icmp_code.map_or(0, |(_, value)| value);
                Ok(header)
            }
            Protocol::Number(_) => {
                self.no_ports("only tcp and udp have ports here")?;
                Ok(Vec::new())
            }
        }
    }

    /// Both ports as they stand in the header.
    fn ports(&self) -> Result<[u8; 4], Problem<'a>> {
        let port = |endpoint: Endpoint<'a>| {
            let message = "tcp and udp need a port here, such as 10.0.0.5:40000";
            endpoint
                .port
                .ok_or_else(|| Problem::new(endpoint.at, message))
        };
        let ([a, b], [c, d]) = (
            port(self.source)?.to_be_bytes(),
            port(self.destination)?.to_be_bytes(),
        );
        Ok([a, b, c, d])
    }

    fn no_ports(&self, message: &str) -> Result<(), Problem<'a>> {
        let endpoints = [self.source, self.destination];
        match endpoints
            .into_iter()
            .find(|endpoint| endpoint.port.is_some())
        {
            Some(endpoint) => Err(Problem::new(endpoint.at, message)),
            None => Ok(()),
        }
    }
}

/// RFC 791, 3.1.
fn header4(
    protocol: u8,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    fragment: Option<u16>,
) -> Vec<u8> {
    const MORE_FRAGMENTS: u16 = 0x2000;
    let mut header = vec![0; 20];
    header[0] = 0x45;
    let field = match fragment {
        None => 0,
        Some(0) => MORE_FRAGMENTS,
        Some(offset) => offset / 8,
    };
    header[6..8].copy_from_slice(&field.to_be_bytes());
    header[9] = protocol;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    header
}

/// RFC 8200, 3 and 4.5.
fn header6(
    protocol: u8,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    fragment: Option<u16>,
) -> Vec<u8> {
    const FRAGMENT_HEADER: u8 = 44;
    const MORE_FRAGMENTS: u16 = 1;
    let mut header = vec![0; 40];
    header[0] = 0x60;
    header[6] = fragment.map_or(protocol, |_| FRAGMENT_HEADER);
    header[8..24].copy_from_slice(&source.octets());
    header[24..40].copy_from_slice(&destination.octets());
    if let Some(offset) = fragment {
        let field = if offset == 0 { MORE_FRAGMENTS } else { offset };
        let [high, low] = field.to_be_bytes();
        header.extend([protocol, 0, high, low, 0, 0, 0, 0]);
    }
    header
}

/// Lets the IP header tell the packet's length, which fits: words tell at most 65535 bytes.
fn write_length(family: Family, bytes: &mut [u8]) {
    let (at, length) = match family {
        Family::V4 => (2, bytes.len()),
        Family::V6 => (4, bytes.len() - 40),
    };
    bytes[at..at + 2].copy_from_slice(&(length as u16).to_be_bytes());
}

/// Puts in the time to live or hop limit, and the type of service or traffic class.
fn write_service(family: Family, bytes: &mut [u8], hops: u8, service: u8) {
    match family {
        Family::V4 => {
            bytes[1] = service;
            bytes[8] = hops;
        }
        Family::V6 => {
            bytes[0] |= service >> 4;
            bytes[1] |= service << 4;
            bytes[7] = hops;
        }
    }
}

/// The digits behind `hex:` and the interfaces behind them.
fn hexadecimal(text: &str) -> Result<Read, Problem<'_>> {
    let (rest, digits) = word(text).unwrap_or((text, ""));
    let words = whole(terminated(many0(described_word), space0).parse(rest))?;
    if let Some((at, _)) = words.iter().find(|(_, word)| {
        !matches!(
            word,
            Word::In(_) | Word::Out(_) | Word::Mark(_) | Word::Mac(_)
        )
    }) {
        let message = "behind hex: only in, out, mark and mac may stand";
        return Err(Problem::new(at, message));
    }
    let details = Details::of(&words)?;
    let pairs = digits.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| match pair {
            [high, low] => Some(hex_digit(*high)? << 4 | hex_digit(*low)?),
            _ => None,
        })
        .collect();
    let bytes = bytes.filter(|bytes| !bytes.is_empty()).ok_or_else(|| {
        Problem::new(
            text,
            "expected pairs of hexadecimal digits, from the IP header on",
        )
    })?;
    let (family, bytes) = as_received(&bytes).ok_or_else(|| {
        let message = "netfilter sees no such packet: its IP header is cut off or wrong (version, \
                       lengths, IPv4 checksum), or bytes are missing";
        Problem::new(text, message)
    })?;
    Ok((family, bytes, details.devices(), details.metadata()))
}

/// The packet that a frame with these bytes brings to netfilter.
fn as_received(bytes: &[u8]) -> Option<(Family, Vec<u8>)> {
    let ethertype: [u8; 2] = match bytes.first()? >> 4 {
        6 => [0x86, 0xdd],
        _ => [0x08, 0x00],
    };
    let frame = [&[0; 12], &ethertype[..], bytes].concat();
    // On the loopback interface, number 1, no address is out of place.
    let (family, packet) = ip_packet(&frame, 1)?;
    Some((family, packet.to_vec()))
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use crate::field::Field;
    use crate::packet::Packet;

    use super::*;

    fn read(text: &str) -> PacketWords {
        text.parse()
            .unwrap_or_else(|error: String| panic!("{error}"))
    }

    /// The fields that rules see in a packet.
    fn fields<const N: usize>(text: &str, fields: [Field; N]) -> [u128; N] {
        let words = read(text);
        let packet = Packet::new(words.family, &words.bytes, &words.devices).unwrap();
        fields.map(|field| packet.get(field))
    }

    #[test]
    fn tcp_is_read() {
        let words = read("tcp 10.0.0.5:40000 > 192.0.2.1:22 syn ack in eth0");
        assert_eq!(
            words.bytes,
            [
                0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 5, 192, 0, 2, 1, //
                0x9c, 0x40, 0, 22, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12, 0, 0, 0, 0, 0, 0
            ]
        );
        assert_eq!(words.devices.input, "eth0");
        assert_eq!(words.devices.output, "");
    }

    #[test]
    fn flags_are_syn_unless_said() {
        let flags = |words: &str| {
            fields(
                &format!("tcp 1.1.1.1:1 > 2.2.2.2:2 {words}"),
                [Field::TcpFlags],
            )[0]
        };
        assert_eq!(flags(""), 0x02);
        assert_eq!(flags("none"), 0);
        assert_eq!(flags("fin psh urg"), 0x29);
    }

    #[test]
    fn ipv6_is_read_with_brackets_and_without() {
        let wanted = [Field::Protocol, Field::SourcePort, Field::DestinationPort];
        assert_eq!(
            fields("udp [2001:db8::1]:53 > [2001:db8::2]:5353", wanted),
            [17, 53, 5353]
        );
        assert_eq!(
            fields(
                "icmpv6 fe80::1 > [ff02::1] type 133",
                [Field::Protocol, Field::IcmpType]
            ),
            [58, 133]
        );
    }

    #[test]
    fn fragments_are_made() {
        let wanted = [Field::Protocol, Field::FragmentOffset];
        assert_eq!(fields("udp 1.1.1.1 > 2.2.2.2 frag 1480", wanted), [17, 185]);
        assert_eq!(fields("udp ::1 > ::2 frag 1480", wanted), [17, 1480]);
        assert_eq!(fields("udp 1.1.1.1:1 > 2.2.2.2:2 frag 0", wanted), [17, 0]);
        assert_eq!(read("udp 1.1.1.1:1 > 2.2.2.2:2 frag 0").bytes[6], 0x20);
    }

    #[test]
    fn lengths_cut_and_pad() {
        let length = |words: &str| {
            let bytes = read(&format!("tcp 1.1.1.1:1 > 2.2.2.2:2 len {words}")).bytes;
            (bytes.len(), u16::from_be_bytes([bytes[2], bytes[3]]))
        };
        assert_eq!(length("23"), (23, 23));
        assert_eq!(length("1500"), (1500, 1500));
        assert_eq!(length("65535"), (65535, 65535));
        let bytes = read("tcp [::1]:1 > [::2]:2 len 65535").bytes;
        assert_eq!((bytes[4], bytes[5]), (0xff, 0xd7));
    }

    #[test]
    fn marks_services_and_senders_are_read() {
        let text = |addresses: &str| {
            let words = "ttl 3 tos 0xb8 mark 0x1f mac 02:00:00:00:00:aB";
            format!("proto 50 {addresses} {words}")
        };
        for addresses in ["1.1.1.1 > 2.2.2.2", "::1 > ::2"] {
            let words = read(&text(addresses));
            let packet = Packet::new(words.family, &words.bytes, &words.devices).unwrap();
            let packet = packet.with(words.metadata);
            let wanted = [
                Field::TimeToLive,
                Field::TypeOfService,
                Field::Mark,
                Field::SourceMac,
            ];
            let seen = wanted.map(|field| packet.get(field));
            assert_eq!(seen, [3, 0xb8, 0x1f, 0x0200_0000_00ab]);
        }
    }

    #[test]
    fn hexadecimal_is_what_the_kernel_would_take() {
        let digits =
            "45000028000100004006aec90a000005c00002019c4000160000000000000000500220000000000000";
        let words = read(&format!("hex:{digits}0000 in eth1 out eth2"));
        assert_eq!((words.family, words.bytes.len()), (Family::V4, 40));
        assert_eq!(words.devices.input, "eth1");
        assert_eq!(words.devices.output, "eth2");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(
            text in "(hex:|tcp |udp |icmp |proto )?[0-9a-f.:>\\[\\] ]{0,20}( (in|out|frag|len|type|syn|ü) ?[0-9a-zü]{0,6}){0,3} *",
        ) {
            match text.parse::<PacketWords>() {
                Ok(words) => assert!(words.bytes.len() >= 20),
                Err(message) => assert!(message.ends_with('^'), "{message}"),
            }
        }
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        let wrong = [
            "",
            "sctp 1.1.1.1 > 2.2.2.2",
            "tcp 10.0.0.300:1 > 2.2.2.2:2",
            "tcp 1.1.1.1:65536 > 2.2.2.2:2",
            "tcp 1.1.1.1:1 2.2.2.2:2",
            "tcp 1.1.1.1 > 2.2.2.2:2",
            "tcp 1.1.1.1:1 > [::2]:2",
            "udp 1.1.1.1:1 > 2.2.2.2:2 syn",
            "udp 1.1.1.1:1 > 2.2.2.2:2 frag 8",
            "icmp 1.1.1.1:1 > 2.2.2.2",
            "icmp ::1 > ::2",
            "tcp 1.1.1.1:1 > 2.2.2.2:2 frag 7",
            "tcp 1.1.1.1:1 > 2.2.2.2:2 len 19",
            "tcp 1.1.1.1:1 > 2.2.2.2:2 in eth0 in eth1",
            "tcp 1.1.1.1:1 > 2.2.2.2:2 in averyveryverylong",
            "tcp 1.1.1.1:1 > 2.2.2.2:2 flow 3",
            "tcp 1.1.1.1:1 > 2.2.2.2:2 ttl 256",
            "tcp 1.1.1.1:1 > 2.2.2.2:2 mark 0x100000000",
            "tcp 1.1.1.1:1 > 2.2.2.2:2 mac 02:00:00:00:01",
            "proto 256 1.1.1.1 > 2.2.2.2",
            "tcp 1.1.1.1:1 > 2.2.2.2:2 in",
            "hex:45",
            "hex:4g",
            "hex:",
            "hex:45000014000000004000000000000000000000000 syn",
            "hex:45 ü  ",
        ];
        let shown: Vec<String> = wrong
            .iter()
            .map(|text| PacketWords::from_str(text).expect_err(text))
            .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }
}
