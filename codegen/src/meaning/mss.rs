//! TCPMSS: lowers the maximum segment size that a SYN asks for, or asks for one where it does not
//! (`tcpmss_mangle_packet`, net/netfilter/xt_TCPMSS.c). What has no whole TCP header is dropped.

use std::fmt;

use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_parser::targets::tcpmss::Tcpmss;

use super::rewrite::path_mtu::{self, Way};
use super::rewrite::whole_header::{self, DemandTcpHeader};
use super::rewrite::{self, tcp};
use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::asm::{Alu, Cond, FunctionId, Label, Reg, Size};
use crate::emit::link::{Body, CONTEXT, Call, Linker, PACKET, point};
use crate::emit::options::END;
use crate::emit::worker::forget;
use crate::field::{Field, layout};
use crate::options::KernelVersion;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::Action;

/// Bytes of the option: its kind, its length and the size.
const OPTION: usize = 4;
/// The kind.
const KIND: u8 = 2;
/// Bytes of the longest TCP header.
const LONGEST: i32 = 60;

impl TargetMeaning for Tcpmss {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        let told = context
            .options
            .target_kernel
            .is_none_or(|kernel| kernel >= KernelVersion::PATH_MTU);
        let (effect, note) = match self {
            Tcpmss::Set(size) if rewrite::is_possible(context) => (
                ChangeSegment(Limit::Size(*size)).into(),
                "where a driver leaves no room behind a frame, no option is added",
            ),
            Tcpmss::ClampToPmtu if rewrite::is_possible(context) && told => (
                ChangeSegment(Limit::Path).into(),
                "the MTU of an IPv4 route counts where it is locked, else the interface's; where a driver \
                 leaves no room behind a frame, no option is added",
            ),
            Tcpmss::Set(_) | Tcpmss::ClampToPmtu => (
                DemandTcpHeader.into(),
                "the packet keeps its maximum segment size, and counters miss the four bytes of an \
                 option that would be added",
            ),
        };
        Ok(TargetAction {
            effects: vec![effect],
            action: Action::Continue,
            note: Some(note.into()),
        })
    }
}

/// The size that hosts assume when none is asked for (RFC 1122, 4.2.2.6; RFC 8200, 5), which an added
/// option does not exceed.
fn assumed(family: Family) -> u16 {
    match family {
        Family::V4 => 536,
        Family::V6 => 1220,
    }
}

/// Lowers the size, or adds the option to a segment without data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChangeSegment(Limit);

/// The greatest size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Limit {
    /// This.
    Size(u16),
    /// What the routes of the packet and back let through.
    Path,
}

/// Bytes of the headers of a segment without options.
fn headers(family: Family) -> u32 {
    match family {
        Family::V4 => 20 + 20,
        Family::V6 => 40 + 20,
    }
}

/// On the stack: the options, the new size, the old one, whether the checksum is to be finished.
const OPTIONS: i16 = -40;
const NEW: i16 = -44;
const OLD: i16 = -52;
const UNFINISHED: i16 = -60;

