//! From routines to functions and maps.

use std::collections::HashMap;

use super::Callees;
use super::parse::{KernelAccess, xdp};
use super::worker::{Worker, copy};
use crate::asm::{Alu, Code, Cond, FunctionId, Helper, Imm64, Label, MapId, Operand, Reg, Size};
use crate::field::{Field, layout};
use crate::module::{FunctionKind, Hook, Map, MapKind, Parameter};
use crate::options::{ConnectionTable, Options};
use crate::routine::{Place, Routine};
use crate::semantic::FamilyFilter;
use crate::track::code::{self, question};
use crate::track::kernel::{self, HANDED_OVER_MAP, PROCESSORS, handed};
use crate::track::{
    FLOWS_MAP, LOCKS, LOCKS_MAP, RING_MAP, STATISTICS_MAP, flows_shape, layout as flow_layout,
    ring_places, statistics,
};
use ipt2bpf_parser::ruleset::Family;

/// The call of a routine's function: `u32 function(context, packet, arguments...)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What is called.
    pub function: FunctionId,
    /// At most three numbers, in R3 and on.
    pub arguments: Vec<u32>,
}

/// The functions that find and track connections.
#[derive(Clone, Copy, Debug)]
pub enum TrackingCalls {
    /// A packet's connection is looked up.
    LookUp {
        /// `resolve(context, packet, question)`
        resolve: FunctionId,
        /// `track(context, packet, question, commit)`
        track: FunctionId,
        /// Whether a packet that is accepted commits what it begins.
        commits: bool,
    },
    /// The kernel has found it: `recall(context, packet)`.
    Recall(FunctionId),
}

/// The calls of all routines of a family's rules.
#[derive(Clone, Debug, Default)]
pub struct Calls(HashMap<Routine, Call>);

impl Calls {
    /// The function of a routine, and its arguments. Of one that was not linked it is [`FunctionId::NONE`], with
    /// which no object can be written.
    pub fn of(&self, routine: &Routine) -> (FunctionId, &[u32]) {
        match self.0.get(routine) {
            Some(call) => (call.function, &call.arguments),
            None => (FunctionId::NONE, &[]),
        }
    }
}

/// Constant bytes that routines read. They are known before any function is written, so that functions
/// know the size of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constant {
    /// The map of [`MapKind::Constant`] with all that are of a kind.
    pub map: &'static str,
    /// The bytes; equal ones are kept once.
    pub bytes: Vec<u8>,
}

/// Where a [`Constant`] lies in the only value of its map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConstantPlace {
    /// The map.
    pub map: MapId,
    /// Bytes from the start of the value, a multiple of 8.
    pub offset: u32,
    /// Bytes of the whole value.
    pub size: u32,
}

impl Constant {
    /// Puts the bytes into their map, unless they are there.
    pub(super) fn keep(&self, maps: &mut Vec<Map>) -> ConstantPlace {
        let empty = MapKind::Constant { bytes: Vec::new() };
        let map = map_named(maps, self.map, empty);
        let MapKind::Constant { bytes: kept } = &mut maps[usize::from(map.0)].kind else {
            return ConstantPlace {
                map,
                offset: 0,
                size: 0,
            };
        };
        let mut places = (0..kept.len()).step_by(8);
        let known = places.find(|&at| kept[at..].starts_with(&self.bytes));
        let offset = known.unwrap_or_else(|| {
            kept.resize(kept.len().next_multiple_of(8), 0);
            kept.extend(&self.bytes);
            kept.len() - self.bytes.len()
        });
        ConstantPlace {
            map,
            offset: offset as u32,
            size: kept.len() as u32,
        }
    }
}

/// The map of a name, made when it is not there yet.
fn map_named(maps: &mut Vec<Map>, name: &str, kind: MapKind) -> MapId {
    let known = maps.iter().position(|map| map.name == name);
    let index = known.unwrap_or_else(|| {
        maps.push(Map {
            name: name.to_owned(),
            kind,
        });
        maps.len() - 1
    });
    MapId(index as u16)
}

pub use super::states::States;

/// What the number of states in a map is rounded up to where more may come.
const SPACIOUS_STATES: u32 = 16;

