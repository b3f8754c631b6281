//! Putting the key of a packet together.

use ipt2bpf_parser::matches::set::Side;
use ipt2bpf_parser::ruleset::Family;

use super::elements::{address_field, interface_field};
use super::ports;
use crate::asm::{Alu, Cond, Label, Reg, Size};
use crate::emit::link::{Body, PACKET};
use crate::field::{Field, link};
use crate::sets::key::{Dimension, MAX_KEY};

/// Where the key lies on the stack.
pub const KEY: i16 = -(MAX_KEY as i16);

const _: () = assert!(MAX_KEY.is_multiple_of(8));

/// Writes the code that puts a key together.
pub struct Parts<'a> {
    pub body: &'a mut Body,
    /// The family of the packets.
    pub family: Family,
    /// Where packets go that lack a part.
    pub missing: Label,
}

impl Parts<'_> {
    /// Puts the parts of the packet's key on the stack one behind the other, or goes to `missing`.
    pub fn key(&mut self, parts: impl Iterator<Item = (Dimension, Side)>) {
        let mut at = KEY;
        for (dimension, side) in parts {
            match dimension {
                Dimension::Address(family) => {
                    let from = address_field(family, side).place().offset;
                    self.copy(from, at, dimension.size());
                }
                Dimension::ProtocolPort | Dimension::Port => {
                    let plain = dimension == Dimension::Port;
                    ports::emit(self.body, self.family, side, plain, self.missing);
                    self.body.code.store(Size::W, Reg::R10, at, Reg::R1);
                }
                Dimension::Mac => self.mac(at),
                Dimension::Mark => {
                    self.body.field(Reg::R1, Field::Mark);
                    self.body.code.store(Size::W, Reg::R10, at, Reg::R1);
                }
                Dimension::Interface => {
                    let place = interface_field(side).place().offset;
                    let code = &mut self.body.code;
                    code.load(Size::B, Reg::R1, PACKET, place);
                    code.branch32(Cond::Eq, Reg::R1, 0, self.missing);
                }
            }
            at += dimension.size() as i16;
        }
    }

    /// Copies bytes of the `struct packet` to the stack.
    fn copy(&mut self, from: i16, to: i16, size: usize) {
        for offset in (0..size as i16).step_by(4) {
            let code = &mut self.body.code;
            code.load(Size::W, Reg::R1, PACKET, from + offset);
            code.store(Size::W, Reg::R10, to + offset, Reg::R1);
        }
    }

    fn mac(&mut self, at: i16) {
        let place = Field::SourceMac.place().offset;
        self.body.field(Reg::R1, Field::Link);
        let code = &mut self.body.code;
        code.alu(Alu::And, Reg::R1, i32::from(link::MAC_HEADER));
        code.branch(Cond::Eq, Reg::R1, 0, self.missing);
        code.mov(Reg::R2, 0);
        for offset in [0, 2, 4] {
            code.load(Size::H, Reg::R1, PACKET, place + offset);
            code.store(Size::H, Reg::R10, at + offset, Reg::R1);
            code.alu(Alu::Or, Reg::R2, Reg::R1);
        }
        code.store(Size::H, Reg::R10, at + 6, 0);
        code.branch(Cond::Eq, Reg::R2, 0, self.missing);
    }
}
