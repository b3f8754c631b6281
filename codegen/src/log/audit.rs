//! The record that the kernel's AUDIT target makes of a packet (`audit_tg`, net/netfilter/xt_AUDIT.c, as of
//! Linux 6.18), as the kernel's log has it when no audit daemon listens. Its time and serial number, which
//! the audit subsystem gives, are not in it.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipt2bpf_parser::ruleset::Family;

use super::line::Sight;

/// What it begins with: `AUDIT_NETFILTER_PKT` (include/uapi/linux/audit.h).
pub const PREFIX: &[u8] = b"audit: type=1324 ";
/// The level of `KERN_NOTICE`, with which the subsystem logs.
pub const LEVEL: u8 = 5;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const NO_NEXT: u8 = 59;
const DESTINATION: u8 = 60;

/// What it tells of a packet.
pub fn record(sight: &Sight<'_>) -> String {
    let mark = match sight.mark {
        0 => "0".to_owned(),
        mark => format!("{mark:#x}"),
    };
    let packet = match sight.family {
        Family::V4 => packet4(sight.bytes),
        Family::V6 => packet6(sight.bytes),
    };
    let packet = packet.unwrap_or_else(|| "saddr=? daddr=? proto=-1".to_owned());
    format!("mark={mark} {packet}")
}

fn packet4(bytes: &[u8]) -> Option<String> {
    let header: &[u8; 20] = bytes.first_chunk()?;
    let address = |at: usize| Ipv4Addr::from([0, 1, 2, 3].map(|byte| header[at + byte]));
    Some(format!(
        "saddr={} daddr={} proto={}",
        address(12),
        address(16),
        header[9]
    ))
}

fn packet6(bytes: &[u8]) -> Option<String> {
    let header: &[u8; 40] = bytes.first_chunk()?;
    let address = |at: usize| {
        let octets: [u8; 16] = std::array::from_fn(|byte| header[at + byte]);
        Ipv6Addr::from(octets)
    };
    let protocol = last_protocol(header[6], bytes).unwrap_or(header[6]);
    Some(format!(
        "saddr={} daddr={} proto={protocol}",
        address(8),
        address(24)
    ))
}

/// Walks as `ipv6_skip_exthdr` does (net/ipv6/exthdrs_core.c); none where that fails.
fn last_protocol(first: u8, bytes: &[u8]) -> Option<u8> {
    let (mut protocol, mut at) = (first, 40);
    loop {
        let length = match protocol {
            NO_NEXT => return None,
            HOP_BY_HOP | ROUTING | DESTINATION => 8 * (usize::from(*bytes.get(at + 1)?) + 1),
            AUTHENTICATION => 4 * (usize::from(*bytes.get(at + 1)?) + 2),
            FRAGMENT => match bytes.get(at + 2..at + 4)? {
                [0, low] if low & !7 == 0 => 8,
                _ => return Some(FRAGMENT),
            },
            other => return Some(other),
        };
        protocol = *bytes.get(at)?;
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::LinkHeader;
    use super::*;

    fn told(family: Family, bytes: &[u8], mark: u32) -> String {
        record(&Sight {
            family,
            bytes,
            length: bytes.len() as u32,
            in_device: "eth0",
            out_device: "",
            link: LinkHeader::None,
            mark,
            owner: None,
        })
    }

    #[test]
    fn addresses_protocol_and_mark() {
        let mut packet = [0; 20];
        packet[9] = 17;
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        assert_eq!(
            told(Family::V4, &packet, 0),
            "mark=0 saddr=10.0.0.1 daddr=10.0.0.2 proto=17"
        );
        assert!(told(Family::V4, &packet, 0x1f).starts_with("mark=0x1f "));
        assert_eq!(
            told(Family::V4, &packet[..19], 0),
            "mark=0 saddr=? daddr=? proto=-1"
        );
    }

    #[test]
    fn the_protocol_behind_extension_headers() {
        let packet = |first: u8, behind: &[u8]| {
            let mut packet = vec![0; 40];
            packet[0] = 0x60;
            packet[6] = first;
            packet[23] = 1;
            packet[39] = 2;
            packet.extend(behind);
            told(Family::V6, &packet, 0)
        };
        let options = [6, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(packet(60, &options), "mark=0 saddr=::1 daddr=::2 proto=6");
        let fragment = [6, 0, 0, 8, 0, 0, 0, 0];
        assert!(packet(44, &fragment).ends_with("proto=44"));
        assert!(packet(60, &options[..1]).ends_with("proto=60"));
        assert!(packet(59, &[]).ends_with("proto=59"));
    }
}