/// Makes the functions and maps that routines need.
pub struct Linker<'a> {
    /// The hook of the program.
    pub hook: Hook,
    /// The family of the rules.
    pub family: Family,
    /// What the user chose.
    pub options: &'a Options,
    pub(super) maps: &'a mut Vec<Map>,
    pub(super) states: &'a mut States,
    pub(super) callees: &'a mut Callees,
    pub(super) linkage: FunctionKind,
    pub(super) packet_size: u32,
}

impl Linker<'_> {
    /// The functions for all routines of some rules.
    pub fn link(&mut self, filter: &FamilyFilter) -> Calls {
        let mut calls = HashMap::new();
        for routine in filter.routines() {
            if !calls.contains_key(routine) {
                let call = routine.work().link(self);
                calls.insert(routine.clone(), call);
            }
        }
        Calls(calls)
    }

    /// The map of the connections.
    pub fn flows(&mut self) -> MapId {
        let entries = self.options.connections.max(1);
        self.map(FLOWS_MAP, MapKind::Hash(flows_shape(entries)))
    }

    /// The map of the locks: [`LOCKS`] of them.
    pub fn locks(&mut self) -> MapId {
        let (entries, bytes) = (LOCKS, 8);
        self.map(LOCKS_MAP, MapKind::State { entries, bytes })
    }

    /// The function that finds the packet's connection: `resolve(context, packet, question)`.
    pub fn resolve(&mut self) -> FunctionId {
        let question = Parameter::Memory(question::SIZE as u32);
        let family = self.family;
        self.function_of("resolve", &[question], |body| {
            code::resolve(body, family);
        })
    }

    /// The map of the connections that are handed over, where they are.
    pub fn handed_over(&mut self) -> Option<MapId> {
        let kind = MapKind::State {
            entries: PROCESSORS,
            bytes: handed::BYTES,
        };
        (self.hook == Hook::CgroupIngress).then(|| self.map(HANDED_OVER_MAP, kind))
    }

    /// The functions that find and track connections.
    pub(super) fn tracking(&mut self) -> TrackingCalls {
        match (self.options.conntrack, self.hook) {
            (ConnectionTable::Own, _) => self.own_tracking(),
            (ConnectionTable::Kernel, Hook::Xdp) => {
                let table = code::Table::Kernel(self.family);
                TrackingCalls::LookUp {
                    resolve: self.resolve(),
                    track: self.track(table),
                    commits: false,
                }
            }
            (ConnectionTable::Kernel, Hook::CgroupIngress | Hook::CgroupEgress) => {
                let handed = self.handed_over();
                TrackingCalls::Recall(self.function_of("recall", &[], |body| {
                    kernel::recall(body, handed);
                }))
            }
        }
    }

    fn track(&mut self, table: code::Table) -> FunctionId {
        let question = Parameter::Memory(question::SIZE as u32);
        let options = self.options;
        let chunks = code::sctp::read_chunks(self);
        self.function_of("track", &[question, Parameter::U32], |body| {
            code::track(body, table, chunks, options);
        })
    }

    fn own_tracking(&mut self) -> TrackingCalls {
        let (flows, locks) = (self.flows(), self.locks());
        let question = Parameter::Memory(question::SIZE as u32);
        let resolve = self.resolve();
        let options = self.options;
        let flood = options.timeouts.flood().wrapping_mul(options.tick_rate);
        let places = ring_places(self.options.connections);
        let enter_maps = code::EnterMaps {
            flows,
            ring: self.map(
                RING_MAP,
                MapKind::State {
                    entries: places,
                    bytes: code::RING_PLACE_BYTES,
                },
            ),
            places,
            statistics: self.map(
                STATISTICS_MAP,
                MapKind::State {
                    entries: 1,
                    bytes: statistics::BYTES,
                },
            ),
        };
        let flow = Parameter::Memory(flow_layout::SIZE as u32);
        let enter = self.function_of("enter", &[question, flow], |body| {
            code::enter(body, enter_maps, flood);
        });
        let maps = code::Maps {
            flows,
            locks,
            enter,
        };
        TrackingCalls::LookUp {
            resolve,
            track: self.track(code::Table::Own(maps)),
            commits: true,
        }
    }

    /// The map of a name, made when it is not there yet.
    pub fn map(&mut self, name: &str, kind: MapKind) -> MapId {
        map_named(self.maps, name, kind)
    }

    /// The value of a match in a map of [`MapKind::State`], all zero at first: the map and the value's
    /// index.
    pub fn state(&mut self, name: &str, place: Place, bytes: u32) -> (MapId, u32) {
        let map = self.map(name, MapKind::State { entries: 0, bytes });
        let MapKind::State { entries, .. } = &mut self.maps[usize::from(map.0)].kind else {
            return (map, 0);
        };
        let index = self.states.index(name, place);
        let needed = match self.options.lasts {
            true => (index + 1).next_multiple_of(SPACIOUS_STATES),
            false => index + 1,
        };
        *entries = needed.max(*entries);
        (map, index)
    }

    /// Where constants of [`Perform::constants`](crate::routine::Perform::constants) lie.
    pub fn constant(&mut self, constant: &Constant) -> ConstantPlace {
        constant.keep(self.maps)
    }

    /// A function of so many numbers that is verified once, see [`Worker`]. Functions of the same code are
    /// one; the name is for people.
    pub fn worker(
        &mut self,
        name: &str,
        numbers: usize,
        write: impl FnOnce(&mut Worker),
    ) -> FunctionId {
        let mut worker = Worker::new(name, self.hook);
        write(&mut worker);
        let mut parameters = vec![Parameter::Context(self.hook)];
        parameters.extend(std::iter::repeat_n(Parameter::U64, numbers));
        let code = worker.finish();
        self.callees
            .share(name, FunctionKind::Global, parameters, code)
    }

    /// A function for routines that are called with so many arguments. Functions of the same code are
    /// one; the name is for people.
    pub fn function(
        &mut self,
        name: &str,
        arguments: usize,
        write: impl FnOnce(&mut Body),
    ) -> FunctionId {
        self.function_of(name, &vec![Parameter::U32; arguments], write)
    }

    /// A function with parameters of any kind behind the context and the packet.
    fn function_of(
        &mut self,
        name: &str,
        more: &[Parameter],
        write: impl FnOnce(&mut Body),
    ) -> FunctionId {
        let mut body = Body::new(name, self.hook);
        body.access = KernelAccess::of(self.options.device_names);
        let mut parameters = vec![
            Parameter::Context(self.hook),
            Parameter::Memory(self.packet_size),
        ];
        parameters.extend(more);
        if self.linkage == FunctionKind::Global {
            body.refuse_null(&parameters);
        }
        body.keep_arguments();
        write(&mut body);
        let code = body.finish();
        self.callees.share(name, self.linkage, parameters, code)
    }

    /// A function that a helper calls: `bpf_for_each_map_elem` with map, key, value and what the caller gave,
    /// in R1 to R4; `bpf_loop` with the number of the round and what the caller gave.
    pub fn callback(&mut self, name: &str, write: impl FnOnce(&mut Code)) -> FunctionId {
        let mut code = Code::default();
        code.line(name);
        write(&mut code);
        let parameters = vec![Parameter::Memory(self.packet_size); 4];
        self.callees
            .share(name, FunctionKind::Static, parameters, code)
    }
}

