//! What stands behind the IP headers: TCP, UDP, ICMP and others, whole and cut short.

use fastrand::Rng;
use ipt2bpf_parser::matches::PortRange;

use super::{bytes, one_in};
use crate::checksum::checksum;
use crate::constants::Aim;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const SCTP: u8 = 132;
const ICMPV6: u8 = 58;

/// A protocol number: a rule's, or a usual one, or any. `icmp` is the number of the family's ICMP.
pub fn protocol(random: &mut Rng, aim: &Aim, icmp: u8) -> u8 {
    match random.choice(&aim.protocols) {
        Some(&protocol) if !one_in(random, 8) => protocol,
        _ => match random.u32(..10) {
            0..4 => TCP,
            4..7 => UDP,
            7 | 8 => icmp,
            _ => random.u8(..),
        },
    }
}

/// A segment of a protocol with a right checksum; one in five is cut short. The pseudo-header is
/// the two addresses.
pub fn segment(random: &mut Rng, aim: &Aim, protocol: u8, pseudo_header: &[u8]) -> Vec<u8> {
    let (mut segment, checksum_at) = match protocol {
        TCP => (tcp(random, aim), Some(16)),
        UDP => (udp(random, aim), Some(6)),
        ICMP | ICMPV6 => (icmp(random, aim), Some(2)),
        SCTP if one_in(random, 2) => (sctp(random, aim), None),
        DCCP if one_in(random, 2) => (dccp(random, aim), None),
        // UDP-Lite, SCTP, DCCP begin with ports as well; for the rest they are just bytes.
        _ => (
            [ports(random, aim), {
                let n = random.usize(..40);
                bytes(random, n)
            }]
            .concat(),
            None,
        ),
    };
    if let Some(wanted) = random.choice(&aim.payloads) {
        segment.extend(payload(random, wanted));
    }
    if one_in(random, 5) {
        let around = [0, 1, 3, 4, 7, 8, 11, 12, 13, 19, 20, 21];
        let length = match random.choice(around) {
            Some(length) if !one_in(random, 3) => length,
            _ => random.usize(..=segment.len()),
        };
        segment.truncate(length);
    } else if let Some(at) = checksum_at {
        // ICMP has no pseudo-header; the protocol and length of the others' are the same numbers in
        // both families (RFC 9293 section 3.1, RFC 8200 section 8.1).
        let length = segment.len() as u32;
        let covered = match protocol {
            ICMP => segment.clone(),
            _ => [
                pseudo_header,
                &length.to_be_bytes(),
                &u32::from(protocol).to_be_bytes(),
                &segment,
            ]
            .concat(),
        };
        segment[at..at + 2].copy_from_slice(&checksum(&covered).to_be_bytes());
    }
    segment
}

/// Bytes among others: most times as they are, else cut, in another case, or with a wrong one.
fn payload(random: &mut Rng, wanted: &[u8]) -> Vec<u8> {
    let before = random.usize(..90);
    let behind = random.usize(..20);
    let mut wanted = wanted.to_vec();
    match (random.u32(..6), random.choice(0..wanted.len())) {
        (0, Some(at)) => wanted[at] ^= 1 << random.u8(..8),
        (1, Some(at)) => wanted.truncate(at),
        (2, Some(at)) => wanted[at] ^= 0x20,
        (3, Some(at)) => wanted = [&wanted[..at], &wanted[..]].concat(),
        _ => {}
    }
    [bytes(random, before), wanted, bytes(random, behind)].concat()
}

