//! The function of a table.

use ipt2bpf_parser::ruleset::Family;

use super::key::{PORTS, header};
use super::rate::{Filling, TOKEN_SHIFT};
use super::{NONE, Table};
use crate::asm::{Alu, Cond, Helper, Imm64, Label, MapId, Reg, Size};
use crate::emit::link::{Body, Call, Linker, PACKET};
use crate::field::{Field, layout};
use crate::meaning::names::map_name;
use crate::module::{HASHLIMIT_MAPS, HashShape, MapKind};
use crate::packet::MAX_EXTENSION_HEADERS;

/// Where a bucket's parts lie in the map's value, behind the lock; see [`super::rate::Bucket`].
mod value {
    /// Never zero once the bucket is filled.
    pub const EXPIRES: i16 = 8;
    pub const PREVIOUS: i16 = 16;
    pub const CREDIT: i16 = 24;
    pub const REFILLS: i16 = 32;
    pub const END: i16 = 40;
}

/// Where things lie on the stack.
mod stack {
    pub const NOW: i16 = -8;
    /// Four bytes of the packet.
    pub const BYTES: i16 = -12;
    /// The key, of up to 36 bytes.
    pub const KEY: i16 = -48;
    /// An empty bucket.
    pub const VALUE: i16 = KEY - super::value::END;
    /// The protocol behind the extension headers that have been passed.
    pub const PROTOCOL: i16 = VALUE - 4;
    /// The key of the only value of a map.
    pub const ZERO: i16 = VALUE - 8;
    /// What is stored here is unknown to the verifier when it is read: it is off an 8-byte boundary.
    pub const UNKNOWN: i16 = VALUE + 4;
}

/// The map of the time of the last search for expired buckets.
const SEARCHES: &str = "gc";
/// Where that time lies, behind the lock.
const SEARCHED: i16 = 8;

/// `BPF_NOEXIST`, and the error for what exists.
const NO_EXIST: i32 = 1;
const EEXIST: i32 = -17;

pub fn link(table: &Table, linker: &mut Linker<'_>) -> Call {
    let (family, key_size) = match table.family {
        Family::V4 => ('4', 12),
        Family::V6 => ('6', 36),
    };
    // Tables of other units have other names, so that a reload never takes one for the other.
    let unit = match table.filling {
        Filling::Packets { .. } => 'p',
        Filling::Bytes { .. } => 'b',
        Filling::Window { bytes: false, .. } => 'w',
        Filling::Window { bytes: true, .. } => 'v',
    };
    let name = |prefix: &str| map_name(&format!("{prefix}{unit}{family}"), &table.name);
    let buckets = linker.map(
        &name(HASHLIMIT_MAPS),
        MapKind::Hash(HashShape {
            key: key_size,
            bytes: (value::END - value::EXPIRES) as u32,
            entries: table.room,
            evicts: false,
            locked: true,
        }),
    );
    let searches = linker.map(
        &name(SEARCHES),
        MapKind::State {
            entries: 1,
            bytes: 8,
        },
    );
    let expire = linker.callback("expire", |code| {
        let (key, expires) = (Reg::R6, Reg::R7);
        code.mov(key, Reg::R2);
        code.load(Size::D, expires, Reg::R3, value::EXPIRES);
        let keep = code.label();
        code.branch(Cond::Eq, expires, 0, keep);
        code.call(Helper::Jiffies64);
        code.alu(Alu::Sub, Reg::R0, expires);
        code.branch(Cond::Slt, Reg::R0, 0, keep);
        code.load_imm64(Reg::R1, Imm64::Map(buckets));
        code.mov(Reg::R2, key);
        code.call(Helper::MapDeleteElem);
        code.bind(keep);
        code.mov(Reg::R0, 0);
        code.exit();
    });
    let function = linker.function("hashlimit", 0, |body| {
        let none = body.code.label();
        body.code.call(Helper::Jiffies64);
        body.code.store(Size::D, Reg::R10, stack::NOW, Reg::R0);
        make_key(table, body, none);
        let (length, bucket) = (Reg::R8, Reg::R9);
        body.code.load(Size::W, length, PACKET, layout::LENGTH);
        let code = &mut body.code;
        let (absent, there, found) = (code.label(), code.label(), code.label());
        body.look_up(buckets, stack::KEY, absent);
        body.code.jump(found);

        body.code.bind(absent);
        add(body, buckets, there);
        body.code.store(Size::W, Reg::R10, stack::ZERO, 0);
        body.look_up(searches, stack::ZERO, none);
        let code = &mut body.code;
        code.load(Size::D, Reg::R1, Reg::R10, stack::NOW);
        code.load(Size::D, Reg::R2, Reg::R0, SEARCHED);
        code.mov(Reg::R3, Reg::R1);
        code.alu(Alu::Sub, Reg::R3, Reg::R2);
        code.load_imm64(Reg::R4, Imm64::Number(table.gc_interval));
        code.branch(Cond::Lt, Reg::R3, Reg::R4, none);
        code.store(Size::D, Reg::R0, SEARCHED, Reg::R1);
        code.load_imm64(Reg::R1, Imm64::Map(buckets));
        code.load_imm64(Reg::R2, Imm64::Function(expire));
        code.mov(Reg::R3, 0);
        code.mov(Reg::R4, 0);
        code.call(Helper::ForEachMapElem);
        add(body, buckets, there);
        body.code.jump(none);

        body.code.bind(there);
        body.look_up(buckets, stack::KEY, none);
        body.code.bind(found);
        body.code.mov(bucket, Reg::R0);
        body.lock(bucket);
        take(table, body, bucket, length);
        body.unlock(bucket);
        body.answer(length);
        body.code.bind(none);
        body.answer(NONE as i32);
    });
    Call {
        function,
        arguments: Vec::new(),
    }
}

