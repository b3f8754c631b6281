//! Elements: the parts between the commas, and the single elements that a range stands for (the
//! `uadt` functions of net/netfilter/ipset/ip_set_*.c).

use std::iter;
use std::net::{IpAddr, Ipv4Addr};

use bstr::BStr;

use super::kind::{Grammar, SetType};
use super::set::{Options, Part, Range};
use super::value;
use crate::databases::Names;
use crate::diagnostic::{Diagnostic, code};
use crate::extension::Problem;
use crate::ruleset::Family;
use crate::span::Span;
use crate::words::Word;

/// What one dimension of an element in the text stands for.
#[derive(Debug)]
pub(super) enum Values {
    One(Part),
    /// Every `step`-th address of IPv4, masked.
    Addresses {
        from: u32,
        to: u32,
        step: u32,
        mask: u32,
    },
    /// The fewest networks of IPv4 that cover the range.
    Networks {
        from: u32,
        to: u32,
    },
    /// A port without or with its protocol.
    Ports {
        protocol: Option<u8>,
        from: u16,
        to: u16,
    },
}

impl Values {
    fn iter(&self) -> Box<dyn Iterator<Item = Part> + '_> {
        match *self {
            Values::One(ref part) => Box::new(iter::once(part.clone())),
            Values::Addresses {
                from,
                to,
                step,
                mask,
            } => {
                let address =
                    move |bits: u32| Part::Address(Ipv4Addr::from_bits(bits & mask).into());
                Box::new((from..=to).step_by(step.max(1) as usize).map(address))
            }
            Values::Networks { from, to } => Box::new(networks(from, to)),
            Values::Ports { protocol, from, to } => {
                Box::new((from..=to).map(move |port| match protocol {
                    Some(protocol) => Part::ProtocolPort { protocol, port },
                    None => Part::Port(port),
                }))
            }
        }
    }
}

/// The fewest networks that cover a range (`ip_set_range_to_cidr`).
fn networks(from: u32, to: u32) -> impl Iterator<Item = Part> {
    let mut next = Some(from);
    iter::from_fn(move || {
        let start = next.filter(|&start| start <= to)?;
        let fits = |length: u8| {
            let mask = value::mask_v4(length);
            start & mask == start && start | !mask <= to
        };
        let length = (1..32).find(|&length| fits(length)).unwrap_or(32);
        next = (start | !value::mask_v4(length)).checked_add(1);
        Some(Part::Network {
            address: Ipv4Addr::from_bits(start).into(),
            length,
        })
    })
}

/// All elements that some dimensions stand for, the last one running fastest.
pub(super) fn product(values: &[Values]) -> Box<dyn Iterator<Item = Vec<Part>> + '_> {
    match values.split_first() {
        None => Box::new(iter::once(Vec::new())),
        Some((first, rest)) => Box::new(first.iter().flat_map(move |part| {
            product(rest).map(move |tail| iter::once(part.clone()).chain(tail).collect())
        })),
    }
}

/// Reads the element of an `add` line.
pub(super) fn read(
    word: &Word,
    kind: SetType,
    options: &Options,
    names: &Names,
) -> Result<Vec<Values>, Diagnostic> {
    let grammars = kind.dimensions();
    let texts = split(word, grammars.len());
    let needed = match kind {
        SetType::BitmapIpMac => 1,
        _ => grammars.len(),
    };
    if !(needed..=grammars.len()).contains(&texts.len()) {
        let message = format!(
            "{:?} has not the parts of an element of {kind}",
            word.show()
        );
        let parts = kind.name().split_once(':').map_or("", |(_, parts)| parts);
        return Err(Diagnostic::error(code::BAD_VALUE, word.span, message)
            .with_help(format!("write {parts} with commas between")));
    }
    let context = Context {
        kind,
        options,
        names,
    };
    texts
        .iter()
        .zip(grammars)
        .map(|(&(text, span), &grammar)| {
            context
                .dimension(grammar, text)
                .map_err(|problem| problem.at(span))
        })
        .collect()
}

/// Cuts at commas into as many parts as there may be, and one more if there is more text. Each part
/// has its place, if that can be told.
fn split(word: &Word, most: usize) -> Vec<(&[u8], Span)> {
    let mut parts = Vec::new();
    let mut rest = word.as_bytes();
    let mut start = word.span.start;
    let span = |start, text: &[u8]| match word.quoted {
        true => word.span,
        false => Span {
            source: word.span.source,
            start,
            end: start + text.len() as u32,
        },
    };
    while let Some((part, tail)) = value::cut(rest, b',').filter(|_| parts.len() < most) {
        parts.push((part, span(start, part)));
        start += part.len() as u32 + 1;
        rest = tail;
    }
    parts.push((rest, span(start, rest)));
    parts
}