fn tcp(random: &mut Rng, aim: &Aim) -> Vec<u8> {
    let options = match one_in(random, 3) || !aim.tcp_options.is_empty() {
        true => tcp_options(random, aim),
        false => Vec::new(),
    };
    let offset = match one_in(random, 12) {
        true => random.u8(..16),
        false => 5 + (options.len() / 4) as u8,
    };
    let flags = match random.choice(&aim.tcp_flags) {
        Some(flags) if !one_in(random, 4) => {
            let flags = flags.set | (random.u8(..) & !flags.mask);
            match one_in(random, 4) {
                true => flags ^ 1 << random.u8(..8),
                false => flags,
            }
        }
        _ => *random
            .choice(&[0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0x00, 0xff, 0x29])
            .unwrap_or(&0x02),
    };
    let mut segment = ports(random, aim);
    segment.extend(bytes(random, 8));
    segment.extend([offset << 4 | random.u8(..16), flags]);
    segment.extend([0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(options);
    let payload = random.usize(..24);
    segment.extend(bytes(random, payload));
    segment
}

/// 4 to 40 bytes of options: real ones, wrong lengths, and the option that a rule asks for at any
/// place, the last byte included.
fn tcp_options(random: &mut Rng, aim: &Aim) -> Vec<u8> {
    let length = 4 * random.usize(1..=10);
    let mut options = Vec::new();
    while options.len() < length {
        let kind = match random.choice(&aim.tcp_options) {
            Some(&kind) if one_in(random, 2) => kind,
            _ => *random
                .choice(&[0, 1, 1, 2, 3, 4, 5, 8, 30, 254])
                .unwrap_or(&1),
        };
        options.push(kind);
        if kind > 1 {
            let told: u8 = match random.u32(..6) {
                0 => random.u8(..),
                1 => 0,
                2 => 1,
                _ => random.u8(2..11),
            };
            options.push(told);
            let value = usize::from(told.saturating_sub(2)).min(10);
            options.extend(bytes(random, value));
        }
    }
    options.truncate(length);
    options
}

/// A common header and chunks, seldom with a length that is not theirs.
fn sctp(random: &mut Rng, aim: &Aim) -> Vec<u8> {
    let mut segment = ports(random, aim);
    segment.extend(bytes(random, 8));
    for _ in 0..random.u32(..6) {
        let kind = random.choice([0, 0, 1, 2, 3, 6, 14, 132, 193]).unwrap_or(0);
        let content = random.usize(..12);
        let length = match random.u32(..12) {
            0 => random.u8(..8),
            _ => content as u8 + 4,
        };
        segment.extend([kind, random.u8(..8), 0, length]);
        segment.extend(bytes(random, content.next_multiple_of(4)));
    }
    segment
}

/// A header of any type with options, mostly small numbers.
fn dccp(random: &mut Rng, aim: &Aim) -> Vec<u8> {
    let mut segment = ports(random, aim);
    segment.extend([random.u8(3..14), 0, 0, 0, random.u8(..32), 0, 0, 0]);
    let options = random.usize(..48);
    segment.extend((0..options).map(|_| random.choice([0, 1, 2, 3, 4, 32]).unwrap_or(1)));
    segment
}

fn udp(random: &mut Rng, aim: &Aim) -> Vec<u8> {
    let payload = random.usize(..24);
    let mut segment = ports(random, aim);
    segment.extend((payload as u16 + 8).to_be_bytes());
    segment.extend([0, 0]);
    segment.extend(bytes(random, payload));
    segment
}

fn icmp(random: &mut Rng, aim: &Aim) -> Vec<u8> {
    let (kind, code) = match random.choice(&aim.icmp) {
        Some(wanted) if !one_in(random, 4) => match random.u32(..6) {
            0 => (wanted.kind.wrapping_add(1), wanted.code_low),
            1 => (wanted.kind, wanted.code_high.wrapping_add(1)),
            2 => (wanted.kind, wanted.code_low.wrapping_sub(1)),
            3 => (wanted.kind, wanted.code_high),
            _ => (wanted.kind, wanted.code_low),
        },
        _ => {
            let kinds = [
                0, 3, 4, 5, 8, 11, 12, 13, 1, 2, 128, 129, 133, 134, 135, 136, 255,
            ];
            let kind = random.choice(kinds).unwrap_or(8);
            (kind, if one_in(random, 2) { 0 } else { random.u8(..) })
        }
    };
    let mut segment = vec![kind, code, 0, 0];
    let rest = random.usize(4..32);
    segment.extend(bytes(random, rest));
    segment
}

/// Source and destination port.
fn ports(random: &mut Rng, aim: &Aim) -> Vec<u8> {
    let mut ports = port(random, &aim.source_ports).to_be_bytes().to_vec();
    ports.extend(port(random, &aim.destination_ports).to_be_bytes());
    ports
}

/// A port in, at the edge of or beside one of the ranges.
fn port(random: &mut Rng, ranges: &[PortRange]) -> u16 {
    match random.choice(ranges) {
        Some(range) if !one_in(random, 6) => match random.u32(..8) {
            0 => range.low.wrapping_sub(1),
            1 => range.high.wrapping_add(1),
            2 | 3 => range.low,
            4 => range.high,
            _ => random.u16(range.low..=range.high.max(range.low)),
        },
        _ => match random.u32(..8) {
            0 => 0,
            1 => u16::MAX,
            2 => 53,
            3 => 80,
            _ => random.u16(..),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_hit_inside_and_beside() {
        let range = PortRange {
            low: 100,
            high: 110,
        };
        let mut random = Rng::with_seed(1);
        let drawn: Vec<u16> = (0..300).map(|_| port(&mut random, &[range])).collect();
        for wanted in [99, 100, 105, 110, 111] {
            assert!(drawn.contains(&wanted), "{wanted}");
        }
    }
}
