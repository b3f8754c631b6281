//! The base match: `struct ipt_ip` and `struct ip6t_ip6`.

use std::net::{Ipv4Addr, Ipv6Addr};

use zerocopy::IntoBytes;

use super::codec::{inversion, test};
use super::error::{BasePart, EncodeError};
use super::layout::{InterfaceName, Interfaces, Ip4, Ip6, until_nul, with_nul};
use crate::ruleset::{BaseMatch, InterfacePattern, Negatable, Network};

/// `IPT_F_FRAG`
const FRAGMENT_4: u8 = 0x01;
/// `IPT_F_GOTO`
const GOTO_4: u8 = 0x02;
/// `IP6T_F_PROTO`: the protocol is looked for behind the extension headers.
const PROTOCOL_6: u8 = 0x01;
/// `IP6T_F_GOTO`
const GOTO_6: u8 = 0x04;

/// `IPT_INV_VIA_IN` and so on; the same numbers for IPv6.
mod inverted {
    pub const INWARDS: u8 = 0x01;
    pub const OUTWARDS: u8 = 0x02;
    pub const SOURCE: u8 = 0x08;
    pub const DESTINATION: u8 = 0x10;
    pub const FRAGMENT: u8 = 0x20;
    pub const PROTOCOL: u8 = 0x40;
}

/// A base match and whether the rule's verdict is a goto, which is a flag beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Base {
    pub tests: BaseMatch,
    pub goto: bool,
}

impl Base {
    /// Reads the fields of IPv4.
    pub fn read_4(ip: &Ip4) -> Result<Self, BasePart> {
        let network = |address: [u8; 4], mask: [u8; 4]| Network::V4 {
            address: Ipv4Addr::from(address),
            mask: Ipv4Addr::from(mask),
        };
        let source = network(ip.source, ip.source_mask);
        let destination = network(ip.destination, ip.destination_mask);
        let protocol = (ip.protocol.get() != 0).then_some(ip.protocol.get());
        let base = Self {
            tests: BaseMatch {
                fragment: (ip.flags & FRAGMENT_4 != 0)
                    .then(|| test(ip.inverted & inverted::FRAGMENT != 0, ())),
                ..tests(source, destination, &ip.interfaces, protocol, ip.inverted)?
            },
            goto: ip.flags & GOTO_4 != 0,
        };
        // Whatever was not looked at, such as flags without a meaning, is found here.
        match base.write_4() {
            Ok(again) if again.as_bytes() == ip.as_bytes() => Ok(base),
            Ok(again) if again.protocol != ip.protocol => Err(BasePart::Protocol),
            Ok(again) if again.source != ip.source || again.destination != ip.destination => {
                Err(BasePart::Address)
            }
            _ => Err(BasePart::Flags),
        }
    }

    /// Reads the fields of IPv6.
    pub fn read_6(ip: &Ip6) -> Result<Self, BasePart> {
        let network = |address: [u8; 16], mask: [u8; 16]| Network::V6 {
            address: Ipv6Addr::from(address),
            mask: Ipv6Addr::from(mask),
        };
        let source = network(ip.source, ip.source_mask);
        let destination = network(ip.destination, ip.destination_mask);
        let protocol = (ip.flags & PROTOCOL_6 != 0).then_some(ip.protocol.get());
        let base = Self {
            tests: tests(source, destination, &ip.interfaces, protocol, ip.inverted)?,
            goto: ip.flags & GOTO_6 != 0,
        };
        match base.write_6() {
            Ok(again) if again.as_bytes() == ip.as_bytes() => Ok(base),
            Ok(again) if again.protocol != ip.protocol => Err(BasePart::Protocol),
            _ => Err(BasePart::Flags),
        }
    }

    /// Writes the fields of IPv4.
    pub fn write_4(&self) -> Result<Ip4, EncodeError> {
        let tests = &self.tests;
        let network = |option: &Option<Negatable<Network>>| match option.as_ref().map(value) {
            None => Ok(([0; 4], [0; 4])),
            Some(Network::V4 { address, mask }) => Ok((address.octets(), mask.octets())),
            Some(Network::V6 { .. }) => Err(EncodeError::Family),
        };
        let (source, source_mask) = network(&tests.source)?;
        let (destination, destination_mask) = network(&tests.destination)?;
        let mut flags = 0;
        if tests.fragment.is_some() {
            flags |= FRAGMENT_4;
        }
        if self.goto {
            flags |= GOTO_4;
        }
        Ok(Ip4 {
            source,
            destination,
            source_mask,
            destination_mask,
            interfaces: interfaces(tests)?,
            protocol: u16::from(tests.protocol.as_ref().map_or(0, |it| it.value.value)).into(),
            flags,
            inverted: inversions(tests),
        })
    }

