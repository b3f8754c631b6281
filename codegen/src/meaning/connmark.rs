//! The mark of the packet's connection (net/netfilter/xt_connmark.c).

use std::fmt;

use ipt2bpf_parser::matches::connmark::Connmark;
use ipt2bpf_parser::targets::connmark::{Connmark as Target, Masks, Operation, Shift};
use ipt2bpf_parser::targets::mark_change::MarkChange;

use super::change_mark;
use super::conntrack::source::{self, own_only};
use super::conntrack::{has_connection, looked_up_once};
use super::{Context, MatchMeaning, Refusal, TargetAction, TargetMeaning, require};
use crate::asm::{Alu, Code, Reg, Size};
use crate::emit::link::{CONTEXT, Call, Linker, PACKET};
use crate::field::Field;
use crate::module::Hook;
use crate::packet::{Connected, Packet};
use crate::routine::{Perform, World};
use crate::semantic::{Action, Step, Test};
use crate::track::NO_CONNECTION;
use crate::track::code::ask;
use crate::track::layout;
use crate::track::resolve::resolve;

impl MatchMeaning for Connmark {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let mut steps = source::ask(context)?;
        let mark = require(&self.mark, |mark| Test::Masked {
            field: Field::CtMark,
            mask: mark.mask.into(),
            value: mark.value.into(),
        });
        steps.extend([Step::require(has_connection()), mark]);
        Ok(steps)
    }
}

impl TargetMeaning for Target {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        looked_up_once(context)?;
        own_only(
            context,
            "changes the marks of connections, or is a target that asks for them",
        )?;
        let change = ChangeMark {
            operation: self.operation,
            shift: self.shift,
            arrives: context.hook != Hook::CgroupEgress,
        };
        Ok(TargetAction {
            effects: vec![change.into()],
            action: Action::Continue,
            note: None,
        })
    }
}

/// Changes the connection's mark, or copies it to the packet's. A connection that is not in the table yet
/// takes its mark along when it is confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChangeMark {
    operation: Operation,
    shift: Shift,
    /// Whether the packet comes from outside.
    arrives: bool,
}

impl ChangeMark {
    /// What is written, from the packet's and the connection's mark.
    fn new_mark(&self, packet: u32, connection: u32) -> u32 {
        let shifted = |mark: u32| match self.shift {
            Shift::Left(bits) => mark << (bits & 31),
            Shift::Right(bits) => mark >> (bits & 31),
        };
        match self.operation {
            Operation::Set(MarkChange { value, mask }) => shifted((connection & !mask) ^ value),
            Operation::Save(masks) => {
                (connection & !masks.connection) ^ shifted(packet & masks.packet)
            }
            Operation::Restore(masks) => {
                (packet & !masks.packet) ^ shifted(connection & masks.connection)
            }
        }
    }

    fn restores(&self) -> bool {
        matches!(self.operation, Operation::Restore(_))
    }
}

impl Perform for ChangeMark {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        let connection = packet.connection();
        if connection.state & NO_CONNECTION != 0 {
            return 0;
        }
        let mark = self.new_mark(packet.get(Field::Mark) as u32, connection.mark);
        if self.restores() {
            packet.set_mark(mark);
            world.written.mark = Some(mark);
            return 0;
        }
        packet.set_connection(Connected { mark, ..connection });
        if !connection.is_unconfirmed {
            let key = resolve(packet, self.arrives).key;
            if let Some(flow) = world.flows.get_mut(&key) {
                flow.mark = mark;
            }
        }
        0
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let (resolve, flows) = (linker.resolve(), linker.flows());
        let function = linker.function("connection_mark", 0, |body| {
            const NEW: Reg = Reg::R8;
            let done = body.code.label();
            ask::connected(body, done);
            body.field(Reg::R2, Field::CtMark);
            if !matches!(self.operation, Operation::Set(_)) {
                body.field(Reg::R1, Field::Mark);
            }
            let code = &mut body.code;
            let (kept, taken, keeps, takes) = match self.operation {
                Operation::Set(MarkChange { value, mask }) => {
                    code.mov(NEW, Reg::R2);
                    code.alu32(Alu::And, NEW, !mask as i32);
                    code.alu32(Alu::Xor, NEW, value as i32);
                    self.emit_shift(code, NEW);
                    (Reg::R2, Reg::R1, 0, 0)
                }
                Operation::Save(Masks { packet, connection }) => {
                    (Reg::R2, Reg::R1, !connection, packet)
                }
                Operation::Restore(Masks { packet, connection }) => {
                    (Reg::R1, Reg::R2, !packet, connection)
                }
            };
            if !matches!(self.operation, Operation::Set(_)) {
                code.mov(NEW, kept);
                code.alu32(Alu::And, NEW, keeps as i32);
                code.alu32(Alu::And, taken, takes as i32);
                self.emit_shift(code, taken);
                code.alu32(Alu::Xor, NEW, taken);
            }
            let field = match self.restores() {
                true => Field::Mark,
                false => Field::CtMark,
            };
            code.store(Size::W, PACKET, field.place().offset, NEW);
            match (self.restores(), body.hook) {
                (true, Hook::Xdp) => {}
                (true, Hook::CgroupIngress | Hook::CgroupEgress) => {
                    body.code.store(Size::W, CONTEXT, change_mark::MARK, NEW);
                }
                (false, _) => {
                    // A connection that is not in the table is not found there.
                    ask::question(body, resolve);
                    ask::flow(body, flows, done);
                    body.code.store(Size::W, Reg::R0, layout::MARK, NEW);
                }
            }
            body.code.bind(done);
            body.code.mov(Reg::R0, 0);
        });
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn reads(&self) -> Vec<Field> {
        match self.operation {
            Operation::Set(_) => vec![Field::CtState, Field::CtMark],
            Operation::Save(_) | Operation::Restore(_) => {
                vec![Field::CtState, Field::CtMark, Field::Mark]
            }
        }
    }
}

impl ChangeMark {
    fn emit_shift(&self, code: &mut Code, mark: Reg) {
        match self.shift {
            Shift::Left(0) | Shift::Right(0) => {}
            Shift::Left(bits) => code.alu32(Alu::Lsh, mark, i32::from(bits & 31)),
            Shift::Right(bits) => code.alu32(Alu::Rsh, mark, i32::from(bits & 31)),
        }
    }
}

impl fmt::Display for ChangeMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.operation {
            Operation::Set(MarkChange { value, mask }) => {
                write!(f, "connection mark ^ {value:#x} without {mask:#x}")?
            }
            Operation::Save(Masks { packet, connection }) => write!(
                f,
                "connection mark without {connection:#x} ^ mark & {packet:#x}"
            )?,
            Operation::Restore(Masks { packet, connection }) => write!(
                f,
                "mark without {packet:#x} ^ connection mark & {connection:#x}"
            )?,
        }
        match self.shift {
            Shift::Left(0) | Shift::Right(0) => Ok(()),
            Shift::Left(bits) => write!(f, " << {bits}"),
            Shift::Right(bits) => write!(f, " >> {bits}"),
        }
    }
}