impl Perform for ChangeSegment {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        whole_header::perform(packet, |packet, header| {
            let size = match self.0 {
                Limit::Size(size) => size,
                Limit::Path => {
                    let [there, back] = world.path_mtu;
                    match there.min(back).checked_sub(headers(packet.family())) {
                        None | Some(0) => return 1,
                        Some(size) => size as u16,
                    }
                }
            };
            let start = packet.transport();
            let segment = &packet.bytes()[start..];
            match find(&segment[tcp::HEADER..header]) {
                Some((at, old)) if old > size => {
                    let (at, [high, low]) = (tcp::HEADER + at, size.to_be_bytes());
                    let whole = tcp::is_unfinished(packet);
                    let segment = &mut packet.bytes_mut()[start..];
                    segment[at + 2..at + 4].copy_from_slice(&[high, low]);
                    // As the kernel does, also for an option at an odd place.
                    if !whole {
                        tcp::update_checksum(segment, &old.to_be_bytes(), &[high, low]);
                    }
                }
                None if segment.len() == header && header < LONGEST as usize => {
                    let size = size.min(assumed(packet.family()));
                    add(packet, size);
                }
                _ => {}
            }
            0
        })
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let family = linker.family;
        let unfinished = tcp::unfinished(linker);
        let (size, path_mtu) = match self.0 {
            Limit::Size(size) => (size, None),
            Limit::Path => (0, Some(path_mtu::link(linker))),
        };
        let name = "change_segment_size";
        let function = whole_header::link(linker, name, 1, |body, broken, done| {
            let found = body.code.label();
            body.code.store(Size::W, Reg::R10, NEW, Reg::R3);
            if let Some(path_mtu) = path_mtu {
                clamp(body, family, path_mtu, broken);
            }
            tcp::call(body, unfinished);
            body.code.store(Size::W, Reg::R10, UNFINISHED, Reg::R0);
            tcp::copy_options(body, OPTIONS, OLD, broken);
            tcp::options(body, OPTIONS, OLD).find_maximum_segment(found);
            forget(&mut body.code, END, OLD);
            link_add(body, family, done);
            body.code.jump(done);

            let (at, old) = (Reg::R8, Reg::R2);
            let code = &mut body.code;
            code.bind(found);
            code.load(Size::W, Reg::R1, Reg::R10, NEW);
            code.branch(Cond::Le, old, Reg::R1, done);
            code.store(Size::W, PACKET, SEGMENT_SIZE, Reg::R1);
            forget(code, Reg::R0, OLD);
            code.mov(at, Reg::R0);
            code.to_big_endian(old, 16);
            code.store(Size::W, Reg::R10, OLD, old);
            code.load(Size::H, Reg::R9, PACKET, layout::TRANSPORT);
            code.alu(Alu::Add, at, Reg::R9);
            code.alu(Alu::Add, at, tcp::HEADER as i32 + 2);
            point(code, Some(at), 2, done);
            code.load(Size::W, Reg::R1, Reg::R10, NEW);
            code.to_big_endian(Reg::R1, 16);
            code.store(Size::H, Reg::R4, 0, Reg::R1);
            code.load(Size::W, Reg::R1, Reg::R10, UNFINISHED);
            code.branch(Cond::Ne, Reg::R1, 0, done);
            tcp::point_to_header(body, tcp::HEADER as i32, done);
            let change = tcp::begin_checksum(body);
            let code = &mut body.code;
            code.load(Size::W, Reg::R1, Reg::R10, OLD);
            change.take(code, Reg::R1);
            code.load(Size::W, Reg::R1, Reg::R10, NEW);
            code.to_big_endian(Reg::R1, 16);
            change.put(code, Reg::R1);
            tcp::finish_checksum(body, change);
        });
        Call {
            function,
            arguments: vec![size.into()],
        }
    }

    fn reads(&self) -> Vec<Field> {
        let mut fields = whole_header::READS.to_vec();
        if self.0 == Limit::Path {
            fields.push(Field::TypeOfService);
        }
        fields
    }

    fn kernel(&self) -> KernelVersion {
        match self.0 {
            Limit::Size(_) => KernelVersion::BASELINE,
            Limit::Path => KernelVersion::PATH_MTU,
        }
    }

    fn rewrites(&self) -> bool {
        true
    }

    fn branches(&self) -> usize {
        300
    }
}

/// Where the struct keeps the size that rules see.
const SEGMENT_SIZE: i16 = Field::MaximumSegment.place().offset;

/// Where the option is and what it asks for.
fn find(options: &[u8]) -> Option<(usize, u16)> {
    let mut at = 0;
    while at + OPTION <= options.len() {
        match options[at..] {
            [KIND, 4, high, low, ..] => return Some((at, u16::from_be_bytes([high, low]))),
            [0 | 1, ..] | [_, 0, ..] => at += 1,
            [_, length, ..] => at += usize::from(length),
            _ => break,
        }
    }
    None
}

/// Adds the option in front of the others.
fn add(packet: &mut Packet<'_>, size: u16) {
    let unfinished = tcp::is_unfinished(packet);
    let (family, start) = (packet.family(), packet.transport());
    let [high, low] = size.to_be_bytes();
    let option = [KIND, OPTION as u8, high, low];
    let bytes = packet.bytes_mut();
    let old_length = (bytes.len() - start) as u16;
    let place = start + tcp::HEADER;
    bytes.splice(place..place, option);
    let segment = &mut bytes[start..];
    let old_words = [segment[12], segment[13]];
    segment[12] += 0x10;
    let new_words = [segment[12], segment[13]];
    let new_length = old_length + OPTION as u16;
    let old = [&old_length.to_be_bytes()[..], &old_words].concat();
    let new = [&new_length.to_be_bytes()[..], &new_words, &option].concat();
    match unfinished {
        false => tcp::update_checksum(segment, &old, &new),
        true => tcp::lengthen(segment, old_length, new_length),
    }
    let at = match family {
        Family::V4 => 2,
        Family::V6 => 4,
    };
    let length = u16::from_be_bytes([bytes[at], bytes[at + 1]]).wrapping_add(OPTION as u16);
    rewrite::ip_header(packet, at, &length.to_be_bytes());
}

/// The size that the routes let through onto the stack; a route for nothing but headers drops the packet.
fn clamp(body: &mut Body, family: Family, path_mtu: FunctionId, broken: Label) {
    let there = Reg::R8;
    for way in [Way::There, Way::Back] {
        let code = &mut body.code;
        code.mov(Reg::R1, CONTEXT);
        code.mov(Reg::R2, PACKET);
        code.mov(Reg::R3, way as i32);
        code.call_function(path_mtu);
        if way == Way::There {
            code.mov(there, Reg::R0);
        }
    }
    let code = &mut body.code;
    let less = code.label();
    code.branch(Cond::Le, Reg::R0, there, less);
    code.mov(Reg::R0, there);
    code.bind(less);
    let headers = headers(family) as i32;
    code.branch(Cond::Le, Reg::R0, headers, broken);
    code.alu(Alu::Sub, Reg::R0, headers);
    code.store(Size::W, Reg::R10, NEW, Reg::R0);
}

