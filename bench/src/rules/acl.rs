//! Access control lists, as acl1 has them.

use fastrand::Rng;

use super::{
    ICMP, Match, Network, Ports, Rule, TCP, Target, UDP, Verdict, different, public_address,
    service, weighted,
};

/// Rules for one network that they guard, on average.
const RULES_PER_NETWORK: usize = 20;
/// Networks of clients for one network that is guarded.
const CLIENTS_PER_NETWORK: usize = 3;

/// So many rules.
pub fn rules(rng: &mut Rng, count: usize) -> Vec<Rule> {
    let networks = count / RULES_PER_NETWORK + 1;
    let mut pool = |count| -> Vec<u32> { (0..count).map(|_| public_address(rng)).collect() };
    let guarded = pool(networks);
    let clients = pool(networks * CLIENTS_PER_NETWORK);
    different(rng, count, |rng| {
        let destination = network(
            rng,
            &guarded,
            &[(70, (32, 32)), (20, (24, 31)), (10, (16, 23))],
        );
        let source = network(
            rng,
            &clients,
            &[(30, (32, 32)), (50, (16, 31)), (15, (8, 15)), (5, (0, 0))],
        );
        let protocol = weighted(
            rng,
            &[(80, Some(TCP)), (12, Some(UDP)), (4, Some(ICMP)), (4, None)],
        );
        let has_ports = matches!(protocol, Some(TCP | UDP));
        let destination_ports = match rng.u8(0..20) {
            0..15 if has_ports => service(rng),
            15..17 if has_ports => Ports::some_range(rng),
            _ => Ports::ALL,
        };
        Rule {
            matches: Match {
                source,
                destination,
                protocol,
                source_ports: Ports::ALL,
                destination_ports,
            },
            target: Target::Verdict(weighted(rng, &[(60, Verdict::Accept), (40, Verdict::Drop)])),
        }
    })
}

/// A network, often one of the last bits of a known one, with one of the lengths.
pub(super) fn network(rng: &mut Rng, known: &[u32], lengths: &[(u32, (u8, u8))]) -> Network {
    let (shortest, longest) = weighted(rng, lengths);
    let length = rng.u8(shortest..=longest);
    let base = known[rng.usize(0..known.len())];
    Network::new(base & 0xffff_ff00 | rng.u32(0..256), length)
}
