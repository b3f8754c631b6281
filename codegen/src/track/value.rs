//! Keys and flows as bytes of the map, for those who read and write it from outside.

use std::net::IpAddr;

use ipt2bpf_parser::ruleset::Family;

use super::sctp::Association;
use super::tcp::Connection;
use super::{Flow, Key, Side, layout};

/// An end of a connection: its address and port, host byte order.
pub type End = (IpAddr, u16);

impl Key {
    /// The key of a connection that is no ICMP query, and whether packets from the first of these ends go
    /// forward. None for ends of two families.
    pub fn between(protocol: u8, from: End, to: End) -> Option<(Key, bool)> {
        let family = match (from.0, to.0) {
            (IpAddr::V4(_), IpAddr::V4(_)) => 4,
            (IpAddr::V6(_), IpAddr::V6(_)) => 6,
            _ => return None,
        };
        let place = |end: End| (bytes_of(end.0), end.1.to_be_bytes());
        let (from, to) = (place(from), place(to));
        let forward = from <= to;
        let (first, second) = if forward { (from, to) } else { (to, from) };
        let mut key = [0; Key::SIZE];
        key[Key::FIRST..Key::SECOND].copy_from_slice(&first.0);
        key[Key::SECOND..Key::FIRST_PORT].copy_from_slice(&second.0);
        key[Key::FIRST_PORT..Key::SECOND_PORT].copy_from_slice(&first.1);
        key[Key::SECOND_PORT..Key::PROTOCOL].copy_from_slice(&second.1);
        key[Key::PROTOCOL] = protocol;
        key[Key::FAMILY] = family;
        Some((Key(key), forward))
    }

    /// The family of its addresses.
    pub fn family(&self) -> Family {
        match self.0[Key::FAMILY] {
            6 => Family::V6,
            _ => Family::V4,
        }
    }

    /// The protocol's number.
    pub fn protocol(&self) -> u8 {
        self.0[Key::PROTOCOL]
    }
}

fn bytes_of(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
    }
}

/// The bytes of a value.
pub const SIZE: usize = layout::SIZE as usize;

/// Bytes of a flow, by their place.
struct Bytes([u8; SIZE]);

impl Bytes {
    fn get<const N: usize>(&self, at: i16) -> [u8; N] {
        std::array::from_fn(|index| self.0[at as usize + index])
    }

    fn put<const N: usize>(&mut self, at: i16, bytes: [u8; N]) {
        self.0[at as usize..][..N].copy_from_slice(&bytes);
    }

    fn word(&self, at: i16) -> u32 {
        u32::from_ne_bytes(self.get(at))
    }

    fn byte(&self, at: i16) -> u8 {
        self.0[at as usize]
    }

    fn long(&self, at: i16) -> u64 {
        u64::from_ne_bytes(self.get(at))
    }
}

impl Flow {
    /// Reads a value of the map.
    pub fn from_bytes(bytes: [u8; SIZE]) -> Self {
        use layout::side;
        let it = Bytes(bytes);
        let side = |at: i16| Side {
            end: it.word(at + side::END),
            max_end: it.word(at + side::MAX_END),
            max_window: it.word(at + side::MAX_WINDOW),
            max_ack: it.word(at + side::MAX_ACK),
            scale: it.byte(at + side::SCALE),
            flags: it.byte(at + side::FLAGS),
        };
        Flow {
            expires: it.word(layout::EXPIRES),
            mark: it.word(layout::MARK),
            packets: layout::PACKETS.map(|at| it.long(at)),
            bytes: layout::BYTES.map(|at| it.long(at)),
            backwards: it.byte(layout::BACKWARDS) != 0,
            status: it.byte(layout::STATUS),
            tcp: Connection {
                state: it.byte(layout::TCP_STATE),
                sides: layout::SIDES.map(side),
                last_index: it.byte(layout::LAST_INDEX),
                last_direction: it.byte(layout::LAST_DIRECTION),
                last_sequence: it.word(layout::LAST_SEQUENCE),
                last_ack: it.word(layout::LAST_ACK),
                last_end: it.word(layout::LAST_END),
                last_window: u16::from_ne_bytes(it.get(layout::LAST_WINDOW)),
                last_scale: it.byte(layout::LAST_SCALE),
                last_flags: it.byte(layout::LAST_FLAGS),
                retransmits: it.byte(layout::RETRANSMITS),
            },
            sctp: match it.byte(layout::SCTP_STATE) {
                0 => Association::default(),
                state => Association {
                    state,
                    tags: layout::SCTP_TAGS.map(|at| it.word(at)),
                    notes: it.byte(layout::SCTP_NOTES),
                },
            },
            stream_from: it.word(layout::STREAM_FROM),
        }
    }

