//! The functions that ask sets in a program.
//!
//! R6 is the packet. R8 is the number of the node to look at, R9 the value found last. The key lies on the
//! stack, and under it the key as the node's mask leaves it.

use ipt2bpf_parser::matches::set::Side;
use ipt2bpf_parser::ruleset::Family;

use super::elements::{TestElements, interface_field};
use super::list::TestList;
use super::live;
use super::part::{KEY, Parts};
use crate::asm::{Alu, Cond, FunctionId, Helper, Imm64, Label, MapId, Reg, Size};
use crate::emit::link::{Body, CONTEXT, Constant, Linker, PACKET};
use crate::field::Field;
use crate::module::MapKind;
use crate::sets::hash::{DIGEST_FACTOR, DISPLACEMENT_FACTOR, SLOT_FACTOR};
use crate::sets::image::{Image, NODE_LINKS, record};
use crate::sets::key::Dimension;
use crate::sets::table::{Answer, Table};
use crate::sets::{Contents, Known};

/// The section of all sets' elements.
const ELEMENTS: &str = ".rodata.sets";
/// The map with the tick, plus one, from which elements count their seconds.
const CLOCK: &str = "sets_clock";
/// Where that lies in the value.
const STARTED: i16 = 8;

/// Offsets on the stack.
mod stack {
    use super::KEY;

    /// The key under a mask.
    pub const MASKED: i16 = 2 * KEY;
    /// Ticks since the clock was started.
    pub const ELAPSED: i16 = MASKED - 8;
    /// The key of the clock.
    pub const ZERO: i16 = ELAPSED - 4;
}

/// The number of the node to look at.
const NODE: Reg = Reg::R8;
/// The value that was found last.
const VALUE: Reg = Reg::R9;

/// The function that asks a set that is no list: it gives [`Answer::number`].
pub fn function(linker: &mut Linker<'_>, test: &TestElements) -> FunctionId {
    match &test.set.live {
        Some(shape) if test.live => live::elements(linker, &test.set, shape, &test.sides),
        _ => elements(linker, &test.set, &test.sides),
    }
}

/// The same of one that stays as it is.
fn elements(linker: &mut Linker<'_>, set: &Known, sides: &[Side]) -> FunctionId {
    let (Contents::Elements(table), rate) = (&set.contents, linker.options.tick_rate) else {
        return linker.function("no_set", 0, |body| body.answer(0));
    };
    let Some(image) = table.image() else {
        return linker.function("no_set", 0, |body| body.answer(0));
    };
    let place = linker.constant(&constant(image));
    let clock = table.timed.then(|| clock_map(linker));
    let family = linker.family;
    linker.function("set", 0, |body| {
        let missing = body.code.label();
        let mut writer = Writer {
            body,
            table,
            image,
            map: place.map,
            base: place.offset,
            clock,
            rate,
            family,
            missing,
        };
        writer.key(sides);
        writer.search();
        writer.decide(sides);
        writer.body.code.bind(missing);
        writer.body.answer(Answer::No.number() as i32);
    })
}

/// The bytes of a set.
pub fn constant(image: &Image) -> Constant {
    Constant {
        map: ELEMENTS,
        bytes: image.bytes.clone(),
    }
}

/// The function that asks the sets of a list: it gives 1 when one has the packet.
pub fn list(linker: &mut Linker<'_>, list: &TestList) -> FunctionId {
    let rate = linker.options.tick_rate;
    let members: Vec<_> = list
        .members
        .iter()
        .map(|member| {
            let function = function(linker, &member.test);
            (member, function)
        })
        .collect();
    let timed = members.iter().any(|(member, _)| member.timeout != 0);
    let clock = timed.then(|| clock_map(linker));
    linker.function("sets", 0, |body| {
        let found = body.code.label();
        for (member, function) in members {
            let next = body.code.label();
            body.code.mov(Reg::R1, CONTEXT);
            body.code.mov(Reg::R2, PACKET);
            body.code.call_function(function);
            if let Some(clock) = clock.filter(|_| member.timeout != 0) {
                body.code.mov(VALUE, Reg::R0);
                elapsed(body, clock, next);
                body.code.mov(Reg::R0, VALUE);
                body.code.load(Size::D, Reg::R1, Reg::R10, stack::ELAPSED);
                let end = u64::from(member.timeout) * u64::from(rate);
                body.code.load_imm64(Reg::R2, Imm64::Number(end));
                body.code.branch(Cond::Gt, Reg::R1, Reg::R2, next);
            }
            let wanted = member.wanted.number() as i32;
            body.code.branch32(Cond::Eq, Reg::R0, wanted, found);
            body.code.bind(next);
        }
        body.answer(0);
        body.code.bind(found);
        body.answer(1);
    })
}

