//! Conversations: packets of two hosts, mostly as they would talk, some hostile.

use std::fmt;
use std::net::IpAddr;

use ipt2bpf_parser::ruleset::Family;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// One packet of a conversation.
#[derive(Clone)]
pub struct Sent {
    /// Whether this host sends it.
    pub leaves: bool,
    /// Its family.
    pub family: Family,
    /// From the IP header on.
    pub bytes: Vec<u8>,
    /// When, in ticks.
    pub jiffies: u64,
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.leaves { "leaves" } else { "arrives" };
        let header = if self.family == Family::V4 { 20 } else { 40 };
        let protocol = self.bytes[if header == 20 { 9 } else { 6 }];
        write!(f, "{way} at {}, protocol {protocol}:", self.jiffies)?;
        let transport = self.bytes[header..].iter();
        transport
            .into_iter()
            .try_for_each(|byte| write!(f, " {byte:02x}"))
    }
}

/// The two hosts, of one family.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The address of this host.
    pub here: IpAddr,
    /// Of the other.
    pub there: IpAddr,
    /// Whether this host has the port that they talk about; else the other.
    pub serves: bool,
}

impl Ends {
    /// The hosts of a network by its number.
    pub fn numbered(network: u8, family: Family, serves: bool) -> Self {
        let host = |number: u8| match family {
            Family::V4 => IpAddr::from([10, 0, network, number]),
            Family::V6 => {
                let mut address = [0; 16];
                address[..6].copy_from_slice(&[0x20, 1, 0x0d, 0xb8, 0, network]);
                address[15] = number;
                IpAddr::from(address)
            }
        };
        Ends {
            here: host(1),
            there: host(2),
            serves,
        }
    }

