//! From words to the bytes of a packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipt2bpf_parser::ruleset::Family;

use super::Read;
use super::grammar::{Description, Endpoint, Problem, Protocol, Word};
use crate::packet::{Devices, Metadata};

/// The words, each at most once, but for flags, which add up.
#[derive(Debug, Default)]
pub(super) struct Details<'a> {
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
    pub(super) fn of(words: &[(&'a str, Word<'a>)]) -> Result<Self, Problem<'a>> {
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

    pub(super) fn devices(&self) -> Devices {
        let name =
            |word: Option<(&str, &str)>| word.map_or(String::new(), |(_, name)| name.to_owned());
        Devices {
            input: name(self.input),
            output: name(self.output),
        }
    }

    pub(super) fn metadata(&self) -> Metadata {
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
    pub(super) fn packet(&self) -> Result<Read, Problem<'a>> {
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