/// The same in bytecode: R8 is the number of bytes of options on the stack.
fn link_add(body: &mut Body, family: Family, done: Label) {
    let option = OPTION as i32;
    body.field(Reg::R2, Field::TransportLength);
    tcp::header(body, Reg::R1);
    let code = &mut body.code;
    code.branch(Cond::Ne, Reg::R1, Reg::R2, done);
    code.branch(Cond::Ge, Reg::R1, LONGEST, done);
    let small = code.label();
    let most = i32::from(assumed(family));
    code.load(Size::W, Reg::R1, Reg::R10, NEW);
    code.branch(Cond::Le, Reg::R1, most, small);
    code.mov(Reg::R1, most);
    code.store(Size::W, Reg::R10, NEW, Reg::R1);
    code.bind(small);
    tcp::make_room(body, option, done);

    // The options move back, the new one comes before them.
    tcp::point_to_header(body, tcp::HEADER as i32 + option, done);
    let code = &mut body.code;
    let moved = code.label();
    for word in (0..LONGEST as i16 - tcp::HEADER as i16 - 4).step_by(4) {
        let to = tcp::HEADER as i16 + OPTION as i16 + word;
        code.branch(Cond::Le, END, i32::from(word), moved);
        code.mov(Reg::R5, Reg::R4);
        code.alu(Alu::Add, Reg::R5, i32::from(to) + 4);
        code.branch(Cond::Gt, Reg::R5, Reg::R3, done);
        code.load(Size::W, Reg::R1, Reg::R10, OPTIONS + word);
        code.store(Size::W, Reg::R4, to, Reg::R1);
    }
    code.bind(moved);
    let place = tcp::HEADER as i16;
    code.store(Size::B, Reg::R4, place, i32::from(KIND));
    code.store(Size::B, Reg::R4, place + 1, option);
    code.load(Size::W, Reg::R1, Reg::R10, NEW);
    code.store(Size::W, PACKET, SEGMENT_SIZE, Reg::R1);
    code.to_big_endian(Reg::R1, 16);
    code.store(Size::H, Reg::R4, place + 2, Reg::R1);
    code.load(Size::B, Reg::R1, Reg::R4, 12);
    code.alu(Alu::Add, Reg::R1, 0x10);
    code.store(Size::B, Reg::R4, 12, Reg::R1);

    let [whole, summed] = [(); 2].map(|()| code.label());
    code.load(Size::W, Reg::R1, Reg::R10, UNFINISHED);
    code.branch(Cond::Eq, Reg::R1, 0, whole);
    tcp::lengthen_pseudo_header(body, option);
    body.code.jump(summed);
    body.code.bind(whole);
    let change = tcp::begin_checksum(body);
    body.field(Reg::R2, Field::TransportLength);
    let code = &mut body.code;
    code.mov(Reg::R1, Reg::R2);
    code.to_big_endian(Reg::R1, 16);
    change.take(code, Reg::R1);
    code.alu(Alu::Add, Reg::R2, option);
    code.to_big_endian(Reg::R2, 16);
    change.put(code, Reg::R2);
    code.load(Size::W, Reg::R1, Reg::R4, place);
    change.put(code, Reg::R1);
    code.load(Size::H, Reg::R1, Reg::R4, 12);
    change.put(code, Reg::R1);
    // The length of the header is in the low byte of a little-endian load.
    code.alu(Alu::Sub, Reg::R1, 0x10);
    change.take(code, Reg::R1);
    tcp::finish_checksum(body, change);
    body.code.bind(summed);

    let at = match family {
        Family::V4 => 2,
        Family::V6 => 4,
    };
    let length = Reg::R8;
    let code = &mut body.code;
    point(code, None, 20, done);
    code.load(Size::H, length, Reg::R4, at);
    code.to_big_endian(length, 16);
    code.alu(Alu::Add, length, option);
    code.to_big_endian(length, 16);
    rewrite::word_of_ip_header(code, family, at, length);
    for (size, field, more) in [
        (Size::W, layout::LENGTH, option),
        (Size::W, Field::TransportLength.place().offset, option),
        (Size::B, Field::TcpDataOffset.place().offset, 0x10),
    ] {
        code.load(size, Reg::R1, PACKET, field);
        code.alu(Alu::Add, Reg::R1, more);
        code.store(size, PACKET, field, Reg::R1);
    }
    code.load(Size::B, Reg::R1, PACKET, layout::TCP_OPTIONS);
    code.alu(Alu::Or, Reg::R1, 1 << KIND);
    code.store(Size::B, PACKET, layout::TCP_OPTIONS, Reg::R1);
}

impl fmt::Display for ChangeSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Limit::Size(size) => write!(f, "maximum segment at most {size}"),
            Limit::Path => f.write_str("maximum segment at most what the path takes"),
        }
    }
}
