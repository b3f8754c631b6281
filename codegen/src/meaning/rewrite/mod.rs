//! What targets that change packets have in common. Programs may write to packets at XDP only; at the
//! other hooks the rules that follow see the new values, and the packet keeps the old.

pub mod path_mtu;
pub mod tcp;
pub mod whole_header;

use ipt2bpf_parser::ruleset::Family;

use super::Context;
use super::checksum::changed;
use super::checksum::code::Change;
use crate::asm::{Code, Reg, Size};
use crate::module::Hook;
use crate::packet::Packet;

/// Where IPv4's checksum lies in its header.
const CHECKSUM: i16 = 10;

/// Whether programs of the hook can change packets.
pub fn is_possible(context: Context<'_>) -> bool {
    context.hook == Hook::Xdp
}

/// What to say of a change that the packet does not see.
pub fn note(context: Context<'_>) -> Option<String> {
    (!is_possible(context))
        .then(|| "later rules see the new value; the packet keeps the old".into())
}

/// Writes bytes into the IP header, and IPv4's checksum of it. They begin at an even offset.
pub fn ip_header(packet: &mut Packet<'_>, at: usize, new: &[u8]) {
    let family = packet.family();
    let bytes = packet.bytes_mut();
    let end = at + new.len();
    if bytes[at..end] == *new {
        return;
    }
    if family == Family::V4 {
        let sum = u16::from_be_bytes([bytes[10], bytes[11]]);
        let sum = changed(sum, &bytes[at..end], new);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    bytes[at..end].copy_from_slice(new);
}

/// Writes a register, which is kept, to the 16-bit word at an even offset of the IP header at R4, and IPv4's
/// checksum of it. R0 and R1 are lost.
pub fn word_of_ip_header(code: &mut Code, family: Family, at: i16, new: Reg) {
    if family == Family::V4 {
        code.load(Size::H, Reg::R0, Reg::R4, CHECKSUM);
        let change = Change::of(code, Reg::R0);
        code.load(Size::H, Reg::R1, Reg::R4, at);
        change.take(code, Reg::R1);
        change.put(code, new);
        change.finish(code, CHECKSUM);
    }
    code.store(Size::H, Reg::R4, at, new);
}
