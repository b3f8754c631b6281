//! Elements that packets add to a set, or delete from it (`mtype_add` and `mtype_del` of
//! net/netfilter/ipset/ip_set_hash_gen.h and ip_set_bitmap_gen.h).
//!
//! What is there stays as it is when it is added once more, unless the rule renews it; what has had its time
//! is not there. A full set takes nothing new before elements have had their time. The kernel's own hash can
//! refuse an element earlier, when the place that chance gives it is taken, because it does not grow while
//! packets pass.

use std::collections::HashMap;
use std::fmt;

use ipt2bpf_parser::ipset::{Range, SetType};
use ipt2bpf_parser::matches::set::Side;
use ipt2bpf_parser::ruleset::Family;

use super::elements::{key_of, reads, write_sides};
use super::live;
use super::part::KEY;
use crate::asm::{Alu, Cond, FunctionId, Helper, Imm64, Label, MapId, Reg, Size};
use crate::emit::link::{Body, Call, Constant, Linker};
use crate::field::Field;
use crate::module::MapKind;
use crate::options::KernelVersion;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::sets::key::{Dimension, Key, under};
use crate::sets::live::{ANSWER, LENGTH, LiveShape, SECOND, VALUE, map_name};
use crate::sets::table::Answer;
use crate::sets::{Contents, Known};

/// Changes a set that can be changed by the element that a packet is; answers 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChangeElements {
    /// The set, whose map is a hash.
    pub set: Known,
    /// Where each part of the element is taken from; there are enough.
    pub sides: Vec<Side>,
    /// What is done.
    pub change: Change,
}

/// What is done to an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is put into the set.
    Add {
        /// One that is there stays anew.
        renew: bool,
        /// How many seconds it stays, 0 for ever.
        seconds: u32,
    },
    /// It is taken out.
    Delete,
}

/// The elements of a set that can be changed, by their keys, each with the tick after which it is gone, 0 for
/// never.
#[derive(Default)]
struct Elements(Option<HashMap<Key, u64>>);

/// The elements as they are for the reference. Those that the set has at first count their seconds from when
/// it is first asked.
fn elements<'w>(world: &'w mut World, set: &Known) -> &'w mut HashMap<Key, u64> {
    let (now, rate) = (world.jiffies, world.tick_rate);
    let elements: &mut Elements = world.named(&set.name);
    elements.0.get_or_insert_with(|| match &set.contents {
        Contents::Elements(table) => {
            let groups = table.groups.iter();
            let with_time = groups.filter_map(|group| Some((group.key, group.elements.first()?)));
            with_time
                .map(|(key, element)| (key, end(now, element.timeout, rate)))
                .collect()
        }
        Contents::Members(_) => HashMap::new(),
    })
}

/// The last tick of an element that stays so many seconds.
fn end(now: u64, seconds: u32, rate: u32) -> u64 {
    match seconds {
        0 => 0,
        _ => now + u64::from(seconds) * u64::from(rate),
    }
}

fn is_there(end: u64, now: u64) -> bool {
    end == 0 || now <= end
}

/// Whether a set that can be changed, and has no networks, has a packet's element.
pub fn has(world: &mut World, set: &Known, shape: &LiveShape, key: &Key) -> bool {
    let now = world.jiffies;
    let end = elements(world, set).get(&under(key, &shape.mask)).copied();
    end.is_some_and(|end| is_there(end, now))
}

impl ChangeElements {
    fn dimensions(&self) -> &[Dimension] {
        match &self.set.contents {
            Contents::Elements(table) => &table.dimensions,
            Contents::Members(_) => &[],
        }
    }
}

impl Perform for ChangeElements {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        let Some(shape) = &self.set.live else {
            return 0;
        };
        let Some((key, _)) = key_of(packet, self.dimensions(), &self.sides) else {
            return 0;
        };
        let key = under(&key, &shape.mask);
        if !Bounds::of(&self.set, shape).hold(&key) {
            return 0;
        }
        let (now, rate) = (world.jiffies, world.tick_rate);
        let elements = elements(world, &self.set);
        match self.change {
            Change::Delete => {
                elements.remove(&key);
            }
            Change::Add { renew, seconds } => {
                let known = elements.get(&key).copied();
                let stays = known.is_some_and(|end| is_there(end, now)) && !renew;
                if known.is_none() && elements.len() >= shape.entries as usize {
                    elements.retain(|_, end| is_there(*end, now));
                }
                let has_room = known.is_some() || elements.len() < shape.entries as usize;
                if has_room && !stays {
                    let seconds = if shape.is_timed() { seconds } else { 0 };
                    elements.insert(key, end(now, seconds, rate));
                }
            }
        }
        0
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let function = function(linker, self);
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn constants(&self) -> Vec<Constant> {
        vec![live::constant(&self.set)]
    }

    fn reads(&self) -> Vec<Field> {
        reads(self.dimensions(), &self.sides)
    }

    fn kernel(&self) -> KernelVersion {
        match makes_room(&self.set, self.change) {
            true => KernelVersion::FOR_EACH,
            false => KernelVersion::BASELINE,
        }
    }
}