/// Puts an empty bucket under the key into the map; goes to `there` when the map has one then.
fn add(body: &mut Body, buckets: MapId, there: Label) {
    for offset in (0..value::END).step_by(8) {
        body.code.store(Size::D, Reg::R10, stack::VALUE + offset, 0);
    }
    body.code.load_imm64(Reg::R1, Imm64::Map(buckets));
    body.stack(Reg::R2, stack::KEY);
    body.stack(Reg::R3, stack::VALUE);
    body.code.mov(Reg::R4, NO_EXIST);
    body.code.call(Helper::MapUpdateElem);
    body.code.branch32(Cond::Eq, Reg::R0, 0, there);
    body.code.branch32(Cond::Eq, Reg::R0, EEXIST, there);
}

/// The key on the stack, as [`super::key::of`] makes it.
fn make_key(table: &Table, body: &mut Body, none: Label) {
    for offset in (stack::KEY..stack::NOW).step_by(8) {
        body.code.store(Size::D, Reg::R10, offset, 0);
    }
    let (source, destination, size) = match table.family {
        Family::V4 => (Field::Source4, Field::Destination4, 4),
        Family::V6 => (Field::Source6, Field::Destination6, 16),
    };
    for (counts, field, mask, to) in [
        (
            table.key.source_address,
            source,
            table.source_mask,
            stack::KEY,
        ),
        (
            table.key.destination_address,
            destination,
            table.destination_mask,
            stack::KEY + size,
        ),
    ] {
        if counts {
            masked_address(body, field, mask, to);
        }
    }
    if table.asks_for_ports() {
        ports(table, body, stack::KEY + 2 * size, none);
    }
}

fn masked_address(body: &mut Body, field: Field, mask: u128, to: i16) {
    let place = field.place();
    let code = &mut body.code;
    let mask = mask.to_be_bytes();
    if place.size == 4 {
        let word = u32::from_le_bytes([mask[12], mask[13], mask[14], mask[15]]);
        code.load(Size::W, Reg::R1, PACKET, place.offset);
        code.alu32(Alu::And, Reg::R1, word as i32);
        code.store(Size::W, Reg::R10, to, Reg::R1);
        return;
    }
    for (offset, half) in [0, 8].into_iter().zip(mask.as_chunks::<8>().0) {
        code.load(Size::D, Reg::R1, PACKET, place.offset + offset);
        code.load_imm64(Reg::R2, Imm64::Number(u64::from_le_bytes(*half)));
        code.alu(Alu::And, Reg::R1, Reg::R2);
        code.store(Size::D, Reg::R10, to + offset, Reg::R1);
    }
}

fn ports(table: &Table, body: &mut Body, to: i16, none: Label) {
    let at = Reg::R8;
    match table.family {
        Family::V4 => {
            body.field(Reg::R1, Field::Protocol);
            body.code.load(Size::H, at, PACKET, layout::TRANSPORT);
        }
        Family::V6 => {
            skip_extension_headers(body, none);
            body.code.load(Size::B, Reg::R1, Reg::R10, stack::PROTOCOL);
        }
    }
    let code = &mut body.code;
    let (behind, here, done) = (code.label(), code.label(), code.label());
    for (protocol, offset) in PORTS {
        let target = if offset == 0 { here } else { behind };
        code.branch(Cond::Eq, Reg::R1, i32::from(protocol), target);
    }
    code.jump(done);
    code.bind(behind);
    code.alu(Alu::Add, at, 4);
    code.bind(here);
    body.bytes(at, 4, stack::BYTES, none);
    for (counts, offset) in [(table.key.source_port, 0), (table.key.destination_port, 2)] {
        if counts {
            let code = &mut body.code;
            code.load(Size::H, Reg::R1, Reg::R10, stack::BYTES + offset);
            code.store(Size::H, Reg::R10, to + offset, Reg::R1);
        }
    }
    body.code.bind(done);
}

