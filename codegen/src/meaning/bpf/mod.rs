//! `bpf_mt` of net/netfilter/xt_bpf.c: a program of classic BPF sees the packet from its IP header on, and
//! matches when it gives anything but zero (net/core/filter.c).

mod bounds;
mod emit;
mod instruction;

use std::fmt;

use ipt2bpf_parser::matches::bpf::Bpf;

use super::{Context, MatchMeaning, Refusal, raw};
use crate::emit::link::{Call, Linker};
use crate::field::Field;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::{Step, Test};
use instruction::{CELLS, Fact, Op, Operand, Place, decode};

impl MatchMeaning for Bpf {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let program = match self {
            Bpf::Classic(program) => decode(program, context.family)?,
            Bpf::Pinned(path) => {
                return Err(Refusal {
                    code: "bpf-pinned",
                    reason: format!(
                        "runs the program pinned at {path}, whose code is not in the ruleset"
                    ),
                    help: "give the program as --bytecode".into(),
                });
            }
        };
        bounds::check(&program)?;
        Ok(vec![
            Step::Ask(RunClassic(program).into()),
            Step::require(Test::at_least(Field::Answer, 1)),
        ])
    }

    fn note(&self, context: Context<'_>) -> Option<String> {
        raw::note(context)
    }
}

/// Answers what the program gives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RunClassic(Vec<Op>);

/// The state of a program.
#[derive(Default)]
struct Registers {
    a: u32,
    x: u32,
    cells: [u32; CELLS],
}

impl Perform for RunClassic {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        // An end without a return is one with zero, as a load out of range is.
        run(&self.0, packet, world).unwrap_or(0)
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let function = linker.function("classic_bpf", 0, |body| emit::emit(body, &self.0));
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn reads(&self) -> Vec<Field> {
        let asks = self.0.contains(&Op::Learn(Fact::Mark));
        asks.then_some(Field::Mark).into_iter().collect()
    }

    fn sees_hops(&self) -> bool {
        true
    }

    fn branches(&self) -> usize {
        4 * self.0.len()
    }
}

fn run(program: &[Op], packet: &Packet<'_>, world: &mut World) -> Option<u32> {
    let bytes = packet.bytes();
    let mut registers = Registers::default();
    let mut at = 0;
    loop {
        let op = program.get(at)?;
        at += 1;
        let Registers { a, x, cells } = &mut registers;
        let operand = |operand: Operand, x: u32| match operand {
            Operand::Constant(k) => k,
            Operand::X => x,
        };
        match *op {
            Op::Load { size, place } => {
                let offset = match place {
                    Place::At(k) => k,
                    Place::BehindX(k) => x.wrapping_add(k),
                };
                let start = usize::try_from(offset).ok()?;
                let read = bytes.get(start..)?.get(..usize::from(size))?;
                *a = read
                    .iter()
                    .fold(0, |number, &byte| number << 8 | u32::from(byte));
            }
            Op::LoadHeaderLength(k) => {
                let byte = bytes.get(usize::try_from(k).ok()?)?;
                *x = 4 * u32::from(byte & 15);
            }
            Op::LoadLength => *a = bytes.len() as u32,
            Op::LoadLengthX => *x = bytes.len() as u32,
            Op::LoadConstant(k) => *a = k,
            Op::LoadConstantX(k) => *x = k,
            Op::LoadCell(cell) => *a = cells[usize::from(cell)],
            Op::LoadCellX(cell) => *x = cells[usize::from(cell)],
            Op::Store(cell) => cells[usize::from(cell)] = *a,
            Op::StoreX(cell) => cells[usize::from(cell)] = *x,
            Op::Compute(operation, by) => *a = operation.of(*a, operand(by, *x))?,
            Op::Negate => *a = a.wrapping_neg(),
            Op::Learn(Fact::Mark) => *a = packet.get(Field::Mark) as u32,
            Op::Learn(Fact::Random) => *a = world.random(),
            Op::AToX => *x = *a,
            Op::XToA => *a = *x,
            Op::Jump(skip) => at += usize::from(skip),
            Op::Branch {
                condition,
                with,
                yes,
                no,
            } => {
                let holds = condition.holds(*a, operand(with, *x));
                at += usize::from(if holds { yes } else { no });
            }
            Op::Return(k) => return Some(k),
            Op::ReturnA => return Some(*a),
        }
    }
}

impl fmt::Display for RunClassic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "classic BPF of {} instructions", self.0.len())
    }
}