/// Whether a full set is searched for elements that have had their time.
pub fn makes_room(set: &Known, change: Change) -> bool {
    matches!(change, Change::Add { .. }) && set.live.as_ref().is_some_and(LiveShape::is_timed)
}

/// What elements a set takes from packets.
enum Bounds {
    /// All.
    None,
    /// Not an address of zeros, of so many bytes (`hash_ip4_kadt` and `hash_ipport4_kadt`).
    NotZero(usize),
    /// Addresses in host byte order (`bitmap_ip_kadt`).
    Addresses(u32, u32),
    /// Ports (`bitmap_port_kadt`).
    Ports(u32, u32),
}

impl Bounds {
    fn of(set: &Known, shape: &LiveShape) -> Self {
        match (set.kind, shape.range()) {
            (SetType::HashIp | SetType::HashIpPort, _) => {
                let first = shape.parts.first();
                Bounds::NotZero(first.map_or(0, |(dimension, _)| dimension.size()))
            }
            (_, Some(Range::Addresses(first, last))) => {
                let mask = u32::from_be_bytes([0, 1, 2, 3].map(|it| shape.mask[it]));
                Bounds::Addresses(u32::from(first) & mask, last.into())
            }
            (_, Some(Range::Ports(first, last))) => Bounds::Ports(first.into(), last.into()),
            (_, None) => Bounds::None,
        }
    }

    /// Whether a masked key is within.
    fn hold(&self, key: &Key) -> bool {
        let first = [0, 1, 2, 3].map(|it| key[it]);
        match *self {
            Bounds::None => true,
            Bounds::NotZero(size) => key.iter().take(size).any(|&byte| byte != 0),
            Bounds::Addresses(low, high) => (low..=high).contains(&u32::from_be_bytes(first)),
            Bounds::Ports(low, high) => (low..=high).contains(&u32::from_le_bytes(first)),
        }
    }

    /// Goes to `outside` when the masked key on the stack is not within.
    fn emit(&self, body: &mut Body, outside: Label) {
        let code = &mut body.code;
        let bounds = match *self {
            Bounds::None => return,
            Bounds::NotZero(size) => {
                code.mov(Reg::R1, 0);
                for at in (KEY..).step_by(4).take(size / 4) {
                    code.load(Size::W, Reg::R2, Reg::R10, at);
                    code.alu(Alu::Or, Reg::R1, Reg::R2);
                }
                code.branch(Cond::Eq, Reg::R1, 0, outside);
                return;
            }
            Bounds::Addresses(low, high) => {
                code.load(Size::W, Reg::R1, Reg::R10, KEY);
                code.to_big_endian(Reg::R1, 32);
                [low, high]
            }
            Bounds::Ports(low, high) => {
                code.load(Size::W, Reg::R1, Reg::R10, KEY);
                [low, high]
            }
        };
        for (bound, beyond) in bounds.into_iter().zip([Cond::Lt, Cond::Gt]) {
            code.branch32(beyond, Reg::R1, bound.cast_signed(), outside);
        }
    }
}

/// On the stack, under the key: a value, the time, and the key of the only value of a map.
const NEW: i16 = KEY - VALUE as i16;
const NOW: i16 = NEW - 8;
const ZERO: i16 = NOW - 4;

/// Where a map keeps the tick of the last search for elements that are gone, behind the lock.
const SEARCHED: i16 = 8;

/// Flags of an update, and the error of one that finds no room (include/uapi/linux/bpf.h, `E2BIG`).
const BPF_ANY: i32 = 0;
const BPF_NOEXIST: i32 = 1;
const FULL: i32 = -7;

/// The function for a change; one of a set that cannot be changed does nothing.
fn function(linker: &mut Linker<'_>, wanted: &ChangeElements) -> FunctionId {
    let Some(shape) = &wanted.set.live else {
        return linker.function("no_set", 0, |body| body.answer(0));
    };
    let number = wanted.set.number;
    let map = linker.map(&map_name(number), shape.map());
    let room = makes_room(&wanted.set, wanted.change).then(|| Room::of(linker, number, map));
    let (family, bounds) = (linker.family, Bounds::of(&wanted.set, shape));
    linker.function("change_set", 0, |body| {
        let done = body.code.label();
        element(body, family, shape, &wanted.sides, &bounds, done);
        match wanted.change {
            Change::Delete => {
                body.code.load_imm64(Reg::R1, Imm64::Map(map));
                body.stack(Reg::R2, KEY);
                body.code.call(Helper::MapDeleteElem);
            }
            Change::Add { renew, seconds } => {
                let is_timed = shape.is_timed();
                let flags = Reg::R9;
                // A set without times has nothing to renew.
                match renew && is_timed {
                    true => body.code.mov(flags, BPF_ANY),
                    false => leave(body, map, is_timed, flags, done),
                }
                value(body, if is_timed { seconds } else { 0 });
                update(body, map, flags);
                if let Some(room) = room {
                    body.code.branch32(Cond::Ne, Reg::R0, FULL, done);
                    room.make(body, done);
                    update(body, map, flags);
                }
            }
        }
        body.code.bind(done);
        body.answer(0);
    })
}