/// Leaves the protocol behind the extension headers on the stack and its offset in R8.
fn skip_extension_headers(body: &mut Body, none: Label) {
    let (at, step) = (Reg::R8, Reg::R9);
    body.code.mov(at, 6);
    body.bytes(at, 1, stack::BYTES, none);
    let code = &mut body.code;
    code.load(Size::B, Reg::R1, Reg::R10, stack::BYTES);
    code.store(Size::B, Reg::R10, stack::PROTOCOL, Reg::R1);
    code.mov(at, 40);
    code.mov(step, 0);
    let [again, options, authentication, fragment, next, done] = [(); 6].map(|()| code.label());
    code.bind(again);
    code.load(Size::B, Reg::R1, Reg::R10, stack::PROTOCOL);
    for (number, label) in [
        (header::NONE, none),
        (header::HOP_BY_HOP, options),
        (header::ROUTING, options),
        (header::DESTINATION, options),
        (header::AUTHENTICATION, authentication),
        (header::FRAGMENT, fragment),
    ] {
        code.branch(Cond::Eq, Reg::R1, i32::from(number), label);
    }
    code.jump(done);
    for (label, units, shift) in [(options, 1, 3), (authentication, 2, 2)] {
        body.code.bind(label);
        body.bytes(at, 2, stack::BYTES, none);
        let code = &mut body.code;
        code.load(Size::B, Reg::R1, Reg::R10, stack::BYTES + 1);
        code.alu(Alu::Add, Reg::R1, units);
        code.alu(Alu::Lsh, Reg::R1, shift);
        code.jump(next);
    }
    body.code.bind(fragment);
    body.bytes(at, 4, stack::BYTES, none);
    let code = &mut body.code;
    code.load(Size::H, Reg::R1, Reg::R10, stack::BYTES + 2);
    code.to_big_endian(Reg::R1, 16);
    code.alu(Alu::And, Reg::R1, 0xfff8);
    code.branch(Cond::Ne, Reg::R1, 0, done);
    code.mov(Reg::R1, 8);

    code.bind(next);
    code.alu(Alu::Add, at, Reg::R1);
    // All ways through the loop look the same to the verifier then.
    code.store(Size::W, Reg::R10, stack::UNKNOWN, at);
    code.load(Size::W, at, Reg::R10, stack::UNKNOWN);
    code.load(Size::B, Reg::R1, Reg::R10, stack::BYTES);
    code.store(Size::B, Reg::R10, stack::PROTOCOL, Reg::R1);
    code.alu(Alu::Add, step, 1);
    code.branch(Cond::Lt, step, MAX_EXTENSION_HEADERS as i32, again);
    code.jump(none);
    code.bind(done);
}

