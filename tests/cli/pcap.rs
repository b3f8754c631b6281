//! Captures to read: packets, their frames, and the files that hold them.

/// How numbers of a capture are written.
#[derive(Clone, Copy)]
pub enum Order {
    Little,
    Big,
}

impl Order {
    pub fn words(self, words: &[u32]) -> Vec<u8> {
        let bytes = words.iter().map(|word| match self {
            Order::Little => word.to_le_bytes(),
            Order::Big => word.to_be_bytes(),
        });
        bytes.flatten().collect()
    }

    /// Two halves of a word.
    pub fn halves(self, first: u32, second: u32) -> u32 {
        match self {
            Order::Little => second << 16 | first,
            Order::Big => first << 16 | second,
        }
    }
}

pub const ETHERNET: u32 = 1;
pub const RAW_IP: u32 = 101;
pub const COOKED: u32 = 113;
pub const COOKED_2: u32 = 276;

/// A pcap file whose times have so many units in a second; a packet comes each tenth of one.
pub fn pcap(order: Order, units: u32, link_type: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let magic = match units {
        1_000_000 => 0xa1b2_c3d4,
        _ => 0xa1b2_3c4d,
    };
    let head = [magic, order.halves(2, 4), 0, 0, 65535, link_type];
    let mut file = order.words(&head);
    for (frame, number) in frames.iter().zip(0..) {
        let length = frame.len() as u32;
        let time = [1_700_000_000 + number / 10, number % 10 * (units / 10)];
        file.extend(order.words(&[time[0], time[1], length, length]));
        file.extend(frame);
    }
    file
}

/// The same as pcapng, with times in microseconds.
pub fn pcapng(order: Order, link_type: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let block = |kind: u32, body: Vec<u8>| {
        let length = body.len() as u32 + 12;
        let ends = [order.words(&[kind, length]), order.words(&[length])];
        [&ends[0][..], &body, &ends[1]].concat()
    };
    let version = order.halves(1, 0);
    let section = [0x1a2b_3c4d, version, u32::MAX, u32::MAX];
    let interface = [order.halves(link_type, 0), 65535];
    let mut file = block(0x0a0d_0d0a, order.words(&section));
    file.extend(block(1, order.words(&interface)));
    for (frame, number) in frames.iter().zip(0u64..) {
        let time = 1_700_000_000_000_000 + number * 100_000;
        let length = frame.len() as u32;
        let head = [0, (time >> 32) as u32, time as u32, length, length];
        let padding = vec![0; frame.len().next_multiple_of(4) - frame.len()];
        file.extend(block(
            6,
            [&order.words(&head)[..], frame, &padding].concat(),
        ));
    }
    file
}

pub const HOST: [u8; 4] = [192, 0, 2, 1];
pub const PEER: [u8; 4] = [10, 0, 0, 5];

/// An IPv4 packet with a right checksum.
pub fn ipv4(protocol: u8, ends: [[u8; 4]; 2], payload: &[u8]) -> Vec<u8> {
    let length = 20 + payload.len() as u8;
    let mut packet = vec![0x45, 0, 0, length, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    packet.extend(ends.concat());
    let words = packet.chunks_exact(2);
    let sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// A TCP segment with these ports and flags, of which the first has sequence number 0.
pub fn tcp(ends: [[u8; 4]; 2], ports: [u16; 2], sequence: [u8; 2], flags: u8) -> Vec<u8> {
    let mut segment = ports.map(u16::to_be_bytes).concat();
    segment.extend([0, 0, 0, sequence[0], 0, 0, 0, sequence[1]]);
    segment.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    ipv4(6, ends, &segment)
}

/// A dialogue on SSH, with others that try, in IP packets.
pub fn dialogue() -> Vec<Vec<u8>> {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let (there, back) = ([PEER, HOST], [HOST, PEER]);
    vec![
        tcp(there, [40000, 22], [0, 0], SYN),
        tcp(there, [40001, 22], [0, 0], SYN),
        tcp(there, [40002, 22], [0, 0], SYN),
        tcp(back, [22, 40000], [0, 1], SYN | ACK),
        tcp(there, [40000, 22], [1, 1], ACK),
        ipv4(1, there, &[8, 0, 0, 0, 0, 1, 0, 1]),
        ipv4(17, [PEER, [10, 0, 0, 6]], &[0, 53, 0, 53, 0, 8, 0, 0]),
    ]
}

/// An Ethernet frame around a packet, with a VLAN's tag.
pub fn ethernet(packet: &[u8]) -> Vec<u8> {
    let head = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 5, 0x81, 0, 0, 7, 0x08, 0x00,
    ];
    [&head, packet].concat()
}

pub fn cooked(packet: &[u8]) -> Vec<u8> {
    let head = [0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 5, 0, 0, 0x08, 0x00];
    [&head, packet].concat()
}

pub fn cooked_2(packet: &[u8]) -> Vec<u8> {
    let head = [
        0x08, 0x00, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 5, 0, 0,
    ];
    [&head, packet].concat()
}