/// What bears on the meaning of a part.
struct Context<'a> {
    kind: SetType,
    options: &'a Options,
    names: &'a Names,
}

impl Context<'_> {
    fn family(&self) -> Family {
        self.options.family.unwrap_or(Family::V4)
    }

    fn dimension(&self, grammar: Grammar, text: &[u8]) -> Result<Values, Problem> {
        Ok(match grammar {
            Grammar::Address => Values::One(Part::Address(self.address(text)?)),
            Grammar::Addresses => self.addresses(text)?,
            Grammar::Network => self.network(text, 1)?,
            Grammar::NetworkOrAll => self.network(text, 0)?,
            Grammar::Port => self.port(text)?,
            Grammar::ProtocolPort => {
                let (protocol, from, to) = value::protocol_port(text, self.family(), self.names)?;
                Values::Ports {
                    protocol: Some(protocol),
                    from,
                    to,
                }
            }
            Grammar::Mac => {
                let mac = value::mac(text)?;
                if mac == [0; 6] && self.kind.is_hash() {
                    return Err(Problem::new("a hash cannot hold the zero Ethernet address"));
                }
                Values::One(Part::Mac(mac))
            }
            Grammar::Mark => {
                let mark = value::number32(text)?;
                Values::One(Part::Mark(mark & self.options.markmask.unwrap_or(u32::MAX)))
            }
            Grammar::Interface => {
                let (name, physdev) = value::interface(text)?;
                Values::One(Part::Interface {
                    name,
                    physdev,
                    wildcard: false,
                })
            }
            Grammar::Set => Values::One(Part::Set(value::set_name(text)?)),
        })
    }

    /// One address and nothing else.
    fn address(&self, text: &[u8]) -> Result<IpAddr, Problem> {
        if value::cut(text, b'/').is_some() || value::cut(text, b'-').is_some() {
            return Err(self.single(text));
        }
        let address = value::address(text, self.family())?;
        self.in_range(address)?;
        Ok(address)
    }

    fn single(&self, text: &[u8]) -> Problem {
        let shown = BStr::new(text);
        Problem::new(format!("{shown} is not a single address")).with_help(match self.family() {
            Family::V4 => "write one address a line, or use a type with net",
            Family::V6 => {
                "IPv6 has no ranges in sets: write one address a line, or use a type with net"
            }
        })
    }

    /// An address, network or range, for the addresses in it.
    fn addresses(&self, text: &[u8]) -> Result<Values, Problem> {
        let family = self.family();
        if let Family::V6 = family {
            let text = match value::cut(text, b'/') {
                Some((address, b"128")) => address,
                Some(_) => return Err(self.single(text)),
                None => text,
            };
            let address = value::address(text, family)?;
            return Ok(Values::One(Part::Address(self.masked(address))));
        }
        if self.kind == SetType::BitmapIp {
            let (from, to) = self.range(text, 1, |address| address)?;
            self.in_range(Ipv4Addr::from_bits(from).into())?;
            self.in_range(Ipv4Addr::from_bits(to).into())?;
            let length = self.options.netmask.unwrap_or(32);
            return Ok(Values::Addresses {
                from,
                to,
                step: (!value::mask_v4(length)).saturating_add(1),
                mask: value::mask_v4(length),
            });
        }
        let (from, to) = self.range(text, 1, |address| self.masked(address))?;
        let step = match (self.kind, self.options.netmask) {
            (SetType::HashIp, Some(length)) => (!value::mask_v4(length)).saturating_add(1),
            _ if from != to => {
                self.no_mask(text)?;
                1
            }
            _ => 1,
        };
        Ok(Values::Addresses {
            from,
            to,
            step,
            mask: u32::MAX,
        })
    }

    /// Both ends of an address, network or range of IPv4, of which the address that stands first is
    /// changed.
    fn range(
        &self,
        text: &[u8],
        least: u8,
        change: impl Fn(IpAddr) -> IpAddr,
    ) -> Result<(u32, u32), Problem> {
        let bits = |address| match address {
            IpAddr::V4(address) => Ok(address.to_bits()),
            IpAddr::V6(_) => Err(self.single(text)),
        };
        let address = |text| value::address(text, Family::V4);
        if let Some((network, length)) = value::cut(text, b'/') {
            let mask = value::mask_v4(prefix_length(length, least, Family::V4)?);
            let first = bits(change(address(network)?))?;
            return Ok((first & mask, first | !mask));
        }
        let (from, to) = match value::cut(text, b'-') {
            Some((from, to)) => (change(address(from)?), address(to)?),
            None => {
                let address = change(address(text)?);
                (address, address)
            }
        };
        let (from, to) = (bits(from)?, bits(to)?);
        Ok((from.min(to), from.max(to)))
    }

    fn network(&self, text: &[u8], least: u8) -> Result<Values, Problem> {
        let family = self.family();
        let is_range = value::cut(text, b'/').is_none() && value::cut(text, b'-').is_some();
        if is_range && family == Family::V6 {
            return Err(Problem::new("IPv6 has no ranges in sets").with_help("write networks"));
        }
        if is_range {
            self.no_mask(text)?;
            let (from, to) = self.range(text, least, |address| address)?;
            if (from, to) == (0, u32::MAX) {
                return Err(Problem::new("the range covers all addresses"));
            }
            return Ok(Values::Networks { from, to });
        }
        let (address, length) = match value::cut(text, b'/') {
            Some((address, length)) => (address, prefix_length(length, least, family)?),
            None => (text, value::width(family)),
        };
        let address = value::address(address, family)?;
        Ok(Values::One(Part::Network {
            address: self.masked(value::masked(address, length)),
            length,
        }))
    }

    fn port(&self, text: &[u8]) -> Result<Values, Problem> {
        let (from, to) = value::bitmap_ports(text, self.names)?;
        match self.options.range {
            Some(Range::Ports(first, last)) if from < first || to > last => {
                Err(outside(BStr::new(text), first, last))
            }
            _ => Ok(Values::Ports {
                protocol: None,
                from,
                to,
            }),
        }
    }

    /// An error for a range where the set has a mask.
    fn no_mask(&self, text: &[u8]) -> Result<(), Problem> {
        if self.options.netmask.is_none() && self.options.bitmask.is_none() {
            return Ok(());
        }
        let message = format!("the range {} stands in a set with a mask", BStr::new(text));
        Err(Problem::new(message).with_help(
            "write its addresses one by one: the kernel leaves those of a range unmasked, so that no \
             packet meets them",
        ))
    }

    /// The address under the set's netmask or bitmask.
    fn masked(&self, address: IpAddr) -> IpAddr {
        match (self.options.bitmask, self.options.netmask) {
            (Some(mask), _) => value::under(address, mask),
            (None, Some(length)) => value::masked(address, length),
            (None, None) => address,
        }
    }

    fn in_range(&self, address: IpAddr) -> Result<(), Problem> {
        match self.options.range {
            Some(Range::Addresses(first, last))
                if address < IpAddr::V4(first) || address > IpAddr::V4(last) =>
            {
                Err(outside(address, first, last))
            }
            _ => Ok(()),
        }
    }
}

