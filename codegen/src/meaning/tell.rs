//! Telling of a packet: a record for [`log`](crate::log) in the ring. A full ring loses the record and
//! counts the loss; the packet waits for nobody.

use std::fmt;

use ipt2bpf_parser::ruleset::{Family, NfHook};

use super::sender;
use crate::asm::{Alu, Cond, FunctionId, Helper, Imm64, Label, MapId, Reg, Size};
use crate::emit::link::{Body, CONTEXT, Call, Linker, PACKET};
use crate::field::{Field, layout};
use crate::log::line::Owner;
use crate::log::record::{self, LOST, Occasion, RING, RING_SIZE};
use crate::module::{Hook, MapKind};
use crate::packet::Packet;
use crate::routine::{Perform, World};

/// Room for bytes of the packet in a record. A record takes the least that is enough.
const ROOMS: [u32; 3] = [record::LINE_BYTES, 2048, MOST_BYTES];
/// The most that is told of a packet.
pub const MOST_BYTES: u32 = 1 << 16;

/// Offsets in `struct __sk_buff` (include/uapi/linux/bpf.h).
mod skb {
    pub const IFINDEX: i16 = 40;
}

/// Offsets in `struct xdp_md`.
mod xdp {
    pub const DATA: i16 = 0;
    pub const DATA_END: i16 = 4;
    pub const INGRESS_IFINDEX: i16 = 12;
}

/// Bytes of an Ethernet header.
const ETHERNET: i32 = 14;
/// `BPF_HDR_START_MAC`
const FROM_LINK_HEADER: i32 = 0;

/// Writes a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tell {
    /// Why.
    pub occasion: Occasion,
    /// For what rule, policy or chain.
    pub number: u32,
    /// At most so many bytes of the packet are told.
    pub bytes: u32,
    /// Whether it is told who has opened the socket.
    pub owner: bool,
}

/// What the reference says of a record: all that does not depend on the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    /// See [`Record`](record::Record).
    pub occasion: Occasion,
    /// See [`Record`](record::Record).
    pub number: u32,
    /// See [`Record`](record::Record).
    pub nf_hook: NfHook,
    /// See [`Record`](record::Record).
    pub owner: Option<Owner>,
    /// See [`Record`](record::Record).
    pub mark: u32,
    /// See [`Record`](record::Record).
    pub length: u32,
    /// The packet's first bytes.
    pub bytes: Vec<u8>,
}

impl Tell {
    fn is_trace(&self) -> bool {
        self.occasion != Occasion::Target
    }
}

impl Perform for Tell {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        if self.is_trace() && !packet.is_traced() {
            return 0;
        }
        let bytes = packet.bytes();
        let captured = bytes.len().min(self.bytes as usize);
        world.told.push(Telling {
            occasion: self.occasion,
            number: self.number,
            nf_hook: packet.nf_hook(),
            owner: self.owner.then(|| sender::of(packet)).flatten(),
            mark: packet.mark(),
            length: bytes.len() as u32,
            bytes: bytes[..captured].to_vec(),
        });
        0
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let ring = linker.map(RING, MapKind::Ring { bytes: RING_SIZE });
        let (entries, bytes) = (1, 8);
        let lost = linker.map(LOST, MapKind::State { entries, bytes });
        let needed = ROOMS.partition_point(|&room| room < self.bytes) + 1;
        let rooms = &ROOMS[..needed.min(ROOMS.len())];
        let family = linker.family;
        let (name, only_traced) = match (self.is_trace(), self.owner) {
            (true, _) => ("trace", true),
            (false, true) => ("tell_with_owner", false),
            (false, false) => ("tell", false),
        };
        let owner = self.owner.then(|| sender::link(linker));
        let function = linker.function(name, 3, |body| {
            let done = body.code.label();
            if only_traced {
                let code = &mut body.code;
                code.load(Size::B, Reg::R1, PACKET, layout::TRACED);
                code.branch(Cond::Eq, Reg::R1, 0, done);
            }
            let writer = Writer {
                ring,
                lost: body.code.label(),
                done,
                family,
                owner,
            };
            writer.records(body, rooms);
            body.code.bind(writer.lost);
            count_loss(body, lost);
            body.code.bind(done);
            body.answer(0);
        });
        Call {
            function,
            arguments: vec![self.number, self.occasion.number().into(), self.bytes],
        }
    }

    fn reads(&self) -> Vec<Field> {
        let mut fields = vec![Field::Mark];
        if self.owner {
            fields.extend(sender::READS);
        }
        fields
    }

    fn sees_hops(&self) -> bool {
        true
    }

    fn only_tells(&self) -> bool {
        true
    }
}

/// How many bytes are told.
const CAPTURED: Reg = Reg::R8;
/// The record.
const RECORD: Reg = Reg::R9;
/// Where the arguments are kept.
const NUMBER: i16 = -4;
/// See [`NUMBER`].
const OCCASION: i16 = -8;