    fn family(&self) -> Family {
        match self.here {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// The ports of a packet: of the side that has the one they talk about, and of the other.
    fn ports(&self, leaves: bool, port: u16, own: u16) -> Vec<u8> {
        let ports = match leaves == self.serves {
            true => [port, own],
            false => [own, port],
        };
        ports.map(u16::to_be_bytes).concat()
    }

    fn addresses(&self, leaves: bool) -> Vec<u8> {
        let ends = match leaves {
            true => [self.here, self.there],
            false => [self.there, self.here],
        };
        let bytes = ends.map(|end| match end {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        });
        bytes.concat()
    }
}

/// An act of one of the two.
#[derive(Clone, Debug)]
enum Act {
    Tcp {
        leaves: bool,
        flags: u8,
        /// Added to the number that would be right.
        sequence: i32,
        ack: i32,
        window: u16,
        payload: u8,
        options: &'static [u8],
    },
    Udp {
        leaves: bool,
        port: u16,
    },
    Sctp {
        leaves: bool,
        tag: Tag,
        /// Types and flags.
        chunks: Vec<(u8, u8)>,
    },
    Echo {
        leaves: bool,
        answer: bool,
    },
    /// An error about an earlier packet, by its distance.
    Error {
        about: usize,
        to_sender: bool,
    },
    Other {
        leaves: bool,
        protocol: u8,
    },
    /// Nothing for so many seconds.
    Pause(u32),
}

/// The verification tag of a packet of SCTP.
#[derive(Clone, Copy, Debug)]
enum Tag {
    /// That which the chunks want.
    Right,
    /// That of the other direction.
    Turned,
    /// Another. INITs give another as well.
    Other(u32),
}

/// The types of chunks that change an association, DATA, SACK, and one that nobody knows.
const CHUNKS: [u8; 15] = [0, 0, 1, 2, 3, 4, 4, 5, 5, 6, 7, 8, 9, 14, 200];
/// The types of chunks that set an association up.
const HANDSHAKE: [(u8, bool); 4] = [(1, true), (2, false), (10, true), (11, false)];

fn association() -> impl Strategy<Value = Act> {
    let tag = prop_oneof![
        8 => Just(Tag::Right),
        1 => Just(Tag::Turned),
        1 => select(&[0, 7, 0x0a00_0001][..]).prop_map(Tag::Other),
    ];
    let one = prop_oneof![
        2 => select(&CHUNKS[..]),
        1 => select(&HANDSHAKE[..]).prop_map(|it| it.0),
    ];
    let chunks = vec((one, 0..2u8), 1..2);
    let more = vec((select(&CHUNKS[..]), 0..2u8), 0..4);
    let chunks = prop_oneof![3 => chunks, 1 => more];
    (any::<bool>(), tag, chunks).prop_map(|(leaves, tag, chunks)| Act::Sctp {
        leaves,
        tag,
        chunks,
    })
}

/// MSS; window scale and SACK permitted; timestamps; a SACK block far ahead and one close by; broken.
const OPTIONS: [&[u8]; 7] = [
    &[],
    &[2, 4, 5, 180],
    &[1, 3, 3, 7, 4, 2, 0, 0],
    &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
    &[1, 1, 5, 10, 0, 0, 10, 0, 0, 0, 11, 0],
    &[3, 3, 20, 1],
    &[9, 0, 4, 2],
];

fn act(ports: &[u16]) -> impl Strategy<Value = Act> + use<> {
    let udp_ports = [&[53], ports].concat();
    let right = prop_oneof![6 => Just(0), 1 => -3..4i32, 1 => select(&[-70_000, 70_000, 2_000_000_000][..])];
    let flags = select(
        &[
            0x02u8, 0x12, 0x10, 0x10, 0x18, 0x11, 0x04, 0x14, 0x00, 0x03, 0x30,
        ][..],
    );
    let tcp = (
        any::<bool>(),
        flags,
        right.clone(),
        right,
        select(&[0u16, 1, 500, 65535][..]),
        select(&[0u8, 0, 1, 20][..]),
        select(&OPTIONS[..]),
    );
    let tcp = tcp.prop_map(
        |(leaves, flags, sequence, ack, window, payload, options)| Act::Tcp {
            leaves,
            flags,
            sequence,
            ack,
            window,
            payload,
            options,
        },
    );
    prop_oneof![
        12 => tcp,
        6 => association(),
        2 => (any::<bool>(), select(udp_ports)).prop_map(|(leaves, port)| Act::Udp { leaves, port }),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(leaves, answer)| Act::Echo { leaves, answer }),
        2 => (0..6usize, prop::bool::weighted(0.8)).prop_map(|(about, to_sender)| Act::Error { about, to_sender }),
        1 => (any::<bool>(), select(&[47u8, 50, 59, 132, 136, 1, 58][..])).prop_map(|(leaves, protocol)| Act::Other { leaves, protocol }),
        1 => select(&[1u32, 3, 11, 31, 121, 301, 500_000][..]).prop_map(Act::Pause),
    ]
}

/// The ports that conversations are about.
pub const PORTS: [u16; 2] = [80, 4000];

/// A [conversation](between) of the two hosts of a network by its number.
pub fn conversation(
    network: u8,
    family: Family,
    ports: &[u16],
) -> impl Strategy<Value = Vec<Sent>> + use<> {
    let ports = ports.to_vec();
    any::<bool>().prop_flat_map(move |serves| {
        let ends = Ends::numbered(network, family, serves);
        between(ends, &ports)
    })
}

/// A handshake, or none, and what follows, about one of these ports.
pub fn between(ends: Ends, ports: &[u16]) -> impl Strategy<Value = Vec<Sent>> + use<> {
    let port = select(ports.to_vec());
    let drawn = (
        port,
        any::<bool>(),
        0..4usize,
        0..5usize,
        vec(act(ports), 1..24),
    );
    drawn.prop_map(move |(port, client, handshake, association, acts)| {
        let step = |leaves: bool, flags: u8| Act::Tcp {
            leaves,
            flags,
            sequence: 0,
            ack: 0,
            window: 1000,
            payload: 0,
            options: OPTIONS[2],
        };
        let opening = [step(client, 0x02), step(!client, 0x12), step(client, 0x10)];
        let mut talk = Talk::new(ends, port);
        let associates = HANDSHAKE.map(|(chunk, by_client)| Act::Sctp {
            leaves: client == by_client,
            tag: Tag::Right,
            chunks: vec![(chunk, 0)],
        });
        let opening = opening.into_iter().take(handshake);
        let acts = opening
            .chain(associates.into_iter().take(association))
            .chain(acts);
        acts.for_each(|act| talk.act(act));
        talk.sent
    })
}

struct Talk {
    ends: Ends,
    port: u16,
    /// The next sequence number of this host and of the other.
    next: [u32; 2],
    jiffies: u64,
    sent: Vec<Sent>,
}

impl Talk {
    fn new(ends: Ends, port: u16) -> Self {
        Talk {
            ends,
            port,
            next: [0xffff_fff0, 1000],
            jiffies: 4_294_000_000,
            sent: Vec::new(),
        }
    }

