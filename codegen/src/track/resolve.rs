//! Which connection a packet belongs to, and which way it goes in it.

use ipt2bpf_parser::ruleset::Family;

use super::Key;
use crate::field::Field;
use crate::packet::Packet;

/// How a packet's protocol is tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// It has no connection: broken, or of a kind that begins none.
    Invalid = 0,
    /// Neighbour discovery and its like: never tracked.
    Untracked = 1,
    /// TCP.
    Tcp = 2,
    /// UDP and, where it leaves, UDP-Lite.
    Udp = 3,
    /// A query that may begin a connection, or its answer.
    Icmp = 4,
    /// An ICMP error: about the connection with this key, if there is one.
    Error = 5,
    /// GRE.
    Gre = 6,
    /// Anything else.
    Generic = 7,
    /// SCTP.
    Sctp = 8,
}

/// What a packet asks the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// How it is tracked.
    pub class: Class,
    /// The key of its connection.
    pub key: Key,
    /// Whether it goes from the key's first end to the second.
    pub forward: bool,
    /// Whether only an entry may answer: it is an answer itself.
    pub is_answer: bool,
}

impl Question {
    /// Whether the kernel's table can be asked at XDP (`bpf_xdp_ct_lookup`), or the answer is known without.
    pub fn is_answered_by_kernel(&self) -> bool {
        let known = [Class::Invalid, Class::Untracked].contains(&self.class);
        known || [protocol::TCP, protocol::UDP].contains(&self.key.0[Key::PROTOCOL])
    }
}

const INVALID: Question = Question {
    class: Class::Invalid,
    key: Key([0; Key::SIZE]),
    forward: false,
    is_answer: false,
};

/// Protocol numbers.
#[allow(missing_docs)]
pub mod protocol {
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const GRE: u8 = 47;
    pub const ICMP6: u8 = 58;
    /// What follows is no header.
    pub const NONE: u8 = 59;
    pub const SCTP: u8 = 132;
    pub const UDPLITE: u8 = 136;
}

/// The type of PPP in GRE (`GRE_PROTO_PPP`).
pub const PPP: [u8; 2] = [0x88, 0x0b];
/// The queries of ICMP with their answers (`invmap` of nf_conntrack_proto_icmp.c).
pub const QUERIES4: [(u8, u8); 4] = [(8, 0), (13, 14), (15, 16), (17, 18)];
/// The queries of ICMPv6.
pub const QUERIES6: [(u8, u8); 2] = [(128, 129), (139, 140)];
/// The errors of ICMP (`icmp_is_err`); of ICMPv6, all types below 128.
pub const ERRORS4: [u8; 5] = [3, 4, 5, 11, 12];
/// The types of ICMPv6 that are never tracked (`noct_valid_new` of nf_conntrack_proto_icmpv6.c).
pub const UNTRACKED6: [u8; 10] = [130, 131, 132, 133, 134, 135, 136, 143, 151, 152];
/// The first type of ICMPv6 that is no error.
pub const FIRST_QUERY6: u8 = 128;

/// Says which connection a packet belongs to. `arrives` tells whether it has come from outside.
pub fn resolve(packet: &Packet<'_>, arrives: bool) -> Question {
    let is_whole = packet.get(Field::BrokenHeaders) == 0 && packet.get(Field::FragmentOffset) == 0;
    if !is_whole {
        return INVALID;
    }
    let family = packet.family();
    let [source, destination] = ends(packet);
    let inside = Inside {
        family,
        bytes: packet.bytes(),
        protocol: packet.get(Field::Protocol) as u8,
        transport: packet.transport(),
        source,
        destination,
    };
    match (family, inside.protocol) {
        (Family::V4, protocol::ICMP) | (Family::V6, protocol::ICMP6) => icmp(&inside, destination),
        (_, protocol::UDPLITE) if arrives => INVALID,
        _ => inside.question(),
    }
}

fn icmp(packet: &Inside<'_>, destination: [u8; 16]) -> Question {
    let Some(&[kind, ..]) = packet.header::<8>() else {
        return INVALID;
    };
    let is_error = match packet.family {
        Family::V4 => ERRORS4.contains(&kind),
        Family::V6 => kind < FIRST_QUERY6,
    };
    if packet.family == Family::V6 && UNTRACKED6.contains(&kind) {
        return Question {
            class: Class::Untracked,
            ..INVALID
        };
    }
    if !is_error {
        return packet.question();
    }
    let about = packet
        .bytes
        .get(packet.transport + 8..)
        .and_then(|bytes| inner(packet.family, bytes));
    match about {
        // It must come back to whoever sent what it tells of.
        Some((question, sender)) if sender == destination => Question {
            class: Class::Error,
            ..question
        },
        _ => INVALID,
    }
}