struct Writer {
    ring: MapId,
    lost: Label,
    done: Label,
    family: Family,
    /// What tells of the socket, where that is asked for.
    owner: Option<FunctionId>,
}

impl Writer {
    /// A record with the least room that is enough.
    fn records(&self, body: &mut Body, rooms: &[u32]) {
        let code = &mut body.code;
        code.store(Size::W, Reg::R10, NUMBER, Reg::R3);
        code.store(Size::W, Reg::R10, OCCASION, Reg::R4);
        code.load(Size::W, CAPTURED, PACKET, layout::LENGTH);
        let short = code.label();
        code.branch(Cond::Le, CAPTURED, Reg::R5, short);
        code.mov(CAPTURED, Reg::R5);
        code.bind(short);
        for (number, &room) in rooms.iter().enumerate() {
            let (fits, larger) = (body.code.label(), body.code.label());
            let room = room as i32;
            match number + 1 == rooms.len() {
                true => {
                    body.code.branch(Cond::Le, CAPTURED, room, fits);
                    body.code.mov(CAPTURED, room);
                    body.code.bind(fits);
                    self.record(body, room);
                }
                false => {
                    body.code.branch(Cond::Gt, CAPTURED, room, larger);
                    self.record(body, room);
                    body.code.bind(larger);
                }
            }
        }
    }

    fn record(&self, body: &mut Body, room: i32) {
        let code = &mut body.code;
        code.load_imm64(Reg::R1, Imm64::Map(self.ring));
        code.mov(Reg::R2, i32::from(record::layout::BYTES) + room);
        code.mov(Reg::R3, 0);
        code.call(Helper::RingbufReserve);
        code.branch(Cond::Eq, Reg::R0, 0, self.lost);
        code.mov(RECORD, Reg::R0);
        code.call(Helper::KtimeGetNs);
        code.store(Size::D, RECORD, record::layout::TIME, Reg::R0);
        for (size, from, offset, to) in [
            (Size::W, Reg::R10, NUMBER, record::layout::NUMBER),
            (Size::B, Reg::R10, OCCASION, record::layout::OCCASION),
            (Size::B, PACKET, layout::NF_HOOK, record::layout::NF_HOOK),
            (Size::W, PACKET, layout::LENGTH, record::layout::LENGTH),
        ] {
            code.load(size, Reg::R1, from, offset);
            code.store(size, RECORD, to, Reg::R1);
        }
        let mark = Field::Mark.place().offset;
        code.load(Size::W, Reg::R1, PACKET, mark);
        code.store(Size::W, RECORD, record::layout::MARK, Reg::R1);
        for (field, to) in [
            (Field::InDevice, record::layout::IN_NAME),
            (Field::OutDevice, record::layout::OUT_NAME),
        ] {
            for half in [0, 8] {
                code.load(Size::D, Reg::R1, PACKET, field.place().offset + half);
                code.store(Size::D, RECORD, to + half, Reg::R1);
            }
        }
        code.store(Size::W, RECORD, record::layout::CAPTURED, CAPTURED);
        self.owner(body);
        self.system(body);
        self.link_header(body);
        self.bytes(body);
        let code = &mut body.code;
        code.mov(Reg::R1, RECORD);
        code.mov(Reg::R2, 0);
        code.call(Helper::RingbufSubmit);
        code.jump(self.done);
    }

    /// Who has opened the socket.
    fn owner(&self, body: &mut Body) {
        use sender::Question::{Group, Known, User};
        let code = &mut body.code;
        code.store(Size::B, RECORD, record::layout::HAS_OWNER, 0);
        code.store(Size::W, RECORD, record::layout::USER, 0);
        code.store(Size::W, RECORD, record::layout::GROUP, 0);
        for (question, size, to) in [
            (Known, Size::B, record::layout::HAS_OWNER),
            (User, Size::W, record::layout::USER),
            (Group, Size::W, record::layout::GROUP),
        ] {
            if let Some(owner) = self.owner {
                code.mov(Reg::R1, CONTEXT);
                code.mov(Reg::R2, PACKET);
                code.mov(Reg::R3, question as i32);
                code.call_function(owner);
                code.store(size, RECORD, to, Reg::R0);
            }
        }
    }

    /// The hook and the interfaces.
    fn system(&self, body: &mut Body) {
        let hook = body.hook;
        let code = &mut body.code;
        let number = Hook::ALL.iter().position(|&it| it == hook).unwrap_or(0);
        code.store(Size::B, RECORD, record::layout::HOOK, number as i32);
        let (known, unknown) = match hook {
            Hook::CgroupEgress => (record::layout::OUT_INDEX, record::layout::IN_INDEX),
            Hook::CgroupIngress | Hook::Xdp => {
                (record::layout::IN_INDEX, record::layout::OUT_INDEX)
            }
        };
        match hook {
            Hook::CgroupIngress | Hook::CgroupEgress => {
                code.load(Size::W, Reg::R1, CONTEXT, skb::IFINDEX);
                code.store(Size::W, RECORD, unknown, 0);
            }
            Hook::Xdp => {
                code.load(Size::W, Reg::R1, PACKET, layout::OUT_INDEX);
                code.store(Size::W, RECORD, unknown, Reg::R1);
                code.load(Size::W, Reg::R1, CONTEXT, xdp::INGRESS_IFINDEX);
            }
        }
        code.store(Size::W, RECORD, known, Reg::R1);
    }

