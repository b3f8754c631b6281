//! The Internet checksum (RFC 1071) over parts of a packet: the reference, and [`code`] in bytecode.

pub mod code;

use ipt2bpf_parser::ruleset::Family;

use crate::packet::Packet;

/// The sum of the 16-bit words of some bytes, the last of which may be alone; not folded.
pub fn sum(bytes: &[u8]) -> u64 {
    words(bytes).map(u64::from).sum()
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u16> {
    let words = bytes.chunks(2);
    words.map(|word| u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)]))
}

/// A sum with its carries added in.
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum of the pseudo-header between a packet's addresses for a datagram of a protocol, not folded.
pub fn pseudo_header(packet: &Packet<'_>, protocol: u8, datagram: &[u8]) -> u64 {
    let addresses = match packet.family() {
        Family::V4 => packet.bytes().get(12..20),
        Family::V6 => packet.bytes().get(8..40),
    };
    sum(addresses.unwrap_or_default()) + u64::from(protocol) + datagram.len() as u64
}

/// A checksum when bytes that it covers change from `old` to `new` (RFC 1624, equation 3), both an even
/// number of bytes behind the first that it covers. As the kernel's `csum_replace2` and `csum_replace4`
/// (include/net/checksum.h) it is never all ones.
pub fn changed(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    let taken: u64 = words(old).map(|word| u64::from(!word)).sum();
    match !fold(u64::from(!checksum) + taken + sum(new)) {
        u16::MAX => 0,
        checksum => checksum,
    }
}