fn clock_map(linker: &mut Linker<'_>) -> MapId {
    linker.map(
        CLOCK,
        MapKind::State {
            entries: 1,
            bytes: 8,
        },
    )
}

/// Leaves the ticks since the clock was started on the stack; the first to ask starts it. R0 to R5 are
/// lost, and R8.
fn elapsed(body: &mut Body, clock: MapId, missing: Label) {
    let code = &mut body.code;
    code.call(Helper::Jiffies64);
    code.mov(NODE, Reg::R0);
    code.store(Size::W, Reg::R10, stack::ZERO, 0);
    code.load_imm64(Reg::R1, Imm64::Map(clock));
    body.stack(Reg::R2, stack::ZERO);
    let code = &mut body.code;
    code.call(Helper::MapLookupElem);
    code.branch(Cond::Eq, Reg::R0, 0, missing);
    code.load(Size::D, Reg::R1, Reg::R0, STARTED);
    let started = code.label();
    code.branch(Cond::Ne, Reg::R1, 0, started);
    code.mov(Reg::R1, NODE);
    code.alu(Alu::Add, Reg::R1, 1);
    code.store(Size::D, Reg::R0, STARTED, Reg::R1);
    code.bind(started);
    code.alu(Alu::Add, NODE, 1);
    code.alu(Alu::Sub, NODE, Reg::R1);
    code.store(Size::D, Reg::R10, stack::ELAPSED, NODE);
}

struct Writer<'a, 'b> {
    body: &'a mut Body,
    table: &'b Table,
    image: &'b Image,
    map: MapId,
    /// Where the image begins in the map.
    base: u32,
    clock: Option<MapId>,
    rate: u32,
    /// The family of the packets.
    family: Family,
    /// Where packets go that are not in the set.
    missing: Label,
}

/// The widths of the words of a key.
fn words(size: usize) -> impl Iterator<Item = (i16, Size)> {
    (0..size).step_by(8).map(move |at| match size - at {
        8.. => (at as i16, Size::D),
        _ => (at as i16, Size::W),
    })
}

impl Writer<'_, '_> {
    /// Puts the packet's key on the stack, or goes to `missing`.
    fn key(&mut self, sides: &[Side]) {
        let dimensions = self.table.dimensions.iter().copied();
        let mut parts = Parts {
            body: self.body,
            family: self.family,
            missing: self.missing,
        };
        parts.key(dimensions.zip(sides.iter().copied()));
    }

    /// Walks the nodes and leaves in R9 the value of the last key that was found.
    fn search(&mut self) {
        // The first packet starts the clock, whether it meets an element or not.
        if let Some(clock) = self.clock {
            elapsed(self.body, clock, self.missing);
        }
        let found = self.body.code.label();
        self.body.code.mov(VALUE, 0);
        self.body
            .code
            .load_imm64(Reg::R5, Imm64::Number(DIGEST_FACTOR));
        match self.image.nodes.len() {
            1 => {
                self.try_only(found);
            }
            nodes => {
                self.body.code.mov(NODE, 0);
                for round in 0..self.image.depth {
                    // The first check is for the verifier: code that no jump leads to is refused.
                    let end = if round == 0 { self.missing } else { found };
                    let code = &mut self.body.code;
                    code.branch(Cond::Ge, NODE, nodes as i32, end);
                    self.try_node(found);
                }
            }
        }
        self.body.code.bind(found);
    }

    /// The only node: its mask is known.
    fn try_only(&mut self, found: Label) {
        let size = self.table.key_size();
        let mask = self.table.masks[0];
        let seed = u64::from(self.image.salt) + 1;
        let code = &mut self.body.code;
        code.load_imm64(Reg::R0, Imm64::Number(seed.wrapping_mul(DIGEST_FACTOR)));
        for (at, width) in words(size) {
            let code = &mut self.body.code;
            code.load(width, Reg::R3, Reg::R10, KEY + at);
            let mut word = [0; 8];
            let bytes = if width == Size::D { 8 } else { 4 };
            word[..bytes].copy_from_slice(&mask[at as usize..][..bytes]);
            let word = u64::from_le_bytes(word);
            if word != u64::MAX >> (64 - 8 * bytes) {
                code.load_imm64(Reg::R4, Imm64::Number(word));
                code.alu(Alu::And, Reg::R3, Reg::R4);
            }
            code.store(width, Reg::R10, stack::MASKED + at, Reg::R3);
            self.mix();
        }
        self.slot();
        let code = &mut self.body.code;
        code.load(Size::W, Reg::R2, Reg::R3, size as i16);
        code.mov(Reg::R1, Reg::R2);
        code.alu(Alu::Rsh, Reg::R1, 24);
        code.branch(Cond::Ne, Reg::R1, 1, self.missing);
        self.compare(self.missing);
        let code = &mut self.body.code;
        code.mov(VALUE, Reg::R2);
        code.alu(Alu::And, VALUE, 0xff_ffff);
        if !self.table.nested {
            self.end_when_there(found);
        }
    }

