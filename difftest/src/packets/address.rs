//! Addresses in, at the edge of and just outside the networks of a ruleset.

use std::net::{Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use ipt2bpf_parser::ruleset::Network;

use super::one_in;

/// Addresses that the kernel treats in a way of their own.
const SPECIAL_V4: [Ipv4Addr; 8] = [
    Ipv4Addr::UNSPECIFIED,
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::BROADCAST,
    Ipv4Addr::new(224, 0, 0, 1),
    Ipv4Addr::new(239, 255, 255, 250),
    Ipv4Addr::new(169, 254, 1, 1),
    Ipv4Addr::new(240, 0, 0, 1),
    Ipv4Addr::new(10, 255, 255, 255),
];
const SPECIAL_V6: [Ipv6Addr; 7] = [
    Ipv6Addr::UNSPECIFIED,
    Ipv6Addr::LOCALHOST,
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1),
    Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 0xfb),
    Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x0a00, 1),
];

/// An IPv4 address.
pub fn v4(random: &mut Rng, networks: &[Network]) -> Ipv4Addr {
    let networks: Vec<(u32, u32)> = networks
        .iter()
        .filter_map(|network| match *network {
            Network::V4 { address, mask } => Some((address.into(), mask.into())),
            Network::V6 { .. } => None,
        })
        .collect();
    match random.choice(&networks) {
        Some(&(address, mask)) if !one_in(random, 8) => match random.u32(..8) {
            0 => address,
            1 => address | !mask,
            2 => address.wrapping_sub(1),
            3 => (address | !mask).wrapping_add(1),
            _ => address | (random.u32(..) & !mask),
        }
        .into(),
        _ if one_in(random, 6) => *random.choice(&SPECIAL_V4).unwrap_or(&SPECIAL_V4[0]),
        // 1.0.0.0 to 223.255.255.255: the unicast addresses.
        _ => random.u32(0x0100_0000..0xe000_0000).into(),
    }
}

/// An IPv6 address.
pub fn v6(random: &mut Rng, networks: &[Network]) -> Ipv6Addr {
    let networks: Vec<(u128, u128)> = networks
        .iter()
        .filter_map(|network| match *network {
            Network::V6 { address, mask } => Some((address.into(), mask.into())),
            Network::V4 { .. } => None,
        })
        .collect();
    match random.choice(&networks) {
        Some(&(address, mask)) if !one_in(random, 8) => match random.u32(..8) {
            0 => address,
            1 => address | !mask,
            2 => address.wrapping_sub(1),
            3 => (address | !mask).wrapping_add(1),
            _ => address | (random.u128(..) & !mask),
        }
        .into(),
        _ if one_in(random, 6) => *random.choice(&SPECIAL_V6).unwrap_or(&SPECIAL_V6[0]),
        // 2000::/3: the global unicast addresses.
        _ => (random.u128(..) >> 3 | 1 << 125).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_hit_at_every_place() {
        let network = Network::V4 {
            address: Ipv4Addr::new(10, 1, 2, 0),
            mask: Ipv4Addr::new(255, 255, 255, 0),
        };
        let mut random = Rng::with_seed(1);
        let drawn: Vec<Ipv4Addr> = (0..300).map(|_| v4(&mut random, &[network])).collect();
        for wanted in [
            Ipv4Addr::new(10, 1, 2, 0),
            Ipv4Addr::new(10, 1, 2, 255),
            Ipv4Addr::new(10, 1, 1, 255),
            Ipv4Addr::new(10, 1, 3, 0),
        ] {
            assert!(drawn.contains(&wanted), "{wanted}");
        }
        let inside = drawn.iter().filter(|a| a.octets()[..3] == [10, 1, 2]);
        assert!(inside.count() > 100);
    }

    #[test]
    fn without_networks_most_addresses_are_global() {
        let mut random = Rng::with_seed(1);
        let global = (0..100)
            .map(|_| v6(&mut random, &[]))
            .filter(|address| address.segments()[0] >> 13 == 1)
            .count();
        assert!(global > 50, "{global}");
    }
}
