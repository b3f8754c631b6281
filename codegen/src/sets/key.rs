//! Keys: the parts of an element that are compared as they are, as bytes.

use std::net::IpAddr;

use ipt2bpf_parser::ipset::{Options, Part, SetType};
use ipt2bpf_parser::ruleset::Family;

/// The most bytes of a key: two IPv6 addresses and a port.
pub const MAX_KEY: usize = 40;

/// A key, padded with zeros. Addresses and Ethernet addresses are as in the packet, numbers are
/// little-endian.
pub type Key = [u8; MAX_KEY];

/// What one dimension of an element is made of, and so what is taken from the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// An address of this family, or a network.
    Address(Family),
    /// A port with its protocol: `protocol << 16 | port`.
    ProtocolPort,
    /// A port of TCP or UDP.
    Port,
    /// An Ethernet address and two zeros.
    Mac,
    /// The mark.
    Mark,
    /// An interface, which is no part of the key: elements may name many that begin alike.
    Interface,
}

impl Dimension {
    /// Those of a type of set; none for lists.
    pub fn of(kind: SetType, family: Family) -> Vec<Dimension> {
        use Dimension::{Interface, Mac, Mark, Port, ProtocolPort};
        let address = Dimension::Address(family);
        match kind {
            SetType::BitmapIp | SetType::HashIp | SetType::HashNet => vec![address],
            SetType::BitmapIpMac | SetType::HashIpMac => vec![address, Mac],
            SetType::BitmapPort => vec![Port],
            SetType::HashMac => vec![Mac],
            SetType::HashIpMark => vec![address, Mark],
            SetType::HashIpPort | SetType::HashNetPort => vec![address, ProtocolPort],
            SetType::HashIpPortIp | SetType::HashIpPortNet | SetType::HashNetPortNet => {
                vec![address, ProtocolPort, address]
            }
            SetType::HashNetNet => vec![address, address],
            SetType::HashNetIface => vec![address, Interface],
            SetType::ListSet => Vec::new(),
        }
    }

    /// How many bytes of the key it takes: a multiple of four.
    pub fn size(self) -> usize {
        match self {
            Dimension::Address(Family::V6) => 16,
            Dimension::Mac => 8,
            Dimension::Interface => 0,
            _ => 4,
        }
    }
}

/// The key that an element has, whole; it is still to be masked.
pub fn of_parts(parts: &[Part]) -> Key {
    let mut bytes = Vec::with_capacity(MAX_KEY);
    for part in parts {
        match part {
            Part::Address(address) | Part::Network { address, .. } => match address {
                IpAddr::V4(address) => bytes.extend(address.octets()),
                IpAddr::V6(address) => bytes.extend(address.octets()),
            },
            Part::Mac(mac) => bytes.extend(mac.iter().chain(&[0; 2])),
            Part::Mark(mark) => bytes.extend(mark.to_le_bytes()),
            Part::Port(port) => bytes.extend(u32::from(*port).to_le_bytes()),
            Part::ProtocolPort { protocol, port } => {
                bytes.extend(protocol_port(*protocol, *port).to_le_bytes());
            }
            Part::Interface { .. } | Part::Set(_) => {}
        }
    }
    padded(&bytes)
}

/// A port with its protocol as a key has it.
pub fn protocol_port(protocol: u8, port: u16) -> u32 {
    u32::from(protocol) << 16 | u32::from(port)
}

/// Which bits of a key count for an element: those of its networks, under the masks of the set.
pub fn mask_of(parts: &[Part], options: &Options) -> Key {
    let mut bytes = Vec::with_capacity(MAX_KEY);
    for part in parts {
        match part {
            Part::Address(address) => bytes.extend(address_mask(address, None, options)),
            Part::Network { address, length } => {
                bytes.extend(address_mask(address, Some(*length), options));
            }
            Part::Mac(_) => bytes.extend([0xff; 8]),
            Part::Mark(_) => bytes.extend(options.markmask.unwrap_or(u32::MAX).to_le_bytes()),
            Part::Port(_) | Part::ProtocolPort { .. } => bytes.extend([0xff; 4]),
            Part::Interface { .. } | Part::Set(_) => {}
        }
    }
    padded(&bytes)
}

/// The mask of an address: of its prefix, and of the set's `netmask` or `bitmask`.
fn address_mask(address: &IpAddr, length: Option<u8>, options: &Options) -> Vec<u8> {
    let own = prefix_mask(address, length.unwrap_or(u8::MAX));
    let common = match (options.bitmask, options.netmask) {
        (Some(IpAddr::V4(mask)), _) => mask.octets().to_vec(),
        (Some(IpAddr::V6(mask)), _) => mask.octets().to_vec(),
        (None, length) => prefix_mask(address, length.unwrap_or(u8::MAX)),
    };
    own.iter().zip(common).map(|(a, b)| a & b).collect()
}

/// So many bits from the first on, in as many bytes as the address has.
fn prefix_mask(address: &IpAddr, length: u8) -> Vec<u8> {
    match address {
        IpAddr::V4(_) => {
            let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
            (!host).to_be_bytes().to_vec()
        }
        IpAddr::V6(_) => {
            let host = u128::MAX.checked_shr(length.into()).unwrap_or(0);
            (!host).to_be_bytes().to_vec()
        }
    }
}

/// The bits of a key that a mask leaves.
pub fn under(key: &Key, mask: &Key) -> Key {
    std::array::from_fn(|byte| key[byte] & mask[byte])
}

fn padded(bytes: &[u8]) -> Key {
    let mut key = [0; MAX_KEY];
    for (place, &byte) in key.iter_mut().zip(bytes) {
        *place = byte;
    }
    key
}