    /// The node in R8; leaves the next there.
    fn try_node(&mut self, found: Label) {
        let size = self.table.key_size();
        let node_size = (size + NODE_LINKS) as i32;
        let (miss, next) = (self.body.code.label(), self.body.code.label());
        let code = &mut self.body.code;
        code.mov(Reg::R1, NODE);
        code.alu(Alu::Mul, Reg::R1, node_size);
        self.point(Reg::R2, self.image.nodes_at);
        let code = &mut self.body.code;
        code.alu(Alu::Add, Reg::R2, Reg::R1);
        code.mov(Reg::R0, NODE);
        code.alu(Alu::Add, Reg::R0, self.image.salt as i32 + 1);
        code.alu(Alu::Mul, Reg::R0, Reg::R5);
        for (at, width) in words(size) {
            let code = &mut self.body.code;
            code.load(width, Reg::R3, Reg::R10, KEY + at);
            code.load(width, Reg::R4, Reg::R2, at);
            code.alu(Alu::And, Reg::R3, Reg::R4);
            code.store(width, Reg::R10, stack::MASKED + at, Reg::R3);
            self.mix();
        }
        // R7 is the node's address from here on: the context is not needed any more.
        self.body.code.mov(Reg::R7, Reg::R2);
        self.slot();
        let code = &mut self.body.code;
        code.load(Size::W, Reg::R2, Reg::R3, size as i16);
        code.mov(Reg::R1, Reg::R2);
        code.alu(Alu::Rsh, Reg::R1, 24);
        code.alu(Alu::Sub, Reg::R1, 1);
        code.branch(Cond::Ne, Reg::R1, NODE, miss);
        self.compare(miss);
        let code = &mut self.body.code;
        code.mov(VALUE, Reg::R2);
        code.alu(Alu::And, VALUE, 0xff_ffff);
        if self.table.nested {
            let code = &mut self.body.code;
            code.load(Size::H, NODE, Reg::R7, size as i16);
            code.jump(next);
        } else {
            self.end_when_there(found);
        }
        let code = &mut self.body.code;
        code.bind(miss);
        code.load(Size::H, NODE, Reg::R7, size as i16 + 2);
        code.bind(next);
    }

    /// Mixes the word in R3 into the digest in R0, as [`digest`](crate::sets::hash::digest) does.
    fn mix(&mut self) {
        let code = &mut self.body.code;
        code.alu(Alu::Xor, Reg::R0, Reg::R3);
        code.alu(Alu::Mul, Reg::R0, Reg::R5);
        code.mov(Reg::R4, Reg::R0);
        code.alu(Alu::Rsh, Reg::R4, 32);
        code.alu(Alu::Xor, Reg::R0, Reg::R4);
    }

    /// R3 = the address of the slot for the digest in R0.
    fn slot(&mut self) {
        let code = &mut self.body.code;
        code.alu32(Alu::Mov, Reg::R1, Reg::R0);
        code.alu(Alu::Mul, Reg::R1, self.image.buckets as i32);
        code.alu(Alu::Rsh, Reg::R1, 32);
        code.alu(Alu::Lsh, Reg::R1, 1);
        self.point(Reg::R3, self.image.displacements_at);
        let code = &mut self.body.code;
        code.alu(Alu::Add, Reg::R3, Reg::R1);
        code.load(Size::H, Reg::R1, Reg::R3, 0);
        code.alu32(Alu::Mul, Reg::R1, DISPLACEMENT_FACTOR as i32);
        code.alu(Alu::Rsh, Reg::R0, 32);
        code.alu32(Alu::Xor, Reg::R0, Reg::R1);
        code.alu32(Alu::Mul, Reg::R0, SLOT_FACTOR as i32);
        code.alu(Alu::Mul, Reg::R0, self.image.slots as i32);
        code.alu(Alu::Rsh, Reg::R0, 32);
        let slot_size = self.table.key_size() as i32 + 4;
        code.alu(Alu::Mul, Reg::R0, slot_size);
        self.point(Reg::R3, self.image.slots_at);
        self.body.code.alu(Alu::Add, Reg::R3, Reg::R0);
    }

