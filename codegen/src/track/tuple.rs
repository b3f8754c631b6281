//! How the two sides of a connection send: what the kernel keeps as its tuples
//! (`struct nf_conntrack_tuple`).

use ipt2bpf_parser::ruleset::Family;

use super::Key;
use super::resolve::{QUERIES4, QUERIES6, Question, protocol};

/// The packets of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// The source address; IPv4 takes the first four bytes.
    pub source: [u8; 16],
    /// The destination address.
    pub destination: [u8; 16],
    /// The source port; the identifier of an ICMP query.
    pub source_port: u16,
    /// The destination port; type and code of an ICMP query.
    pub destination_port: u16,
}

/// The protocol of ICMP queries of a family.
pub const fn icmp_of(family: Family) -> u8 {
    match family {
        Family::V4 => protocol::ICMP,
        Family::V6 => protocol::ICMP6,
    }
}

/// The queries of a family, each with its answer.
pub const fn queries_of(family: Family) -> &'static [(u8, u8)] {
    match family {
        Family::V4 => &QUERIES4,
        Family::V6 => &QUERIES6,
    }
}

impl Question {
    /// The tuples of the original and the reply direction, for a packet of this direction.
    pub fn tuples(&self, direction: u8) -> [Tuple; 2] {
        self.key.tuples(self.forward == (direction == 0))
    }
}

impl Key {
    /// The tuples of the original and the reply direction, when the original goes forward or not.
    pub fn tuples(&self, forward: bool) -> [Tuple; 2] {
        let (bytes, family) = (&self.0, self.family());
        let address = |at: usize| -> [u8; 16] { std::array::from_fn(|index| bytes[at + index]) };
        let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let first = (address(Key::FIRST), port(Key::FIRST_PORT));
        let second = (address(Key::SECOND), port(Key::SECOND_PORT));
        let (opener, other) = match forward {
            true => (first, second),
            false => (second, first),
        };
        let tuple = |from: ([u8; 16], u16), to: ([u8; 16], u16)| Tuple {
            source: from.0,
            destination: to.0,
            source_port: from.1,
            destination_port: to.1,
        };
        let mut tuples = [tuple(opener, other), tuple(other, opener)];
        if bytes[Key::PROTOCOL] == icmp_of(family) {
            let (query, code) = (bytes[Key::ICMP_TYPE], bytes[Key::ICMP_CODE]);
            let known = queries_of(family).iter().find(|it| it.0 == query);
            let answer = known.map_or(query, |it| it.1);
            for (tuple, kind) in tuples.iter_mut().zip([query, answer]) {
                tuple.source_port = opener.1;
                tuple.destination_port = u16::from_be_bytes([kind, code]);
            }
        }
        tuples
    }
}