/// The body of a routine's function while it is written. R6 is the `struct packet`, R7 the context; R3 to
/// R5 hold the arguments until the first call.
pub struct Body {
    /// What is written.
    pub code: Code,
    /// The hook of the program.
    pub hook: Hook,
    pub(super) access: Option<KernelAccess>,
    end: Label,
}

/// The `struct packet` in a routine.
pub const PACKET: Reg = super::test::PACKET;
/// The context in a routine.
pub const CONTEXT: Reg = Reg::R7;

impl Body {
    fn new(name: &str, hook: Hook) -> Self {
        let mut code = Code::default();
        code.line(name);
        let end = code.label();
        Body {
            code,
            hook,
            access: None,
            end,
        }
    }

    /// Returns when a pointer to memory is null, as the verifier takes it to be in a global function.
    fn refuse_null(&mut self, parameters: &[Parameter]) {
        self.code.mov(Reg::R0, 0);
        let registers = [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];
        for (register, parameter) in registers.into_iter().zip(parameters) {
            if let Parameter::Memory(_) = parameter {
                self.code.branch(Cond::Eq, register, 0, self.end);
            }
        }
    }

    fn keep_arguments(&mut self) {
        self.code.mov(CONTEXT, Reg::R1);
        self.code.mov(PACKET, Reg::R2);
    }