    /// Writes the fields of IPv6.
    pub fn write_6(&self) -> Result<Ip6, EncodeError> {
        let tests = &self.tests;
        let network = |option: &Option<Negatable<Network>>| match option.as_ref().map(value) {
            None => Ok(([0; 16], [0; 16])),
            Some(Network::V6 { address, mask }) => Ok((address.octets(), mask.octets())),
            Some(Network::V4 { .. }) => Err(EncodeError::Family),
        };
        let (source, source_mask) = network(&tests.source)?;
        let (destination, destination_mask) = network(&tests.destination)?;
        if tests.fragment.is_some() {
            return Err(EncodeError::Family);
        }
        let mut flags = 0;
        if tests.protocol.is_some() {
            flags |= PROTOCOL_6;
        }
        if self.goto {
            flags |= GOTO_6;
        }
        Ok(Ip6 {
            source,
            destination,
            source_mask,
            destination_mask,
            interfaces: interfaces(tests)?,
            protocol: u16::from(tests.protocol.as_ref().map_or(0, |it| it.value.value)).into(),
            tos: 0,
            flags,
            inverted: inversions(tests),
            padding: [0; 3],
        })
    }

    /// Whether every packet passes, as the kernel sees it: all bytes are zero.
    pub fn is_unconditional(&self) -> bool {
        *self == Self::default()
    }
}

fn value(network: &Negatable<Network>) -> Network {
    network.value.value
}

/// The tests that both families have.
fn tests(
    source: Network,
    destination: Network,
    interfaces: &Interfaces,
    protocol: Option<u16>,
    inverted: u8,
) -> Result<BaseMatch, BasePart> {
    let network = |network: Network, flag| {
        let negated = inverted & flag != 0;
        if !is_masked(&network) {
            return Err(BasePart::Address);
        }
        Ok((negated || !network.is_everything()).then(|| test(negated, network)))
    };
    let interface = |name, mask, flag| {
        let negated = inverted & flag != 0;
        let pattern = read_interface(name, mask).ok_or(BasePart::Interface)?;
        match pattern {
            None if negated => Err(BasePart::Interface),
            pattern => Ok(pattern.map(|pattern| test(negated, pattern))),
        }
    };
    let protocol = protocol.map(|number| match u8::try_from(number) {
        Ok(number) => Ok(test(inverted & inverted::PROTOCOL != 0, number)),
        Err(_) => Err(BasePart::Protocol),
    });
    Ok(BaseMatch {
        source: network(source, inverted::SOURCE)?,
        destination: network(destination, inverted::DESTINATION)?,
        in_interface: interface(
            &interfaces.inwards,
            &interfaces.inwards_mask,
            inverted::INWARDS,
        )?,
        out_interface: interface(
            &interfaces.outwards,
            &interfaces.outwards_mask,
            inverted::OUTWARDS,
        )?,
        protocol: protocol.transpose()?,
        fragment: None,
    })
}

fn is_masked(network: &Network) -> bool {
    match network {
        Network::V4 { address, mask } => address.to_bits() & !mask.to_bits() == 0,
        Network::V6 { address, mask } => address.to_bits() & !mask.to_bits() == 0,
    }
}

fn inversions(tests: &BaseMatch) -> u8 {
    inversion(&tests.in_interface, inverted::INWARDS)
        | inversion(&tests.out_interface, inverted::OUTWARDS)
        | inversion(&tests.source, inverted::SOURCE)
        | inversion(&tests.destination, inverted::DESTINATION)
        | inversion(&tests.fragment, inverted::FRAGMENT)
        | inversion(&tests.protocol, inverted::PROTOCOL)
}

fn interfaces(tests: &BaseMatch) -> Result<Interfaces, EncodeError> {
    let pair = |option: &Option<Negatable<InterfacePattern>>| {
        let Some(interface) = option else {
            return Ok(Default::default());
        };
        let pattern = &interface.value.value;
        write_interface(pattern).ok_or_else(|| EncodeError::Interface(pattern.to_string()))
    };
    let (inwards, inwards_mask) = pair(&tests.in_interface)?;
    let (outwards, outwards_mask) = pair(&tests.out_interface)?;
    Ok(Interfaces {
        inwards,
        outwards,
        inwards_mask,
        outwards_mask,
    })
}

/// The pattern of a name under a mask, or `Some(None)` when nothing is tested. None if the two are
/// not as libxtables writes them (`xtables_parse_interface`).
pub(super) fn read_interface(
    name: &InterfaceName,
    mask: &InterfaceName,
) -> Option<Option<InterfacePattern>> {
    if name == &[0; 16] && mask == &[0; 16] {
        return Some(None);
    }
    let text = str::from_utf8(until_nul(name)?).ok()?;
    let pattern = match text.strip_suffix('+') {
        Some(prefix) => InterfacePattern {
            name: prefix.to_owned(),
            prefix: true,
        },
        None => InterfacePattern {
            name: text.to_owned(),
            prefix: false,
        },
    };
    let (again, mask_again) = write_interface(&pattern)?;
    (again == *name && mask_again == *mask && !text.is_empty()).then_some(Some(pattern))
}

/// A pattern as a name with its `+`, and the mask: over the name and its NUL, or over the name without
/// its `+`. None if the name is too long.
pub(super) fn write_interface(
    pattern: &InterfacePattern,
) -> Option<(InterfaceName, InterfaceName)> {
    let name: InterfaceName = with_nul(pattern.to_string().as_bytes())?;
    let tested = pattern.name.len() + usize::from(!pattern.prefix);
    let mut mask = [0; 16];
    mask.get_mut(..tested)?.fill(0xff);
    Some((name, mask))
}
