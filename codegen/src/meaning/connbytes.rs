//! `connbytes_mt` of net/netfilter/xt_connbytes.c: how much the packet's connection has carried, this
//! packet among it.

use std::fmt;

use ipt2bpf_parser::matches::connbytes::{Amount, Connbytes, Direction, Mode};

use super::conntrack::source::own_only;
use super::conntrack::{has_connection, looked_up_once};
use super::{Context, MatchMeaning, Refusal};
use crate::asm::{Alu, Cond, Imm64, Reg, Size};
use crate::emit::link::{Call, Linker, PACKET};
use crate::field::{Field, layout as packet_layout};
use crate::module::Hook;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::{Step, Test};
use crate::track::code::ask;
use crate::track::layout;
use crate::track::resolve::resolve;

impl MatchMeaning for Connbytes {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        looked_up_once(context)?;
        own_only(
            context,
            "asks what a connection has carried, which the kernel counts only where it is told to",
        )?;
        let question = HasCarried {
            amount: self.amount.value.value,
            mode: self.mode,
            direction: self.direction,
            arrives: context.hook != Hook::CgroupEgress,
        };
        let answer = Test::equal(Field::Answer, 1);
        Ok(vec![
            Step::require(has_connection()),
            Step::Ask(question.into()),
            Step::require(answer.negated_if(self.amount.negated)),
        ])
    }
}

/// Asks whether a connection has carried an amount: 1 or 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HasCarried {
    amount: Amount,
    mode: Mode,
    direction: Direction,
    /// Whether the packet comes from outside.
    arrives: bool,
}

impl HasCarried {
    /// The directions that count.
    fn sides(&self) -> &'static [usize] {
        match self.direction {
            Direction::Original => &[0],
            Direction::Reply => &[1],
            Direction::Both => &[0, 1],
        }
    }
}

impl Perform for HasCarried {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        let (packets, bytes) = match packet.connection().is_unconfirmed {
            true => ([1, 0], [packet.len(), 0]),
            false => {
                let key = resolve(packet, self.arrives).key;
                let flow = world.flows.get(&key);
                flow.map_or(([0; 2], [0; 2]), |it| (it.packets, it.bytes))
            }
        };
        let sum = |counts: [u64; 2]| {
            let sides = self.sides().iter();
            sides.fold(0u64, |sum, &side| sum.wrapping_add(counts[side]))
        };
        let carried = match self.mode {
            Mode::Packets => sum(packets),
            Mode::Bytes => sum(bytes),
            Mode::Average => sum(bytes).checked_div(sum(packets)).unwrap_or(0),
        };
        (self.amount.low..=self.amount.high)
            .contains(&carried)
            .into()
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let (resolve, flows) = (linker.resolve(), linker.flows());
        let function = linker.function("has_carried", 0, |body| {
            let (packets, bytes) = (Reg::R8, Reg::R9);
            let [known, counted, no] = [(); 3].map(|()| body.code.label());
            let code = &mut body.code;
            code.mov(packets, 0);
            code.mov(bytes, 0);
            code.load(Size::B, Reg::R1, PACKET, packet_layout::UNCONFIRMED);
            code.branch(Cond::Eq, Reg::R1, 0, known);
            // The packet is the first of the original direction.
            if self.direction != Direction::Reply {
                code.mov(packets, 1);
                code.load(Size::W, bytes, PACKET, packet_layout::LENGTH);
            }
            code.jump(counted);
            code.bind(known);
            ask::question(body, resolve);
            ask::flow(body, flows, counted);
            let code = &mut body.code;
            for &side in self.sides() {
                code.load(Size::D, Reg::R1, Reg::R0, layout::PACKETS[side]);
                code.alu(Alu::Add, packets, Reg::R1);
                code.load(Size::D, Reg::R1, Reg::R0, layout::BYTES[side]);
                code.alu(Alu::Add, bytes, Reg::R1);
            }
            code.bind(counted);
            let carried = match self.mode {
                Mode::Packets => packets,
                Mode::Bytes => bytes,
                Mode::Average => {
                    // Division by zero gives zero in BPF.
                    code.alu(Alu::Div, bytes, packets);
                    bytes
                }
            };
            code.load_imm64(Reg::R1, Imm64::Number(self.amount.low));
            code.branch(Cond::Lt, carried, Reg::R1, no);
            code.load_imm64(Reg::R1, Imm64::Number(self.amount.high));
            code.branch(Cond::Gt, carried, Reg::R1, no);
            body.answer(1);
            body.code.bind(no);
            body.code.mov(Reg::R0, 0);
        });
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn reads(&self) -> Vec<Field> {
        vec![Field::CtState]
    }
}

impl fmt::Display for HasCarried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Amount { low, high } = self.amount;
        let what = match self.mode {
            Mode::Packets => "packets",
            Mode::Bytes => "bytes",
            Mode::Average => "bytes a packet",
        };
        let whose = match self.direction {
            Direction::Original => "original",
            Direction::Reply => "reply",
            Direction::Both => "both",
        };
        write!(f, "connection has carried {low}-{high} {what} ({whose})")
    }
}