    /// Goes to `differs` unless the slot at R3 has the masked key.
    fn compare(&mut self, differs: Label) {
        for (at, width) in words(self.table.key_size()) {
            let code = &mut self.body.code;
            code.load(width, Reg::R0, Reg::R3, at);
            code.load(width, Reg::R1, Reg::R10, stack::MASKED + at);
            code.branch(Cond::Ne, Reg::R0, Reg::R1, differs);
        }
    }

    /// Ends the walk at the value in R9, unless that is the record of an element that is gone.
    fn end_when_there(&mut self, found: Label) {
        if self.image.chain == 0 {
            self.body.code.jump(found);
            return;
        }
        let gone = self.body.code.label();
        self.record(gone);
        self.check_time(gone);
        self.body.code.jump(found);
        self.body.code.bind(gone);
        self.body.code.mov(VALUE, 0);
    }

    /// `dst = address of a byte of the image`
    fn point(&mut self, dst: Reg, at: usize) {
        let at = self.base + at as u32;
        self.body
            .code
            .load_imm64(dst, Imm64::MapValue(self.map, at));
    }

    /// R3 = the address of the record in R9; goes to `none` when there is none.
    fn record(&mut self, none: Label) {
        let records = self.image.records as i32;
        let code = &mut self.body.code;
        code.mov(Reg::R1, VALUE);
        code.alu(Alu::Sub, Reg::R1, 1);
        code.branch(Cond::Ge, Reg::R1, records, none);
        code.alu(Alu::Mul, Reg::R1, self.image.record_size as i32);
        self.point(Reg::R3, self.image.records_at);
        self.body.code.alu(Alu::Add, Reg::R3, Reg::R1);
    }

    /// Goes to `gone` when the element of the record at R3 has had its time.
    fn check_time(&mut self, gone: Label) {
        if self.clock.is_none() {
            return;
        }
        let code = &mut self.body.code;
        let stays = code.label();
        code.load(Size::W, Reg::R1, Reg::R3, record::TIMEOUT);
        code.branch(Cond::Eq, Reg::R1, 0, stays);
        code.alu(Alu::Mul, Reg::R1, self.rate as i32);
        code.load(Size::D, Reg::R2, Reg::R10, stack::ELAPSED);
        code.branch(Cond::Gt, Reg::R2, Reg::R1, gone);
        code.bind(stays);
    }

    /// Answers by the value in R9.
    fn decide(&mut self, sides: &[Side]) {
        if self.image.chain == 0 {
            self.body.answer(VALUE);
            return;
        }
        let dimensions = self.table.dimensions.iter().zip(sides);
        let interface = dimensions
            .filter(|(dimension, _)| **dimension == Dimension::Interface)
            .map(|(_, &side)| interface_field(side))
            .next();
        let answered = self.body.code.label();
        // R8: an element of the same network is there for another interface.
        self.body.code.mov(Reg::R8, 0);
        for _ in 0..self.image.chain {
            self.record(self.missing);
            let (gone, next) = (self.body.code.label(), self.body.code.label());
            self.check_time(gone);
            if let Some(field) = interface {
                let other = self.body.code.label();
                self.check_interface(field, other);
                self.body.code.jump(answered);
                self.body.code.bind(other);
                self.body.code.mov(Reg::R8, 1);
                self.body.code.bind(gone);
                let code = &mut self.body.code;
                code.load(Size::B, Reg::R1, Reg::R3, record::LAST);
                code.branch(Cond::Eq, Reg::R1, 0, next);
                code.branch(Cond::Ne, Reg::R8, 0, self.missing);
                code.bind(next);
            } else {
                self.body.code.jump(answered);
                self.body.code.bind(gone);
            }
            self.body.code.load(Size::W, VALUE, Reg::R3, record::NEXT);
        }
        self.body.code.jump(self.missing);
        self.body.code.bind(answered);
        self.body
            .code
            .load(Size::B, Reg::R1, Reg::R3, record::ANSWER);
        self.body.answer(Reg::R1);
    }

    /// Goes to `other` unless the record at R3 is for the packet's interface.
    fn check_interface(&mut self, field: Field, other: Label) {
        let place = field.place().offset;
        for half in [0, 8] {
            let code = &mut self.body.code;
            code.load(Size::D, Reg::R1, PACKET, place + half);
            code.load(Size::D, Reg::R2, Reg::R3, record::MASK + half);
            code.alu(Alu::And, Reg::R1, Reg::R2);
            code.load(Size::D, Reg::R2, Reg::R3, record::NAME + half);
            code.branch(Cond::Ne, Reg::R1, Reg::R2, other);
        }
    }
}