fn outside<E: std::fmt::Display, T: std::fmt::Display>(element: E, first: T, last: T) -> Problem {
    Problem::new(format!("{element} is outside the range of the set"))
        .with_help(format!("the set holds {first} to {last}"))
}

fn prefix_length(word: &[u8], least: u8, family: Family) -> Result<u8, Problem> {
    let most = value::width(family);
    crate::value::byte(word)
        .filter(|length| (least..=most).contains(length))
        .ok_or_else(|| {
            let problem = Problem::new(format!("/{} is no prefix length here", BStr::new(word)));
            match crate::value::byte(word) {
                Some(0) => problem.with_help("write two networks of length 1 for all addresses"),
                _ => problem.with_help(format!("write /{least} to /{most}")),
            }
        })
}

/// Whether a hash cannot hold this element, since it is what an empty place looks like.
pub(super) fn is_null(kind: SetType, parts: &[Part]) -> bool {
    let is_zero = |part: &Part| match part {
        Part::Address(address) => address.is_unspecified(),
        Part::Mark(mark) => *mark == 0,
        Part::Network {
            address: address @ IpAddr::V6(_),
            length: 128,
        } => address.is_unspecified(),
        _ => false,
    };
    match (kind, parts) {
        (SetType::HashIp | SetType::HashIpPort | SetType::HashNetNet, [first, ..]) => {
            is_zero(first)
        }
        (SetType::HashIpMark, [Part::Address(IpAddr::V4(address)), mark]) => {
            address.is_unspecified() && is_zero(mark)
        }
        _ => false,
    }
}