    fn act(&mut self, act: Act) {
        self.jiffies += 1;
        match act {
            Act::Pause(seconds) => self.jiffies += u64::from(seconds) * 250,
            Act::Tcp {
                leaves,
                flags,
                sequence,
                ack,
                window,
                payload,
                options,
            } => {
                let (own, other) = if leaves { (0, 1) } else { (1, 0) };
                let number = self.next[own].wrapping_add_signed(sequence);
                let acknowledged = self.next[other].wrapping_add_signed(ack);
                let mut bytes = self.ends.ports(leaves, self.port, 33000);
                bytes.extend(number.to_be_bytes());
                bytes.extend(acknowledged.to_be_bytes());
                bytes.extend([((20 + options.len()) as u8) << 2, flags]);
                bytes.extend(window.to_be_bytes());
                bytes.extend([0; 4]);
                bytes.extend(options);
                bytes.extend(vec![0; payload.into()]);
                if sequence == 0 {
                    let room = u32::from(flags & 2 != 0) + u32::from(flags & 1 != 0);
                    self.next[own] = number.wrapping_add(u32::from(payload) + room);
                }
                self.send(leaves, 6, bytes);
            }
            Act::Udp { leaves, port } => {
                let mut bytes = self.ends.ports(leaves, port, 5000);
                bytes.extend([0, 9, 0, 0, 7]);
                self.send(leaves, 17, bytes);
            }
            Act::Sctp {
                leaves,
                tag,
                chunks,
            } => self.association(leaves, tag, &chunks),
            Act::Echo { leaves, answer } => {
                let (protocol, kinds) = match self.ends.family() {
                    Family::V4 => (1, [8, 0]),
                    Family::V6 => (58, [128, 129]),
                };
                let kind = kinds[usize::from(answer)];
                self.send(leaves, protocol, vec![kind, 0, 0, 0, 0, 7, 0, 1]);
            }
            Act::Error { about, to_sender } => {
                let Some(index) = self.sent.len().checked_sub(about + 1) else {
                    return;
                };
                let packet = self.sent[index].clone();
                let (protocol, kind) = match self.ends.family() {
                    Family::V4 => (1, 3),
                    Family::V6 => (58, 1),
                };
                let mut bytes = vec![kind, 1, 0, 0, 0, 0, 0, 0];
                bytes.extend(packet.bytes.iter().take(72));
                self.send(packet.leaves != to_sender, protocol, bytes);
            }
            Act::Other { leaves, protocol } => {
                self.send(
                    leaves,
                    protocol,
                    vec![0, 1, 0x88, 0x0b, 0, 12, 0, 0, 0, 0, 0, 0],
                );
            }
        }
    }

    fn association(&mut self, leaves: bool, tag: Tag, chunks: &[(u8, u8)]) {
        /// What each side wants to see.
        const TAGS: [u32; 2] = [0x0a00_0001, 0x0b00_0002];
        let [own, peers] = match leaves {
            true => TAGS,
            false => [TAGS[1], TAGS[0]],
        };
        let begins = chunks.first().is_some_and(|it| it.0 == 1);
        let (header, given) = match tag {
            Tag::Right if begins => (0, own),
            Tag::Right => (peers, own),
            Tag::Turned => (own, peers),
            Tag::Other(number) => (number, number),
        };
        let mut bytes = self.ends.ports(leaves, self.port, 33000);
        bytes.extend(header.to_be_bytes());
        bytes.extend([0; 4]);
        for &(kind, flags) in chunks {
            let body: Vec<u8> = match kind {
                1 | 2 => [
                    &given.to_be_bytes()[..],
                    &[0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1],
                ]
                .concat(),
                0 => vec![7; 13],
                _ => Vec::new(),
            };
            bytes.extend([kind, flags]);
            bytes.extend((4 + body.len() as u16).to_be_bytes());
            bytes.extend(&body);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        self.send(leaves, 132, bytes);
    }

    fn send(&mut self, leaves: bool, protocol: u8, transport: Vec<u8>) {
        let mut bytes = match self.ends.family() {
            Family::V4 => {
                let length = (20 + transport.len()) as u16;
                let mut bytes = vec![0x45, 0];
                bytes.extend(length.to_be_bytes());
                bytes.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
                bytes
            }
            Family::V6 => {
                let mut bytes = vec![0x60, 0, 0, 0];
                bytes.extend((transport.len() as u16).to_be_bytes());
                bytes.extend([protocol, 64]);
                bytes
            }
        };
        bytes.extend(self.ends.addresses(leaves));
        bytes.extend(transport);
        self.sent.push(Sent {
            leaves,
            family: self.ends.family(),
            bytes,
            jiffies: self.jiffies,
        });
    }
}
