//! Firewalls, as fw1 has them.

use fastrand::Rng;

use super::acl::network;
use super::{
    ICMP, Match, Network, Ports, Rule, TCP, Target, UDP, Verdict, different, public_address,
    service, weighted,
};

/// Rules for one network that they name, on average.
const RULES_PER_NETWORK: usize = 12;
/// How many rules name no address at most: more of them would leave no packet to others.
const MAX_WITHOUT_ADDRESS: usize = 40;

/// So many rules; those that name no address stand behind all others.
pub fn rules(rng: &mut Rng, count: usize) -> Vec<Rule> {
    let networks = count / RULES_PER_NETWORK + 1;
    let known: Vec<u32> = (0..networks).map(|_| public_address(rng)).collect();
    let general = (count / 20).min(MAX_WITHOUT_ADDRESS);
    let lengths = [(50, (32, 32)), (30, (24, 31)), (20, (16, 23))];
    let mut rules = different(rng, count - general, |rng| {
        let source = network(rng, &known, &lengths);
        let destination = network(rng, &known, &lengths);
        let (source, destination) = match rng.u8(0..10) {
            0..4 => (Network::ALL, destination),
            4..6 => (source, Network::ALL),
            _ => (source, destination),
        };
        rule(rng, source, destination, 5)
    });
    rules.extend(different(rng, general, |rng| {
        rule(rng, Network::ALL, Network::ALL, 0)
    }));
    rules
}

/// A rule for some protocol and ports, and, by a weight, for all protocols.
fn rule(rng: &mut Rng, source: Network, destination: Network, any_protocol: u32) -> Rule {
    let choices = [
        (60, Some(TCP)),
        (25, Some(UDP)),
        (any_protocol, Some(ICMP)),
        (any_protocol, None),
    ];
    let protocol = weighted(rng, &choices);
    let has_ports = matches!(protocol, Some(TCP | UDP));
    let source_ports = match rng.u8(0..10) {
        0..3 if has_ports => Ports::HIGH,
        3 if has_ports => service(rng),
        _ => Ports::ALL,
    };
    // What names no address names a port.
    let open = any_protocol > 0;
    let destination_ports = match rng.u8(0..20) {
        0..10 if has_ports => service(rng),
        10..15 if has_ports => Ports::some_range(rng),
        _ if has_ports && !open => service(rng),
        _ => Ports::ALL,
    };
    Rule {
        matches: Match {
            source,
            destination,
            protocol,
            source_ports,
            destination_ports,
        },
        target: Target::Verdict(weighted(rng, &[(70, Verdict::Accept), (30, Verdict::Drop)])),
    }
}
