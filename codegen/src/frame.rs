//! From an Ethernet frame to the IP packet that netfilter would see, as XDP programs do it.
//!
//! What the kernel drops before PREROUTING (`ip_rcv`, `ip6_rcv`) is passed up uncounted, so that the
//! kernel drops it. Of IPv6's checks on hop-by-hop options none is done here: such a packet is dropped
//! either way, but counters may see it.

use ipt2bpf_parser::ruleset::Family;

use crate::packet::Metadata;

/// How many 802.1Q or 802.1ad tags are looked through.
pub const MAX_VLAN_TAGS: usize = 2;

/// The number of the loopback interface in every network namespace (include/linux/netdevice.h).
const LOOPBACK_IFINDEX: u32 = 1;

/// Where what follows the Ethernet header begins: behind the addresses, the tags and the type.
pub fn header_length(frame: &[u8]) -> Option<usize> {
    let mut length = 14;
    for _ in 0..MAX_VLAN_TAGS {
        if let [0x81, 0x00] | [0x88, 0xa8] = frame.get(length - 2..length)? {
            length += 4;
        }
    }
    (frame.len() >= length).then_some(length)
}

/// The IP packet in a frame from an interface, without padding. None when netfilter would not see one.
pub fn ip_packet(frame: &[u8], ifindex: u32) -> Option<(Family, &[u8])> {
    let (header, rest) = frame.split_at_checked(header_length(frame)?)?;
    match header.get(header.len() - 2..)? {
        [0x08, 0x00] => Some((Family::V4, trim4(rest)?)),
        [0x86, 0xdd] => Some((Family::V6, trim6(rest, ifindex)?)),
        _ => None,
    }
}

/// What a frame says besides its packet. Nothing has marked it yet. A frame for another host counts as one
/// for this: the kernel drops it before any table. On Ethernet the other types can be told from the
/// destination (`eth_type_trans`, net/ethernet/eth.c).
pub fn metadata(frame: &[u8], ifindex: u32) -> Metadata {
    const HOST: u8 = 0;
    const BROADCAST: u8 = 1;
    const MULTICAST: u8 = 2;
    Metadata {
        packet_type: match frame.first_chunk::<6>() {
            Some([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => BROADCAST,
            Some([first, ..]) if first & 1 == 1 => MULTICAST,
            _ => HOST,
        },
        source_mac: frame.get(6..14).and_then(|it| it.first_chunk().copied()),
        interface: ifindex,
        ethernet: ifindex != LOOPBACK_IFINDEX,
        ..Metadata::default()
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

fn trim6(bytes: &[u8], ifindex: u32) -> Option<&[u8]> {
    let header = bytes.get(..40)?;
    let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if header[0] >> 4 != 6 || !addresses_hold(header, ifindex == LOOPBACK_IFINDEX) {
        return None;
    }
    // A jumbo payload says its length in a hop-by-hop option: nothing is trimmed.
    if payload == 0 && header[6] == 0 {
        return Some(bytes);
    }
    bytes.get(..40 + payload)
}

/// No multicast source, no multicast destination of scope 0, and off the loopback interface neither
/// `::1` nor interface-local multicast.
fn addresses_hold(header: &[u8], loopback: bool) -> bool {
    let (source, destination) = (&header[8..24], &header[24..40]);
    let is_loopback = |address: &[u8]| address[..15] == [0; 15] && address[15] == 1;
    let scope = (destination[0] == 0xff).then_some(destination[1] & 0x0f);
    source[0] != 0xff
        && scope != Some(0)
        && (loopback || (scope != Some(1) && !is_loopback(source) && !is_loopback(destination)))
}