/// Puts the element that the packet is on the stack, or goes to `none`.
fn element(
    body: &mut Body,
    family: Family,
    shape: &LiveShape,
    sides: &[Side],
    bounds: &Bounds,
    none: Label,
) {
    live::key(body, family, shape, sides, none);
    bounds.emit(body, none);
}

/// Goes to `done` when the element is there; else leaves the flags of its update.
fn leave(body: &mut Body, map: MapId, is_timed: bool, flags: Reg, done: Label) {
    let [absent, put] = [(); 2].map(|()| body.code.label());
    body.look_up(map, KEY, absent);
    match is_timed {
        false => body.code.jump(done),
        true => {
            let (end, code) = (Reg::R8, &mut body.code);
            code.load(Size::D, end, Reg::R0, 0);
            code.branch(Cond::Eq, end, 0, done);
            code.call(Helper::KtimeGetNs);
            code.branch(Cond::Le, Reg::R0, end, done);
            code.mov(flags, BPF_ANY);
            code.jump(put);
        }
    }
    body.code.bind(absent);
    body.code.mov(flags, BPF_NOEXIST);
    body.code.bind(put);
}

/// The value of an element that stays so many seconds.
fn value(body: &mut Body, seconds: u32) {
    let code = &mut body.code;
    match seconds {
        0 => code.store(Size::D, Reg::R10, NEW, 0),
        _ => {
            let nanoseconds = u64::from(seconds) * SECOND;
            code.call(Helper::KtimeGetNs);
            code.load_imm64(Reg::R1, Imm64::Number(nanoseconds));
            code.alu(Alu::Add, Reg::R0, Reg::R1);
            code.store(Size::D, Reg::R10, NEW, Reg::R0);
        }
    }
    let answer = Answer::Yes.number().cast_signed();
    code.store(Size::W, Reg::R10, NEW + ANSWER, answer);
    code.store(Size::W, Reg::R10, NEW + LENGTH as i16, 0);
}

fn update(body: &mut Body, map: MapId, flags: Reg) {
    body.code.load_imm64(Reg::R1, Imm64::Map(map));
    body.stack(Reg::R2, KEY);
    body.stack(Reg::R3, NEW);
    body.code.mov(Reg::R4, flags);
    body.code.call(Helper::MapUpdateElem);
}

/// What makes room in a full set.
#[derive(Clone, Copy)]
struct Room {
    map: MapId,
    /// The tick of the last search: in the same tick nothing more is gone.
    searches: MapId,
    expire: FunctionId,
}

impl Room {
    fn of(linker: &mut Linker<'_>, number: u32, map: MapId) -> Self {
        let (entries, bytes) = (1, 8);
        let searches = linker.map(
            &format!("set{number}_gc"),
            MapKind::State { entries, bytes },
        );
        let expire = linker.callback("expire_element", |code| {
            let (key, end, keep) = (Reg::R6, Reg::R7, code.label());
            code.mov(key, Reg::R2);
            code.load(Size::D, end, Reg::R3, 0);
            code.branch(Cond::Eq, end, 0, keep);
            code.load(Size::D, Reg::R1, Reg::R4, 0);
            code.branch(Cond::Le, Reg::R1, end, keep);
            code.load_imm64(Reg::R1, Imm64::Map(map));
            code.mov(Reg::R2, key);
            code.call(Helper::MapDeleteElem);
            code.bind(keep);
            code.mov(Reg::R0, 0);
            code.exit();
        });
        Room {
            map,
            searches,
            expire,
        }
    }

    /// Takes out what is gone; goes to `none` when that was done in this tick.
    fn make(self, body: &mut Body, none: Label) {
        let (tick, code) = (Reg::R8, &mut body.code);
        code.call(Helper::Jiffies64);
        code.mov(tick, Reg::R0);
        code.store(Size::W, Reg::R10, ZERO, 0);
        body.look_up(self.searches, ZERO, none);
        let code = &mut body.code;
        code.load(Size::D, Reg::R1, Reg::R0, SEARCHED);
        code.branch(Cond::Eq, Reg::R1, tick, none);
        code.store(Size::D, Reg::R0, SEARCHED, tick);
        code.call(Helper::KtimeGetNs);
        code.store(Size::D, Reg::R10, NOW, Reg::R0);
        code.load_imm64(Reg::R1, Imm64::Map(self.map));
        code.load_imm64(Reg::R2, Imm64::Function(self.expire));
        body.stack(Reg::R3, NOW);
        body.code.mov(Reg::R4, 0);
        body.code.call(Helper::ForEachMapElem);
    }
}

impl fmt::Display for ChangeElements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.set.name;
        match self.change {
            Change::Delete => write!(f, "delete from set {name}")?,
            Change::Add { .. } => write!(f, "add to set {name}")?,
        }
        write_sides(f, &self.sides)?;
        match self.change {
            Change::Delete => Ok(()),
            Change::Add { renew, seconds } => {
                if seconds != 0 {
                    write!(f, " for {seconds} s")?;
                }
                if renew { write!(f, " anew") } else { Ok(()) }
            }
        }
    }
}
