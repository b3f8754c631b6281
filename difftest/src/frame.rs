//! One Ethernet frame to inject, and the packet that the IP layer makes of it.

use ipt2bpf_parser::ruleset::Family;

/// Length of the two addresses before the Ethernet type, in bytes.
const ADDRESSES: usize = 12;
/// The Ethernet type of an IEEE 802.1Q tag.
const VLAN_TAG: [u8; 2] = [0x81, 0x00];
/// The address of every interface of a [`Host`](crate::host::Host).
pub const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The address of whoever sends the frames.
pub const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A frame as it arrives on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Ethernet header, IP packet, perhaps padding.
    pub bytes: Vec<u8>,
    /// The name of the interface it arrives on.
    pub interface: String,
    /// Which family's packet is inside.
    pub family: Family,
}

impl Frame {
    /// Puts an IP packet, whatever its state, behind an Ethernet header for the host.
    pub fn new(family: Family, interface: &str, packet: &[u8]) -> Frame {
        let ethertype: [u8; 2] = match family {
            Family::V4 => [0x08, 0x00],
            Family::V6 => [0x86, 0xdd],
        };
        Frame {
            bytes: [&HOST_MAC[..], &PEER_MAC, &ethertype, packet].concat(),
            interface: interface.to_owned(),
            family,
        }
    }

    /// Puts a tag of VLAN 0 in front of the Ethernet type. It carries only a priority (0 to 7), and
    /// the kernel takes the packet as if it had none.
    pub fn with_priority_tag(mut self, priority: u8) -> Frame {
        let tag = [VLAN_TAG[0], VLAN_TAG[1], priority << 5, 0];
        self.bytes.splice(ADDRESSES..ADDRESSES, tag);
        self
    }

    /// How many VLAN tags stand before the Ethernet type of the packet.
    pub fn tags(&self) -> usize {
        let behind = self.bytes.get(ADDRESSES..).unwrap_or_default();
        behind
            .chunks(4)
            .take_while(|tag| tag.starts_with(&VLAN_TAG))
            .count()
    }

    /// What names the packet in the taps: the IPv4 identification, or the low 16 bits of the IPv6
    /// flow label. None when the header is too short to hold it.
    pub fn id(&self) -> Option<u16> {
        let offset = match self.family {
            Family::V4 => 4,
            Family::V6 => 2,
        };
        self.untrimmed()
            .get(offset..offset + 2)
            .map(|id| u16::from_be_bytes([id[0], id[1]]))
    }

    /// Everything behind the Ethernet header and its tags.
    pub fn untrimmed(&self) -> &[u8] {
        let start = ADDRESSES + 4 * self.tags() + 2;
        self.bytes.get(start..).unwrap_or_default()
    }

    /// The packet as every hook sees it: without the padding behind the length that its header tells
    /// (`ip_rcv_core`, `ip6_rcv_core`). A length beyond the end trims nothing; the kernel drops
    /// such a packet.
    pub fn packet(&self) -> &[u8] {
        let packet = self.untrimmed();
        let word = |offset: usize| {
            packet
                .get(offset..offset + 2)
                .map(|bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
        };
        let length = match self.family {
            Family::V4 => word(2),
            // A payload length of 0 before a hop-by-hop header announces a jumbo payload, and
            // nothing is trimmed.
            Family::V6 => word(4)
                .filter(|&payload| payload != 0 || packet.get(6) != Some(&0))
                .map(|payload| payload + 40),
        };
        &packet[..length.map_or(packet.len(), |length| length.min(packet.len()))]
    }

    /// Whether the header says that the packet is a piece of an IPv4 datagram.
    pub fn is_ipv4_fragment(&self) -> bool {
        self.family == Family::V4
            && self
                .untrimmed()
                .get(6..8)
                .is_some_and(|field| field[0] & 0x3f != 0 || field[1] != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_trimmed() {
        let mut packet = vec![0; 30];
        packet[2..4].copy_from_slice(&24u16.to_be_bytes());
        assert_eq!(Frame::new(Family::V4, "eth0", &packet).packet().len(), 24);
        let mut packet = vec![0; 60];
        packet[6] = 17;
        assert_eq!(Frame::new(Family::V6, "eth0", &packet).packet().len(), 40);
        packet[6] = 0;
        assert_eq!(Frame::new(Family::V6, "eth0", &packet).packet().len(), 60);
    }

    #[test]
    fn a_length_beyond_the_end_trims_nothing() {
        let mut packet = vec![0; 30];
        packet[2..4].copy_from_slice(&99u16.to_be_bytes());
        assert_eq!(Frame::new(Family::V4, "eth0", &packet).packet().len(), 30);
        assert_eq!(Frame::new(Family::V4, "eth0", &[0x45]).packet(), [0x45]);
    }

    #[test]
    fn tags_are_looked_through() {
        let plain = Frame::new(Family::V4, "eth0", &[0x45, 0, 0, 2]);
        let tagged = plain.clone().with_priority_tag(7).with_priority_tag(0);
        assert_eq!(
            tagged.bytes[12..22],
            [0x81, 0, 0, 0, 0x81, 0, 0xe0, 0, 8, 0]
        );
        assert_eq!((plain.tags(), tagged.tags()), (0, 2));
        assert_eq!(tagged.packet(), plain.packet());
    }

    #[test]
    fn ids_are_where_the_taps_look() {
        let packet: Vec<u8> = (0..40).collect();
        assert_eq!(Frame::new(Family::V4, "e", &packet).id(), Some(0x0405));
        assert_eq!(Frame::new(Family::V6, "e", &packet).id(), Some(0x0203));
        assert_eq!(Frame::new(Family::V6, "e", &packet[..3]).id(), None);
    }
}