    /// What lies in front of a received packet. At XDP the Ethernet header is put together without its
    /// tags, as the kernel does before netfilter sees it.
    fn link_header(&self, body: &mut Body) {
        let code = &mut body.code;
        let none = code.label();
        code.store(Size::B, RECORD, record::layout::HAS_LINK_HEADER, 0);
        let to = record::layout::LINK_HEADER;
        match body.hook {
            Hook::CgroupEgress => {}
            Hook::CgroupIngress => {
                code.mov(Reg::R1, CONTEXT);
                code.mov(Reg::R2, 0);
                code.mov(Reg::R3, RECORD);
                code.alu(Alu::Add, Reg::R3, i32::from(to));
                code.mov(Reg::R4, ETHERNET);
                code.mov(Reg::R5, FROM_LINK_HEADER);
                code.call(Helper::SkbLoadBytesRelative);
                code.branch(Cond::Ne, Reg::R0, 0, none);
                code.store(Size::B, RECORD, record::layout::HAS_LINK_HEADER, 1);
            }
            Hook::Xdp => {
                code.load(Size::W, Reg::R1, CONTEXT, xdp::DATA);
                code.load(Size::W, Reg::R2, CONTEXT, xdp::DATA_END);
                code.mov(Reg::R3, Reg::R1);
                code.alu(Alu::Add, Reg::R3, ETHERNET);
                code.branch(Cond::Gt, Reg::R3, Reg::R2, none);
                for word in [0, 4, 8] {
                    code.load(Size::W, Reg::R2, Reg::R1, word);
                    code.store(Size::W, RECORD, to + word, Reg::R2);
                }
                let [high, low] = match self.family {
                    Family::V4 => [0x08, 0x00],
                    Family::V6 => [0x86, 0xdd],
                };
                code.store(Size::B, RECORD, to + 12, high);
                code.store(Size::B, RECORD, to + 13, low);
                code.store(Size::B, RECORD, record::layout::HAS_LINK_HEADER, 1);
            }
        }
        code.bind(none);
    }

    /// The packet's first bytes. A frame at XDP lies in one piece, and its length was checked before the
    /// first rule.
    fn bytes(&self, body: &mut Body) {
        let code = &mut body.code;
        let none = code.label();
        code.branch(Cond::Eq, CAPTURED, 0, none);
        let to = i32::from(record::layout::BYTES);
        match body.hook {
            Hook::CgroupIngress | Hook::CgroupEgress => {
                code.mov(Reg::R1, CONTEXT);
                code.mov(Reg::R2, 0);
                code.mov(Reg::R3, RECORD);
                code.alu(Alu::Add, Reg::R3, to);
                code.mov(Reg::R4, CAPTURED);
                code.call(Helper::SkbLoadBytes);
            }
            Hook::Xdp => {
                code.mov(Reg::R1, RECORD);
                code.alu(Alu::Add, Reg::R1, to);
                code.mov(Reg::R2, CAPTURED);
                code.load(Size::W, Reg::R3, CONTEXT, xdp::DATA);
                code.load(Size::B, Reg::R4, PACKET, layout::IP_HEADER);
                code.alu(Alu::Add, Reg::R3, Reg::R4);
                code.call(Helper::ProbeReadKernel);
            }
        }
        code.bind(none);
    }
}

fn count_loss(body: &mut Body, lost: MapId) {
    let code = &mut body.code;
    let none = code.label();
    code.store(Size::W, Reg::R10, NUMBER, 0);
    code.load_imm64(Reg::R1, Imm64::Map(lost));
    body.stack(Reg::R2, NUMBER);
    let code = &mut body.code;
    code.call(Helper::MapLookupElem);
    code.branch(Cond::Eq, Reg::R0, 0, none);
    code.mov(Reg::R1, 1);
    code.atomic_add(Reg::R0, 8, Reg::R1);
    code.bind(none);
}

impl fmt::Display for Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tell { number, bytes, .. } = self;
        match self.occasion {
            Occasion::Target => write!(f, "tell {number} with {bytes} bytes"),
            Occasion::TracedRule => write!(f, "trace rule {number}"),
            Occasion::TracedPolicy => write!(f, "trace policy {number}"),
            Occasion::TracedReturn => write!(f, "trace return of chain {number}"),
        }
    }
}