    /// The value of the map. What only UDP or SCTP has stands in the place of a side of TCP: a flow has one of
    /// the three.
    pub fn to_bytes(&self) -> [u8; SIZE] {
        use layout::side;
        let mut it = Bytes([0; SIZE]);
        let tcp = &self.tcp;
        it.put(layout::EXPIRES, self.expires.to_ne_bytes());
        it.put(layout::MARK, self.mark.to_ne_bytes());
        for direction in 0..2 {
            let packets = self.packets[direction].to_ne_bytes();
            it.put(layout::PACKETS[direction], packets);
            let bytes = self.bytes[direction].to_ne_bytes();
            it.put(layout::BYTES[direction], bytes);
        }
        it.put(layout::BACKWARDS, [self.backwards.into()]);
        it.put(layout::STATUS, [self.status]);
        it.put(layout::STREAM_FROM, self.stream_from.to_ne_bytes());
        if self.sctp.state != 0 {
            it.put(layout::SCTP_STATE, [self.sctp.state]);
            it.put(layout::SCTP_NOTES, [self.sctp.notes]);
            for (at, tag) in layout::SCTP_TAGS.into_iter().zip(self.sctp.tags) {
                it.put(at, tag.to_ne_bytes());
            }
        }
        if tcp.state == 0 {
            return it.0;
        }
        it.put(layout::TCP_STATE, [tcp.state]);
        it.put(layout::LAST_INDEX, [tcp.last_index]);
        it.put(layout::LAST_DIRECTION, [tcp.last_direction]);
        it.put(layout::LAST_SCALE, [tcp.last_scale]);
        it.put(layout::LAST_FLAGS, [tcp.last_flags]);
        it.put(layout::RETRANSMITS, [tcp.retransmits]);
        it.put(layout::LAST_SEQUENCE, tcp.last_sequence.to_ne_bytes());
        it.put(layout::LAST_ACK, tcp.last_ack.to_ne_bytes());
        it.put(layout::LAST_END, tcp.last_end.to_ne_bytes());
        it.put(layout::LAST_WINDOW, tcp.last_window.to_ne_bytes());
        for (at, known) in layout::SIDES.into_iter().zip(&tcp.sides) {
            it.put(at + side::END, known.end.to_ne_bytes());
            it.put(at + side::MAX_END, known.max_end.to_ne_bytes());
            it.put(at + side::MAX_WINDOW, known.max_window.to_ne_bytes());
            it.put(at + side::MAX_ACK, known.max_ack.to_ne_bytes());
            it.put(at + side::SCALE, [known.scale]);
            it.put(at + side::FLAGS, [known.flags]);
        }
        it.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::status;

    #[test]
    fn a_flow_is_what_its_bytes_say() {
        let side = Side {
            end: 1,
            max_end: 2,
            max_window: 3,
            max_ack: 4,
            scale: 5,
            flags: 6,
        };
        let flow = Flow {
            expires: 7,
            mark: 8,
            packets: [9, 10],
            bytes: [11, u64::MAX],
            backwards: true,
            status: status::ASSURED,
            tcp: Connection {
                state: 3,
                sides: [side, Side { end: 12, ..side }],
                last_window: 13,
                last_ack: 14,
                ..Connection::default()
            },
            // The first side's first word.
            stream_from: 1,
            ..Flow::default()
        };
        assert_eq!(Flow::from_bytes(flow.to_bytes()), flow);
        let sctp = Association {
            state: 4,
            tags: [13, 14],
            notes: 9,
        };
        let flow = Flow {
            sctp,
            ..Flow::default()
        };
        assert_eq!(Flow::from_bytes(flow.to_bytes()).sctp, sctp);
    }

    #[test]
    fn both_directions_have_one_key() {
        let here = ("10.0.0.1".parse().unwrap(), 33000);
        let there = ("10.0.0.2".parse().unwrap(), 22);
        let (key, forward) = Key::between(6, here, there).unwrap();
        assert_eq!(Key::between(6, there, here), Some((key, !forward)));
        let tuples = key.tuples(forward);
        assert_eq!((tuples[0].source_port, tuples[1].source_port), (33000, 22));
        let other = ("::1".parse().unwrap(), 1);
        assert_eq!(Key::between(6, here, other), None);
    }
}
