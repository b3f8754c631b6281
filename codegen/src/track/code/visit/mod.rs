//! [`track` and `confirm`](crate::track::table) as a function of a program.

mod age;
mod find;
mod look_up;
mod read;
mod tell;

use ipt2bpf_parser::ruleset::Family;

use super::tcp::{FLOW, Segment, Variables};
use super::{hidden, sctp};
use crate::asm::{Cond, FunctionId, Label, MapId, Reg, Size};
use crate::emit::link::{Body, CONTEXT, PACKET};
use crate::emit::words::{Compare, Fact, Place, Script};
use crate::field::Field;
use crate::options::Options;
use crate::track::resolve::Class;
use crate::track::tcp::{GONE, Index};
use crate::track::timeouts::Timeouts;
use crate::track::{layout, state, status};

/// The flow's lock, once it is found; before, an offset in the packet.
const LOCK: Reg = Reg::R9;
/// Where in the packet something is read.
const AT: Reg = Reg::R9;

/// What lies on the stack.
mod stack {
    use crate::track::layout;

    /// The question's address.
    pub const QUESTION: i16 = -8;
    /// 1 when the flow is new; eight bytes, so that the verifier knows it.
    pub const IS_NEW: i16 = -16;
    /// A flow that is new; before, the header in work.
    pub const FLOW: i16 = -16 - layout::SIZE;
    /// Variables lie below.
    pub const VARIABLES: i16 = FLOW;
}

/// The maps, and the function that enters a flow.
#[derive(Clone, Copy)]
pub struct Maps {
    /// [`FLOWS_MAP`](crate::track::FLOWS_MAP)
    pub flows: MapId,
    /// [`LOCKS_MAP`](crate::track::LOCKS_MAP)
    pub locks: MapId,
    /// [`enter`](super::enter)
    pub enter: FunctionId,
}

/// Where flows are.
#[derive(Clone, Copy)]
pub enum Table {
    /// In our map.
    Own(Maps),
    /// In the kernel's table, where they are looked up and left as they are
    /// ([`track::kernel`](crate::track::kernel)).
    Kernel(Family),
}

/// Writes the function's body; R3 is the question, R4 whether to commit. `chunks` is
/// [`sctp::read_chunks`].
pub fn track(body: &mut Body, table: Table, chunks: FunctionId, options: &Options) {
    let mut writer = Writer::new(body, table, chunks, options);
    writer.read();
    writer.find();
    writer.tell();
    writer.leave();
}

struct Writer<'a> {
    body: &'a mut Body,
    table: Table,
    chunks: FunctionId,
    tick_rate: u32,
    timeouts: Timeouts,
    /// The offset of the next variable.
    lowest: i16,
    commit: Place,
    class: Place,
    now: Place,
    /// The tick at which the flow is forgotten; 0 leaves it as it is.
    expires: Place,
    direction: Place,
    /// The answer, in the packet.
    state: Place,
    segment: Segment,
    machine: Variables,
    /// SCTP's, in the places of TCP's.
    association: sctp::Variables,
    labels: Labels,
}

#[derive(Clone, Copy)]
struct Labels {
    /// The packet has no connection.
    invalid: Label,
    /// All is said.
    end: Label,
    /// The packet begins a flow.
    fresh: Label,
    /// The flow is found or made, and locked.
    found: Label,
    /// The flow has been told of a packet that it takes; what remains is to date and count it.
    refresh: Label,
    /// Likewise, but it stays as it is.
    keep: Label,
    /// It does not take the packet.
    refused: Label,
    /// It was over: it makes way for a new one.
    reopened: Label,
}

fn in_question(offset: i16) -> Place {
    // Loaded behind R1.
    Place::byte(Reg::R1, offset)
}

fn packet_byte(field: Field) -> Place {
    Place::byte(PACKET, field.place().offset)
}

fn header(offset: i16) -> Place {
    Place::byte(Reg::R10, stack::FLOW + offset)
}

