//! Packets to try rules with.

use std::fmt;

use anyhow::{Result, ensure};
use fastrand::Rng;
use ipt2bpf_difftest::checksum::checksum;
use ipt2bpf_difftest::frame::{HOST_MAC, PEER_MAC};
use serde::{Deserialize, Serialize};

use crate::oracle::{Header, Oracle};
use crate::rules::{ICMP, Match, RuleSet, TCP, UDP};

/// Bytes of an IPv4 header and of as much behind it.
const PACKET: usize = 40;
/// How often a packet that matches nothing is sought.
const TRIES: usize = 200;

/// What packets a program gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mix {
    /// Each drawn for a rule of its own.
    Random,
    /// None that a rule is for.
    None,
    /// Always the same.
    Repeated,
}

impl Mix {
    /// All of them.
    pub const ALL: [Mix; 3] = [Mix::Random, Mix::None, Mix::Repeated];
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mix::Random => "random rules",
            Mix::None => "no rule",
            Mix::Repeated => "one packet",
        })
    }
}

/// The Ethernet header in front of all packets.
pub fn ethernet() -> [u8; 14] {
    let mut header = [0; 14];
    header[..6].copy_from_slice(&HOST_MAC);
    header[6..12].copy_from_slice(&PEER_MAC);
    header[12] = 0x08;
    header
}

/// So many packets of a mix.
///
/// # Errors
/// When rules leave no packet that matches none of them.
pub fn mixed(
    mix: Mix,
    set: &RuleSet,
    oracle: &Oracle,
    count: usize,
    seed: u64,
) -> Result<Vec<Header>> {
    let mut rng = Rng::with_seed(seed);
    let decisions = set.decisions();
    let mut some_match = || decisions[rng.usize(0..decisions.len())].matches;
    match mix {
        Mix::Random => {
            let matches: Vec<Match> = (0..count).map(|_| some_match()).collect();
            Ok(matches.iter().map(|it| draw(it, &mut rng)).collect())
        }
        Mix::Repeated => Ok(vec![draw(
            &decisions[decisions.len() / 2].matches,
            &mut rng,
        )]),
        Mix::None => {
            let mut packets = Vec::with_capacity(count);
            for _ in 0..TRIES * count {
                if packets.len() == count {
                    break;
                }
                let near = decisions[rng.usize(0..decisions.len())].matches;
                let packet = stray(draw(&near, &mut rng), &mut rng);
                if oracle.first(&packet).is_none() {
                    packets.push(packet);
                }
            }
            ensure!(
                packets.len() == count,
                "the rules leave too few packets to none of them"
            );
            Ok(packets)
        }
    }
}

/// A packet that a match is for.
pub fn draw(matches: &Match, rng: &mut Rng) -> Header {
    let protocol = matches
        .protocol
        .unwrap_or_else(|| [TCP, UDP, ICMP][rng.usize(0..3)]);
    let mut header = Header {
        source: matches.source.draw(rng),
        destination: matches.destination.draw(rng),
        protocol,
        source_port: rng.u16(matches.source_ports.low..=matches.source_ports.high),
        destination_port: rng.u16(matches.destination_ports.low..=matches.destination_ports.high),
    };
    if !header.has_ports() {
        (header.source_port, header.destination_port) = (0, 0);
    }
    header
}

/// The same with something else about it: the ports, or the end of an address.
fn stray(mut header: Header, rng: &mut Rng) -> Header {
    match rng.u8(0..4) {
        0 if header.has_ports() => header.destination_port = rng.u16(..),
        1 => header.destination ^= rng.u32(1..1 << 12),
        2 => header.source ^= rng.u32(1..1 << 12),
        _ => {
            header.source ^= rng.u32(1..1 << 20);
            header.destination ^= rng.u32(1..1 << 20);
        }
    }
    header
}

impl Header {
    /// The packet's bytes, with a checksum of its IP header.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; PACKET];
        bytes[0] = 0x45;
        bytes[2..4].copy_from_slice(&(PACKET as u16).to_be_bytes());
        bytes[8] = 64;
        bytes[9] = self.protocol;
        bytes[12..16].copy_from_slice(&self.source.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.destination.to_be_bytes());
        let sum = checksum(&bytes[..20]).to_be_bytes();
        bytes[10..12].copy_from_slice(&sum);
        if self.has_ports() {
            bytes[20..22].copy_from_slice(&self.source_port.to_be_bytes());
            bytes[22..24].copy_from_slice(&self.destination_port.to_be_bytes());
        }
        match self.protocol {
            // A header without options, and a SYN.
            TCP => bytes[32..34].copy_from_slice(&[0x50, 0x02]),
            UDP => bytes[25] = 20,
            // Echo request.
            _ => bytes[20] = 8,
        }
        bytes
    }

    /// The packet behind its Ethernet header.
    pub fn frame(&self) -> Vec<u8> {
        [&ethernet()[..], &self.bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Kind, Verdicts};

    #[test]
    fn packets_match_as_asked_for() {
        for kind in Kind::ALL {
            let set = RuleSet::draw(kind, 100, Verdicts::Mixed, 5);
            let oracle = Oracle::new(&set);
            let found = |mix| -> usize {
                let packets = mixed(mix, &set, &oracle, 64, 6).expect("packets");
                let found = packets.iter().filter(|it| oracle.first(it).is_some());
                found.count()
            };
            assert_eq!(found(Mix::Random), 64, "{kind}");
            assert_eq!(found(Mix::None), 0, "{kind}");
            assert_eq!(found(Mix::Repeated), 1, "{kind}");
        }
    }

    #[test]
    fn rules_for_everything_leave_no_packet() {
        let mut set = RuleSet::draw(Kind::Acl, 1, Verdicts::Mixed, 5);
        set.chains[0].rules[0].matches = Match::ALL;
        let oracle = Oracle::new(&set);
        assert!(mixed(Mix::None, &set, &oracle, 4, 6).is_err());
    }
}
