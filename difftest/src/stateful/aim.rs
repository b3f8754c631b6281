//! Conversations about what a ruleset compares packets with.

use std::net::IpAddr;

use fastrand::Rng;
use ipt2bpf_parser::ruleset::Network;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::Setting;
use super::conversation::{Ends, PORTS, Sent, between};
use crate::constants::{Aim, Constants, LOOPBACK};

/// So many conversations with the interfaces that they use: most of them about a rule's addresses and ports,
/// some about none. `received` and `sent` are the constants of the ruleset for packets of the two directions.
pub fn conversations(
    setting: Setting,
    received: &Constants,
    sent: &Constants,
    count: u8,
    seed: u64,
) -> Vec<(String, Vec<Sent>)> {
    let mut rng = Rng::with_seed(seed);
    let mut runner = runner(seed);
    let mut found = Vec::new();
    // A packet for a router leaves by the interface it has come by.
    let only = rng.choice(&received.interfaces).cloned();
    for number in 0..count {
        let (constants, leaves) = match rng.bool() {
            true => (received, false),
            false => (sent, true),
        };
        let empty = Aim::default();
        let aim = match rng.u8(..4) {
            0 => &empty,
            _ => rng.choice(&constants.aims).unwrap_or(&empty),
        };
        let mut ends = Ends::numbered(number, received.family, rng.bool());
        // As the other side sees it.
        let (source, destination) = match leaves {
            true => (&mut ends.here, &mut ends.there),
            false => (&mut ends.there, &mut ends.here),
        };
        for (end, networks) in [(source, &aim.sources), (destination, &aim.destinations)] {
            let network = rng.choice(networks).copied();
            if let Some(address) = network.and_then(|it| inside(it, &mut rng)) {
                *end = address;
            }
        }
        let range = rng.choice(&aim.destination_ports);
        let port = range.map_or(PORTS[0], |range| rng.u16(range.low..=range.high));
        if range.is_some() {
            // A packet of the aim goes to whoever has the port.
            ends.serves = !leaves;
        }
        let interfaces = match leaves {
            true => &aim.out_interfaces,
            false => &aim.interfaces,
        };
        let aimed = rng.choice(interfaces).cloned();
        let any = rng.choice(&received.interfaces).cloned();
        let interface = match setting {
            Setting::Router | Setting::KernelTable => only.clone(),
            Setting::Cgroup | Setting::Xdp => aimed.filter(|it| it != LOOPBACK).or(any),
        };
        if ends.here == ends.there {
            ends = Ends::numbered(number, received.family, ends.serves);
        }
        let strategy = between(ends, &[port, PORTS[1]]);
        let Ok(drawn) = strategy.new_tree(&mut runner) else {
            continue;
        };
        let interface = interface.unwrap_or_else(|| "eth0".into());
        found.push((interface, drawn.current()));
    }
    found
}

/// A source of chance that begins at a seed.
pub fn runner(seed: u64) -> TestRunner {
    let bytes: [u8; 32] = std::array::from_fn(|index| seed.to_le_bytes()[index % 8]);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    TestRunner::new_with_rng(Config::default(), rng)
}

/// An address of a network that hosts can have; none where there is none.
fn inside(network: Network, rng: &mut Rng) -> Option<IpAddr> {
    let address = match network {
        Network::V4 { address, mask } => {
            let (bits, mask) = (u32::from(address), u32::from(mask));
            IpAddr::from((bits | (rng.u32(..) & !mask)).to_be_bytes())
        }
        Network::V6 { address, mask } => {
            let (bits, mask) = (u128::from(address), u128::from(mask));
            IpAddr::from((bits | (rng.u128(..) & !mask)).to_be_bytes())
        }
    };
    is_usable(address).then_some(address)
}

/// Whether the kernel takes it as a source and as a destination that is on the link.
fn is_usable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => (1..224).contains(&address.octets()[0]) && !address.is_loopback(),
        // Global unicast (RFC 4291 section 2.4), and unique local (RFC 4193).
        IpAddr::V6(address) => matches!(address.octets()[0], 0x20..=0x3f | 0xfc | 0xfd),
    }
}