impl<'a> Writer<'a> {
    fn new(body: &'a mut Body, table: Table, chunks: FunctionId, options: &Options) -> Self {
        body.code.store(Size::D, Reg::R10, stack::QUESTION, Reg::R3);
        let mut script = Script::new(&mut body.code, stack::VARIABLES);
        let commit = script.variable();
        script
            .code
            .store(Size::W, commit.base, commit.offset, Reg::R4);
        let class = script.bind(0);
        let now = script.variable();
        let expires = script.bind(0);
        let direction = script.bind(0);
        let segment = Segment {
            flags: script.bind(0),
            sequence: script.variable(),
            ack: script.variable(),
            sack: script.variable(),
            window: script.variable(),
            end: script.variable(),
            index: script.variable(),
            has_options: script.variable(),
            scale: script.variable(),
            offers: script.variable(),
        };
        let machine = Variables::new(&mut script);
        let association = sctp::Variables {
            tag: segment.sequence,
            list: segment.ack,
            kinds: segment.window,
            init_tag: segment.sack,
            own: segment.end,
            other: segment.has_options,
            kind: segment.scale,
            ignored: segment.offers,
            old: machine.old,
            new: machine.new,
            turns: Place {
                base: Reg::R10,
                offset: (script.lowest() - 8) & !7,
                size: Size::D,
            },
        };
        let lowest = association.turns.offset;
        let mut label = || body.code.label();
        let labels = Labels {
            invalid: label(),
            end: label(),
            fresh: label(),
            found: label(),
            refresh: label(),
            keep: label(),
            refused: label(),
            reopened: label(),
        };
        Writer {
            state: packet_byte(Field::CtState),
            body,
            table,
            chunks,
            association,
            tick_rate: options.tick_rate,
            timeouts: options.timeouts,
            lowest,
            commit,
            class,
            now,
            expires,
            direction,
            segment,
            machine,
            labels,
        }
    }

    fn script(&mut self) -> Script<'_> {
        Script::new(&mut self.body.code, self.lowest)
    }

    /// R1 = the question
    fn question(&mut self) {
        self.body
            .code
            .load(Size::D, Reg::R1, Reg::R10, stack::QUESTION);
    }

    /// What remains to be done without the lock.
    fn leave(&mut self) {
        let (labels, state_place) = (self.labels, self.state);
        if let Table::Own(maps) = self.table {
            self.remember(maps.enter);
        }
        self.body.code.jump(labels.end);
        self.body.code.bind(labels.invalid);
        self.script().set(state_place, u32::from(state::INVALID));
        self.body.code.bind(labels.end);
        self.body.answer(0);
    }

    /// A flow that a RST ends is gone, one that is new and accepted is remembered.
    fn remember(&mut self, enter: FunctionId) {
        let labels = self.labels;
        let (class, segment, commit) = (self.class, self.segment, self.commit);
        let fresh = self.body.code.label();
        let code = &mut self.body.code;
        code.load(Size::D, Reg::R1, Reg::R10, stack::IS_NEW);
        code.branch(Cond::Ne, Reg::R1, 0, fresh);
        let dies = Fact::All(vec![
            class.is(Class::Tcp as u32),
            segment.index.is(Index::Rst as u32),
            self.machine.old.is(DYING),
        ]);
        self.script().branch(&dies, false, labels.end);
        // The rules may still ask for it.
        self.body
            .code
            .store(Size::B, FLOW, layout::TCP_STATE, i32::from(GONE));
        self.body.code.jump(labels.end);
        self.body.code.bind(fresh);
        self.script().branch(&commit.is(0), true, labels.end);
        let mark = Place::word(PACKET, Field::CtMark.place().offset);
        let mut script = self.script();
        script.set(Place::word(FLOW, layout::MARK), mark);
        let flow_status = Place::byte(FLOW, layout::STATUS);
        let confirmed = flow_status | u32::from(status::CONFIRMED);
        script.set(flow_status, confirmed);
        let code = &mut self.body.code;
        code.mov(Reg::R1, CONTEXT);
        code.mov(Reg::R2, PACKET);
        code.load(Size::D, Reg::R3, Reg::R10, stack::QUESTION);
        code.mov(Reg::R4, FLOW);
        code.call_function(enter);
    }
}

/// Hides what variables hold.
fn forget(script: &mut Script<'_>, variables: &[Place]) {
    for &variable in variables {
        script.set(variable, hidden(0) + variable);
    }
}

/// What the machine's old state holds for a flow that ends with this packet.
const DYING: u32 = 255;
