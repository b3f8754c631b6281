//! One Ethernet frame to inject, or one packet to send, and what the tables see of it.

use std::net::Ipv4Addr;

use ipt2bpf_parser::ruleset::Family;

use crate::checksum::checksum;

/// Length of the two addresses before the Ethernet type, in bytes.
const ADDRESSES: usize = 12;
/// The Ethernet type of an IEEE 802.1Q tag.
const VLAN_TAG: [u8; 2] = [0x81, 0x00];
/// The address of every interface of a [`Host`](crate::host::Host).
pub const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The address of whoever sends the frames.
pub const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// The source of the IPv4 packets that the host sends and that name none.
pub const HOST_SOURCE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// Which way a packet goes, as the host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It arrives.
    Received,
    /// The host itself sends it.
    Sent,
}

/// A frame as it arrives on an interface, or a packet that the host sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Ethernet header, IP packet, perhaps padding. A packet that the host sends stands behind a header
    /// that it has only here.
    pub bytes: Vec<u8>,
    /// The name of the interface it arrives on, or is to leave by.
    pub interface: String,
    /// Which family's packet is inside.
    pub family: Family,
    /// Which of the two it does.
    pub direction: Direction,
}

impl Frame {
    /// Puts an IP packet that arrives, whatever its state, behind an Ethernet header for the host.
    pub fn received(family: Family, interface: &str, packet: &[u8]) -> Frame {
        let ethertype: [u8; 2] = match family {
            Family::V4 => [0x08, 0x00],
            Family::V6 => [0x86, 0xdd],
        };
        Frame {
            bytes: [&HOST_MAC[..], &PEER_MAC, &ethertype, packet].concat(),
            interface: interface.to_owned(),
            family,
            direction: Direction::Received,
        }
    }

    /// An IP packet that the host sends through a raw socket, as the tables see it.
    ///
    /// The kernel takes IPv6 packets as they are (`rawv6_send_hdrinc`, net/ipv6/raw.c). Of an IPv4 header
    /// it fills in the total length, the checksum and an absent source (`raw_send_hdrinc`,
    /// net/ipv4/raw.c), and so does this. It would fill in an absent identification as well; packets
    /// here have one.
    pub fn sent(family: Family, interface: &str, packet: &[u8]) -> Frame {
        let mut packet = packet.to_vec();
        if family == Family::V4 {
            complete(&mut packet);
        }
        Frame {
            direction: Direction::Sent,
            ..Frame::received(family, interface, &packet)
        }
    }

    /// Puts a tag of VLAN 0 in front of the Ethernet type. It carries only a priority (0 to 7), and
    /// the kernel takes the packet as if it had none.
    pub fn with_priority_tag(mut self, priority: u8) -> Frame {
        let tag = [VLAN_TAG[0], VLAN_TAG[1], priority << 5, 0];
        self.bytes.splice(ADDRESSES..ADDRESSES, tag);
        self
    }

    /// The same sent to all stations, or to a group of them. The kernel still takes it, but does not
    /// forward it (`ip_forward`, net/ipv4/ip_forward.c).
    pub fn to_group(mut self, all: bool) -> Frame {
        let group = match all {
            true => [0xff; 6],
            false => [1, 0, 0x5e, 0, 0, 1],
        };
        self.bytes.splice(..group.len(), group);
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

    /// The packet as every hook sees it: when it arrives, without the padding behind the length that its
    /// header tells (`ip_rcv_core`, `ip6_rcv_core`). A length beyond the end trims nothing; the kernel
    /// drops such a packet. What the host sends is not trimmed.
    pub fn packet(&self) -> &[u8] {
        let packet = self.untrimmed();
        if self.direction == Direction::Sent {
            return packet;
        }
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

/// Fills in what the kernel fills into an IPv4 header. It leaves a header alone that is too short or
/// longer than the packet.
fn complete(packet: &mut [u8]) {
    let length = packet.len() as u16;
    let words = packet.first().map_or(0, |first| usize::from(first & 15));
    let Some(header) = packet.get_mut(..4 * words).filter(|_| words >= 5) else {
        return;
    };
    if header[12..16] == [0; 4] {
        header[12..16].copy_from_slice(&HOST_SOURCE.octets());
    }
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header[10..12].fill(0);
    let sum = checksum(header).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_trimmed() {
        let mut packet = vec![0; 30];
        packet[2..4].copy_from_slice(&24u16.to_be_bytes());
        assert_eq!(
            Frame::received(Family::V4, "eth0", &packet).packet().len(),
            24
        );
        let mut packet = vec![0; 60];
        packet[6] = 17;
        assert_eq!(
            Frame::received(Family::V6, "eth0", &packet).packet().len(),
            40
        );
        packet[6] = 0;
        assert_eq!(
            Frame::received(Family::V6, "eth0", &packet).packet().len(),
            60
        );
    }

    #[test]
    fn a_length_beyond_the_end_trims_nothing() {
        let mut packet = vec![0; 30];
        packet[2..4].copy_from_slice(&99u16.to_be_bytes());
        assert_eq!(
            Frame::received(Family::V4, "eth0", &packet).packet().len(),
            30
        );
        assert_eq!(
            Frame::received(Family::V4, "eth0", &[0x45]).packet(),
            [0x45]
        );
    }

    #[test]
    fn tags_are_looked_through() {
        let plain = Frame::received(Family::V4, "eth0", &[0x45, 0, 0, 2]);
        let tagged = plain.clone().with_priority_tag(7).with_priority_tag(0);
        assert_eq!(
            tagged.bytes[12..22],
            [0x81, 0, 0, 0, 0x81, 0, 0xe0, 0, 8, 0]
        );
        assert_eq!((plain.tags(), tagged.tags()), (0, 2));
        assert_eq!(tagged.packet(), plain.packet());
    }

    #[test]
    fn what_is_sent_is_completed_and_not_trimmed() {
        let mut packet = vec![0x45, 0, 0, 7, 0, 1, 0, 0, 64, 17, 1, 1];
        packet.extend([0, 0, 0, 0, 192, 0, 2, 1, 9, 9]);
        let sent = Frame::sent(Family::V4, "eth0", &packet);
        let header = &sent.packet()[..20];
        assert_eq!(sent.packet().len(), 22);
        assert_eq!(header[2..4], [0, 22]);
        assert_eq!(header[12..16], HOST_SOURCE.octets());
        assert_eq!(checksum(header), 0);
        for broken in [0x44, 0x46] {
            packet[0] = broken;
            assert_eq!(Frame::sent(Family::V4, "eth0", &packet).packet(), packet);
        }
        packet.resize(60, 0);
        assert_eq!(Frame::sent(Family::V6, "eth0", &packet).packet(), packet);
    }

    #[test]
    fn ids_are_where_the_taps_look() {
        let packet: Vec<u8> = (0..40).collect();
        assert_eq!(Frame::received(Family::V4, "e", &packet).id(), Some(0x0405));
        assert_eq!(Frame::received(Family::V6, "e", &packet).id(), Some(0x0203));
        assert_eq!(Frame::received(Family::V6, "e", &packet[..3]).id(), None);
    }
}
