//! The records in the ring, as programs write them and readers read them.

use ipt2bpf_parser::ruleset::{Family, NfHook};

use super::line::Owner;
use crate::field::layout::nf_hook_number;
use crate::module::Hook;

/// The map with the ring.
pub const RING: &str = "log";
/// Its size in bytes.
pub const RING_SIZE: u32 = 1 << 20;
/// The map with the number of records for which the ring had no room: a `u64` in a
/// [`MapKind::State`](crate::module::MapKind::State) of one value.
pub const LOST: &str = "log_lost";

/// Bytes of a packet that a line can be made of: all headers that the LOG target looks at, but for long
/// chains of IPv6 extension headers.
pub const LINE_BYTES: u32 = 256;

/// Why a record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Occasion {
    /// A rule's target says so; the number is the rule's counter.
    Target,
    /// A traced packet matched a rule; the number is its counter.
    TracedRule,
    /// A traced packet met a policy; the number is its counter.
    TracedPolicy,
    /// A traced packet came to the end of a user chain; the number is the chain's.
    TracedReturn,
}

impl Occasion {
    const ALL: [Occasion; 4] = [
        Occasion::Target,
        Occasion::TracedRule,
        Occasion::TracedPolicy,
        Occasion::TracedReturn,
    ];

    /// Its number in a record.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// Where things lie in a record, in bytes from its start; numbers are in the byte order of the machine.
#[allow(missing_docs)]
pub mod layout {
    /// `CLOCK_MONOTONIC`, in nanoseconds: `u64`.
    pub const TIME: i16 = 0;
    /// `u32`
    pub const NUMBER: i16 = 8;
    /// `u8`
    pub const OCCASION: i16 = 12;
    /// As in `enum nf_inet_hooks`: `u8`.
    pub const NF_HOOK: i16 = 13;
    /// Index in [`Hook::ALL`](crate::module::Hook::ALL): `u8`.
    pub const HOOK: i16 = 14;
    /// Whether [`LINK_HEADER`] is there: `u8`.
    pub const HAS_LINK_HEADER: i16 = 15;
    /// `u32`, 0 for none.
    pub const IN_INDEX: i16 = 16;
    /// `u32`, 0 for none.
    pub const OUT_INDEX: i16 = 20;
    /// `u32`
    pub const MARK: i16 = 24;
    /// The packet's length from the IP header on: `u32`.
    pub const LENGTH: i16 = 28;
    /// How many bytes of the packet follow: `u32`.
    pub const CAPTURED: i16 = 32;
    /// 14 bytes.
    pub const LINK_HEADER: i16 = 36;
    /// Whether [`USER`] and [`GROUP`] are there: `u8`.
    pub const HAS_OWNER: i16 = 50;
    /// 16 bytes, zeros where the program does not know it.
    pub const IN_NAME: i16 = 56;
    /// 16 bytes, likewise.
    pub const OUT_NAME: i16 = 72;
    /// `u32`
    pub const USER: i16 = 88;
    /// `u32`
    pub const GROUP: i16 = 92;
    /// The packet from its IP header on.
    pub const BYTES: i16 = 96;
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Why.
    pub occasion: Occasion,
    /// For what rule, policy or chain.
    pub number: u32,
    /// In whose chains the packet was.
    pub nf_hook: NfHook,
    /// At which hook.
    pub hook: Hook,
    /// The receiving interface, 0 for none.
    pub in_index: u32,
    /// The sending interface, 0 for none.
    pub out_index: u32,
    /// The name of the receiving interface where the program knows it, else empty.
    pub in_name: String,
    /// The name of the sending interface, likewise.
    pub out_name: String,
    /// The first 14 bytes of the link layer's header of a received packet.
    pub link_header: Option<[u8; 14]>,
    /// Who has opened the socket that sends the packet, where the rule asks and programs can tell.
    pub owner: Option<Owner>,
    /// The packet's mark.
    pub mark: u32,
    /// The packet's length from the IP header on.
    pub length: u32,
    /// Its first bytes.
    pub bytes: Vec<u8>,
}

impl Record {
    /// Reads a record; none for bytes that no program of ours has written.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let occasion = Occasion::ALL.get(usize::from(number::<1>(bytes, layout::OCCASION)? as u8));
        let nf_hook = NF_HOOKS.into_iter().find(|&hook| {
            Some(u64::from(nf_hook_number(hook))) == number::<1>(bytes, layout::NF_HOOK)
        });
        let hook = Hook::ALL.get(number::<1>(bytes, layout::HOOK)? as usize);
        let has_link_header = number::<1>(bytes, layout::HAS_LINK_HEADER)? != 0;
        let owner = match number::<1>(bytes, layout::HAS_OWNER)? {
            0 => None,
            _ => Some(Owner {
                user: number::<4>(bytes, layout::USER)? as u32,
                group: number::<4>(bytes, layout::GROUP)? as u32,
            }),
        };
        let captured = number::<4>(bytes, layout::CAPTURED)? as usize;
        let packet = bytes.get(layout::BYTES as usize..)?.get(..captured)?;
        Some(Record {
            time: number::<8>(bytes, layout::TIME)?,
            occasion: *occasion?,
            number: number::<4>(bytes, layout::NUMBER)? as u32,
            nf_hook: nf_hook?,
            hook: *hook?,
            in_index: number::<4>(bytes, layout::IN_INDEX)? as u32,
            out_index: number::<4>(bytes, layout::OUT_INDEX)? as u32,
            in_name: name(bytes, layout::IN_NAME)?,
            out_name: name(bytes, layout::OUT_NAME)?,
            link_header: has_link_header.then_some(array(bytes, layout::LINK_HEADER)?),
            owner,
            mark: number::<4>(bytes, layout::MARK)? as u32,
            length: number::<4>(bytes, layout::LENGTH)? as u32,
            bytes: packet.to_vec(),
        })
    }

    /// The family of the packet.
    pub fn family(&self) -> Option<Family> {
        match self.bytes.first()? >> 4 {
            4 => Some(Family::V4),
            6 => Some(Family::V6),
            _ => None,
        }
    }
}

const NF_HOOKS: [NfHook; 5] = [
    NfHook::Prerouting,
    NfHook::Input,
    NfHook::Forward,
    NfHook::Output,
    NfHook::Postrouting,
];

fn array<const N: usize>(bytes: &[u8], at: i16) -> Option<[u8; N]> {
    bytes.get(at as usize..)?.first_chunk().copied()
}

/// A number of so many bytes.
fn number<const N: usize>(bytes: &[u8], at: i16) -> Option<u64> {
    let mut word = [0; 8];
    word[..N].copy_from_slice(&array::<N>(bytes, at)?);
    Some(u64::from_le_bytes(word))
}

fn name(bytes: &[u8], at: i16) -> Option<String> {
    let padded: [u8; 16] = array(bytes, at)?;
    let name = padded.split(|&byte| byte == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(name).into_owned())
}
