//! From an Ethernet frame to the IP packet that netfilter would see, as XDP programs do it.
//!
//! What the kernel drops before PREROUTING (`ip_rcv`, `ip6_rcv`) is passed up uncounted, so that the
//! kernel drops it. Of IPv6's checks on hop-by-hop options none is done here: such a packet is dropped
//! either way, but counters may see it.

use ipt2bpf_parser::ruleset::Family;

/// How many 802.1Q or 802.1ad tags are looked through.
pub const MAX_VLAN_TAGS: usize = 2;

/// The IP packet in a frame, without padding. None when netfilter would not see one.
pub fn ip_packet(frame: &[u8]) -> Option<(Family, &[u8])> {
    let mut ethertype = frame.get(12..14)?;
    let mut rest = frame.get(14..)?;
    for _ in 0..MAX_VLAN_TAGS {
        if let [0x81, 0x00] | [0x88, 0xa8] = ethertype {
            ethertype = rest.get(2..4)?;
            rest = rest.get(4..)?;
        }
    }
    match ethertype {
        [0x08, 0x00] => Some((Family::V4, trim4(rest)?)),
        [0x86, 0xdd] => Some((Family::V6, trim6(rest)?)),
        _ => None,
    }
}

fn trim4(bytes: &[u8]) -> Option<&[u8]> {
    let header = bytes.get(..20)?;
    let header_length = 4 * usize::from(header[0] & 15);
    let total_length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let whole = bytes.get(..header_length)?;
    let right = header[0] >> 4 == 4
        && header_length >= 20
        && total_length >= header_length
        && checksum_holds(whole);
    bytes.get(..total_length).filter(|_| right)
}

/// RFC 1071: the ones' complement sum of the header is all ones.
fn checksum_holds(header: &[u8]) -> bool {
    let mut sum: u32 = header
        .chunks_exact(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}

fn trim6(bytes: &[u8]) -> Option<&[u8]> {
    let header = bytes.get(..40)?;
    let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let multicast_source = header[8] == 0xff;
    if header[0] >> 4 != 6 || multicast_source {
        return None;
    }
    // A jumbo payload says its length in a hop-by-hop option: nothing is trimmed.
    if payload == 0 && header[6] == 0 {
        return Some(bytes);
    }
    bytes.get(..40 + payload)
}