    fn finish(mut self) -> Code {
        self.code.bind(self.end);
        self.code.exit();
        self.code
    }

    /// Ends the function with an answer.
    pub fn answer(&mut self, answer: impl Into<Operand>) {
        self.code.mov(Reg::R0, answer);
        self.code.jump(self.end);
    }

    /// `dst = field`, of at most four bytes, in host byte order.
    pub fn field(&mut self, dst: Reg, field: Field) {
        let place = field.place();
        let size = match place.size {
            1 => Size::B,
            2 => Size::H,
            _ => Size::W,
        };
        self.code.load(size, dst, PACKET, place.offset);
    }

    /// `dst = pointer to the stack at this negative offset`
    pub fn stack(&mut self, dst: Reg, offset: i16) {
        self.code.mov(dst, Reg::R10);
        self.code.alu(Alu::Add, dst, i32::from(offset));
    }

    /// `dst = where the IP header lies in the frame`; 0 at hooks whose packets begin with it.
    pub fn frame_offset(&mut self, dst: Reg) {
        match self.hook {
            Hook::Xdp => self.code.load(Size::B, dst, PACKET, layout::IP_HEADER),
            Hook::CgroupIngress | Hook::CgroupEgress => self.code.mov(dst, 0),
        }
    }

    /// `r0 = address of the value of the key on the stack at this offset`; goes to `none` when there is
    /// none.
    pub fn look_up(&mut self, map: MapId, key: i16, none: Label) {
        self.code.load_imm64(Reg::R1, Imm64::Map(map));
        self.stack(Reg::R2, key);
        self.code.call(Helper::MapLookupElem);
        self.code.branch(Cond::Eq, Reg::R0, 0, none);
    }

    /// Locks a value of a map, by its address in a register that survives calls. Until [`Self::unlock`]
    /// nothing may be called.
    pub fn lock(&mut self, value: Reg) {
        self.code.mov(Reg::R1, value);
        self.code.call(Helper::SpinLock);
    }

    /// Unlocks it.
    pub fn unlock(&mut self, value: Reg) {
        self.code.mov(Reg::R1, value);
        self.code.call(Helper::SpinUnlock);
    }

    /// Copies bytes of the packet, from the offset in a register on, counted from the IP header, to the
    /// stack; goes to `missing` when the packet does not have them. R0 to R5 are lost.
    pub fn bytes(&mut self, at: Reg, count: i16, to: i16, missing: Label) {
        let code = &mut self.code;
        code.load(Size::W, Reg::R2, PACKET, layout::LENGTH);
        code.mov(Reg::R3, at);
        code.alu(Alu::Add, Reg::R3, i32::from(count));
        code.branch(Cond::Gt, Reg::R3, Reg::R2, missing);
        code.mov(Reg::R2, at);
        if self.hook == Hook::Xdp {
            code.load(Size::B, Reg::R1, PACKET, layout::IP_HEADER);
            code.alu(Alu::Add, Reg::R2, Reg::R1);
        }
        copy(code, self.hook, CONTEXT, count, to, missing);
    }
}

/// `r4 = the place of the IP header in the frame`, or of what lies behind it by a number in a register;
/// goes to `missing` unless so many bytes, at most 512, are there. R2, R3 and R5 are lost.
pub fn point(code: &mut Code, behind: Option<Reg>, bytes: i32, missing: Label) {
    code.load(Size::B, Reg::R2, PACKET, layout::IP_HEADER);
    // Pointers must stay below 64 KiB for the verifier.
    code.alu(Alu::And, Reg::R2, 0x3f);
    code.load(Size::W, Reg::R4, CONTEXT, xdp::DATA);
    code.alu(Alu::Add, Reg::R4, Reg::R2);
    if let Some(behind) = behind {
        code.branch(Cond::Gt, behind, 0xfc00, missing);
        code.alu(Alu::Add, Reg::R4, behind);
    }
    code.load(Size::W, Reg::R3, CONTEXT, xdp::DATA_END);
    code.mov(Reg::R5, Reg::R4);
    code.alu(Alu::Add, Reg::R5, bytes);
    code.branch(Cond::Gt, Reg::R5, Reg::R3, missing);
}