/// What a locked bucket says of a packet, in place of its length.
fn take(table: &Table, body: &mut Body, bucket: Reg, length: Reg) {
    let code = &mut body.code;
    let (now, elapsed) = (Reg::R1, Reg::R3);
    let [fresh, refill, filled, over, done] = [(); 5].map(|()| code.label());
    code.load(Size::D, now, Reg::R10, stack::NOW);
    code.load(Size::D, Reg::R2, bucket, value::EXPIRES);
    code.branch(Cond::Eq, Reg::R2, 0, fresh);
    code.mov(Reg::R3, now);
    code.alu(Alu::Sub, Reg::R3, Reg::R2);
    code.branch(Cond::Slt, Reg::R3, 0, refill);
    code.bind(fresh);
    let (credit, refills) = match table.filling {
        Filling::Packets { cap, .. } => (cap, 0),
        Filling::Bytes {
            refills, second, ..
        } => (second, refills),
        Filling::Window { .. } => (0, 0),
    };
    code.store(Size::D, bucket, value::PREVIOUS, now);
    for (offset, number) in [(value::CREDIT, credit), (value::REFILLS, refills)] {
        code.load_imm64(Reg::R2, Imm64::Number(number));
        code.store(Size::D, bucket, offset, Reg::R2);
    }

    code.bind(refill);
    code.load_imm64(Reg::R2, Imm64::Number(table.expire));
    code.alu(Alu::Add, Reg::R2, now);
    code.store(Size::D, bucket, value::EXPIRES, Reg::R2);
    code.load(Size::D, Reg::R2, bucket, value::PREVIOUS);
    code.mov(elapsed, now);
    code.alu(Alu::Sub, elapsed, Reg::R2);
    code.branch(Cond::Eq, elapsed, 0, filled);
    let credit = Reg::R2;
    match table.filling {
        Filling::Packets { cap, per_tick, .. } => {
            let capped = code.label();
            code.store(Size::D, bucket, value::PREVIOUS, now);
            code.load(Size::D, credit, bucket, value::CREDIT);
            code.load_imm64(Reg::R4, Imm64::Number(per_tick));
            code.alu(Alu::Mul, elapsed, Reg::R4);
            code.alu(Alu::Add, credit, elapsed);
            code.load_imm64(Reg::R4, Imm64::Number(cap));
            code.branch(Cond::Le, credit, Reg::R4, capped);
            code.mov(credit, Reg::R4);
            code.bind(capped);
            code.store(Size::D, bucket, value::CREDIT, credit);
        }
        Filling::Bytes {
            second, per_tick, ..
        } => {
            let (full, capped) = (code.label(), code.label());
            code.store(Size::D, bucket, value::PREVIOUS, now);
            code.load(Size::D, Reg::R5, bucket, value::CREDIT);
            code.load_imm64(Reg::R4, Imm64::Number(per_tick));
            code.mov(credit, elapsed);
            code.alu(Alu::Mul, credit, Reg::R4);
            code.alu(Alu::Add, credit, Reg::R5);
            code.load_imm64(Reg::R4, Imm64::Number(second));
            code.branch(Cond::Ge, Reg::R5, credit, full);
            code.branch(Cond::Le, credit, Reg::R4, capped);
            code.bind(full);
            code.mov(credit, Reg::R4);
            code.bind(capped);
            code.store(Size::D, bucket, value::CREDIT, credit);
        }
        Filling::Window { rate, interval, .. } => {
            let kept = code.label();
            code.load_imm64(Reg::R4, Imm64::Number(interval));
            code.branch(Cond::Lt, elapsed, Reg::R4, filled);
            code.store(Size::D, bucket, value::PREVIOUS, now);
            code.load(Size::D, credit, bucket, value::CREDIT);
            code.alu(Alu::Mul, credit, Reg::R4);
            code.load_imm64(Reg::R4, Imm64::Number(rate));
            code.alu(Alu::Mul, elapsed, Reg::R4);
            code.store(Size::D, bucket, value::CREDIT, 0);
            code.store(Size::D, bucket, value::REFILLS, 0);
            code.branch(Cond::Le, credit, elapsed, kept);
            code.store(Size::D, bucket, value::REFILLS, 1);
            code.bind(kept);
        }
    }

    code.bind(filled);
    match table.filling {
        Filling::Packets { cost, .. } => {
            code.load(Size::D, credit, bucket, value::CREDIT);
            code.load_imm64(Reg::R4, Imm64::Number(cost));
            code.branch(Cond::Lt, credit, Reg::R4, over);
            code.alu(Alu::Sub, credit, Reg::R4);
            code.store(Size::D, bucket, value::CREDIT, credit);
        }
        Filling::Bytes { cost, second, .. } => {
            let (affordable, pay) = (code.label(), code.label());
            code.alu(Alu::Rsh, length, TOKEN_SHIFT as i32);
            code.alu(Alu::Add, length, 1);
            code.load_imm64(Reg::R4, Imm64::Number(cost));
            code.alu(Alu::Mul, length, Reg::R4);
            code.load_imm64(Reg::R4, Imm64::Number(second));
            code.branch(Cond::Le, length, Reg::R4, affordable);
            code.mov(length, Reg::R4);
            code.bind(affordable);
            code.load(Size::D, credit, bucket, value::CREDIT);
            code.branch(Cond::Ge, credit, length, pay);
            code.load(Size::D, Reg::R5, bucket, value::REFILLS);
            code.branch(Cond::Eq, Reg::R5, 0, over);
            code.alu(Alu::Sub, Reg::R5, 1);
            code.store(Size::D, bucket, value::REFILLS, Reg::R5);
            code.mov(credit, Reg::R4);
            code.bind(pay);
            code.alu(Alu::Sub, credit, length);
            code.store(Size::D, bucket, value::CREDIT, credit);
        }
        Filling::Window { bytes, burst, .. } => {
            code.load(Size::D, credit, bucket, value::CREDIT);
            match bytes {
                true => code.alu(Alu::Add, credit, length),
                false => code.alu(Alu::Add, credit, 1),
            }
            code.store(Size::D, bucket, value::CREDIT, credit);
            code.load(Size::D, Reg::R4, bucket, value::REFILLS);
            code.branch(Cond::Ne, Reg::R4, 0, over);
            code.load_imm64(Reg::R4, Imm64::Number(burst));
            code.branch(Cond::Gt, credit, Reg::R4, over);
        }
    }
    code.mov(length, 1);
    code.jump(done);
    code.bind(over);
    code.mov(length, 0);
    code.bind(done);
}