/// The question of a packet inside an ICMP error, as its answer would ask, and who sent it.
fn inner(family: Family, bytes: &[u8]) -> Option<(Question, [u8; 16])> {
    let packet = Packet::new(family, bytes, &Default::default())?;
    let is_whole = packet.get(Field::BrokenHeaders) == 0 && packet.get(Field::FragmentOffset) == 0;
    let [source, destination] = ends(&packet);
    let inside = Inside {
        family,
        bytes,
        protocol: packet.get(Field::Protocol) as u8,
        transport: packet.transport(),
        source,
        destination,
    };
    let question = inside.question();
    let known = is_whole && packet.transport() <= bytes.len() && question.class != Class::Invalid;
    known.then_some((
        Question {
            forward: !question.forward,
            ..question
        },
        source,
    ))
}

/// A packet as far as its protocol is concerned.
struct Inside<'a> {
    family: Family,
    bytes: &'a [u8],
    protocol: u8,
    transport: usize,
    source: [u8; 16],
    destination: [u8; 16],
}

impl<'a> Inside<'a> {
    fn header<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.bytes.get(self.transport..)?.first_chunk()
    }

    /// The question of a packet that is no ICMP error.
    fn question(&self) -> Question {
        self.with_ports().unwrap_or(INVALID)
    }

    fn with_ports(&self) -> Option<Question> {
        use protocol::{GRE, ICMP, ICMP6, NONE, SCTP, TCP, UDP, UDPLITE};
        let class = match (self.family, self.protocol) {
            (Family::V4, ICMP) => return self.query(&QUERIES4),
            (Family::V6, ICMP6) => return self.query(&QUERIES6),
            (Family::V4, ICMP6) | (Family::V6, ICMP | NONE) => return None,
            (_, TCP) => Class::Tcp,
            (_, UDP | UDPLITE) => Class::Udp,
            (_, GRE) => Class::Gre,
            (_, SCTP) => Class::Sctp,
            _ => Class::Generic,
        };
        let [from, to] = match self.protocol {
            TCP | UDP | UDPLITE | SCTP => {
                let &[a, b, c, d] = self.header()?;
                [[a, b], [c, d]]
            }
            GRE => [[0; 2], self.gre_call()?],
            _ => [[0; 2]; 2],
        };
        let forward = (self.source, from) <= (self.destination, to);
        Some(Question {
            class,
            key: self.key(forward, [from, to], [0, 0]),
            forward,
            is_answer: false,
        })
    }

    /// What GRE has in the place of a destination port: the call of PPTP's version, else 0. None for
    /// that version around anything but PPP (`gre_pkt_to_tuple`).
    fn gre_call(&self) -> Option<[u8; 2]> {
        match self.header::<8>() {
            Some(&[_, version, protocol, more, _, _, call, more_call]) if version & 7 == 1 => {
                ([protocol, more] == PPP).then_some([call, more_call])
            }
            _ => Some([0; 2]),
        }
    }

    /// A query or its answer; the side that asks comes first.
    fn query(&self, queries: &[(u8, u8)]) -> Option<Question> {
        let &[kind, code, _, _, id, more_id, ..] = self.header::<8>()?;
        let &(query, _) = queries
            .iter()
            .find(|(query, answer)| kind == *query || kind == *answer)?;
        let forward = kind == query;
        let ports = match forward {
            true => [[id, more_id], [0; 2]],
            false => [[0; 2], [id, more_id]],
        };
        Some(Question {
            class: Class::Icmp,
            key: self.key(forward, ports, [query, code]),
            forward,
            is_answer: !forward,
        })
    }

    fn key(&self, forward: bool, ports: [[u8; 2]; 2], icmp: [u8; 2]) -> Key {
        let mut key = [0; Key::SIZE];
        let [from, to] = match forward {
            true => [(self.source, ports[0]), (self.destination, ports[1])],
            false => [(self.destination, ports[1]), (self.source, ports[0])],
        };
        key[Key::FIRST..Key::SECOND].copy_from_slice(&from.0);
        key[Key::SECOND..Key::FIRST_PORT].copy_from_slice(&to.0);
        key[Key::FIRST_PORT..Key::SECOND_PORT].copy_from_slice(&from.1);
        key[Key::SECOND_PORT..Key::PROTOCOL].copy_from_slice(&to.1);
        key[Key::PROTOCOL] = self.protocol;
        key[Key::FAMILY] = match self.family {
            Family::V4 => 4,
            Family::V6 => 6,
        };
        key[Key::ICMP_TYPE..].copy_from_slice(&icmp);
        Key(key)
    }
}

/// The addresses of a packet; IPv4's take the first four bytes.
fn ends(packet: &Packet<'_>) -> [[u8; 16]; 2] {
    match packet.family() {
        Family::V4 => [Field::Source4, Field::Destination4].map(|field| {
            let mut address = [0; 16];
            address[..4].copy_from_slice(&(packet.get(field) as u32).to_be_bytes());
            address
        }),
        Family::V6 => {
            [Field::Source6, Field::Destination6].map(|field| packet.get(field).to_be_bytes())
        }
    }
}
