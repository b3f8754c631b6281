//! The kernel computes what the interpreter computes, seen through `BPF_PROG_TEST_RUN`.

mod common;

use aya::programs::{CgroupSkb, TestRun, TestRunOptions, Xdp};
use common::operations::{ALUS, CONDS};
use ipt2bpf_codegen::asm::{Alu, Code, Cond, Helper, Imm64, Op, Operand, Reg, Size, Width};
use ipt2bpf_codegen::module::{Hook, Module};
use ipt2bpf_codegen::object;
use ipt2bpf_codegen::vm::{Context, Machine};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;

use common::{alu, may_load, mov, program};

const REGS: [Reg; 10] = [
    Reg::R0,
    Reg::R1,
    Reg::R2,
    Reg::R3,
    Reg::R4,
    Reg::R5,
    Reg::R6,
    Reg::R7,
    Reg::R8,
    Reg::R9,
];

fn reg() -> impl Strategy<Value = Reg> {
    select(&REGS[..])
}

fn width() -> impl Strategy<Value = Width> {
    select(&[Width::W32, Width::W64][..])
}

/// Small and large numbers, and those at the edges of both widths.
fn number() -> impl Strategy<Value = u64> {
    let edges = [
        0,
        1,
        31,
        32,
        63,
        64,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        1 << 32,
        1 << 63,
        u64::MAX,
    ];
    prop_oneof![
        select(edges.to_vec()),
        any::<u64>(),
        any::<u32>().prop_map(u64::from)
    ]
}

fn operand() -> impl Strategy<Value = Operand> {
    let imm = number().prop_map(|number| Operand::Imm(number as i32));
    prop_oneof![reg().prop_map(Operand::Reg), imm]
}

/// The verifier refuses a constant shift by the width or more, and a constant divisor of zero.
fn legal(width: Width, operation: Alu, src: Operand) -> Operand {
    match (operation, src) {
        (Alu::Lsh | Alu::Rsh | Alu::Arsh, Operand::Imm(imm)) => Operand::Imm(match width {
            Width::W32 => imm & 31,
            Width::W64 => imm & 63,
        }),
        (Alu::Div | Alu::Mod, Operand::Imm(0)) => Operand::Imm(3),
        _ => src,
    }
}

/// One operation, or a comparison that skips the next.
#[derive(Clone, Debug)]
enum Step {
    Do(Op),
    SkipIf(Width, Cond, Reg, Operand),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (width(), select(&ALUS[..]), reg(), operand()).prop_map(|(width, operation, dst, src)| {
            Step::Do(Op::Alu(width, operation, dst, legal(width, operation, src)))
        }),
        1 => (width(), reg()).prop_map(|(width, dst)| Step::Do(Op::Neg(width, dst))),
        1 => (reg(), select(&[16_u8, 32, 64][..]))
            .prop_map(|(dst, bits)| Step::Do(Op::ToBigEndian(dst, bits))),
        2 => (width(), select(&CONDS[..]), reg(), operand())
            .prop_map(|(width, cond, dst, src)| Step::SkipIf(width, cond, dst, src)),
    ]
}

/// Sets every register, does the steps, and folds all registers into R0.
fn main_code(numbers: &[u64], steps: &[Step]) -> Code {
    let mut code = Code::default();
    for (&reg, &number) in REGS.iter().zip(numbers) {
        code.push(Op::LoadImm64(reg, Imm64::Number(number)));
    }
    let mut skipped = None;
    for step in steps {
        let end = skipped.take();
        match *step {
            Step::Do(op) => code.push(op),
            Step::SkipIf(width, cond, dst, src) => {
                let label = code.label();
                code.push(Op::Branch(width, cond, dst, src, label));
                skipped = Some(label);
            }
        }
        if let Some(label) = end {
            code.bind(label);
        }
    }
    if let Some(label) = skipped {
        code.bind(label);
    }
    for &reg in &REGS[1..] {
        code.push(alu(Alu::Mul, Reg::R0, 31));
        code.push(alu(Alu::Xor, Reg::R0, reg));
    }
    code.push(alu(Alu::Mov, Reg::R1, Reg::R0));
    code.push(alu(Alu::Rsh, Reg::R1, 32));
    code.push(alu(Alu::Xor, Reg::R0, Reg::R1));
    code.push(Op::Exit);
    code
}

/// Runs the program at a hook on an Ethernet frame.
fn run_in_kernel(module: &Module, hook: Hook, frame: &[u8]) -> u32 {
    let mut object = aya::Ebpf::load(&object::write(module).unwrap()).unwrap();
    let program = object.program_mut(hook.program_name()).unwrap();
    let options = TestRunOptions {
        data_in: Some(frame),
        ..TestRunOptions::default()
    };
    let result = match hook {
        Hook::Xdp => {
            let program: &mut Xdp = program.try_into().unwrap();
            program.load().unwrap();
            program.test_run(options)
        }
        Hook::CgroupIngress | Hook::CgroupEgress => {
            let program: &mut CgroupSkb = program.try_into().unwrap();
            program.load().unwrap();
            program.test_run(options)
        }
    };
    result.unwrap().return_value
}

#[test]
fn random_arithmetic() {
    if !may_load() {
        return;
    }
    let programs = (
        prop::collection::vec(number(), REGS.len()),
        prop::collection::vec(step(), 1..60),
    );
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&programs, |(numbers, steps)| {
        let module = Module {
            functions: vec![program(Hook::Xdp, main_code(&numbers, &steps))],
            maps: Vec::new(),
        };
        let frame = [0; 64];
        let ours = Machine::new(&module)
            .unwrap()
            .run(Hook::Xdp, &Context::new(&frame));
        prop_assert_eq!(ours, Ok(run_in_kernel(&module, Hook::Xdp, &frame)));
        Ok(())
    });
    result.unwrap();
}

/// Loads R2 with a number by the operations and returns whether it is the expected one.
fn question(ops: &[Op], expected: i32) -> Code {
    let mut code = common::code(ops);
    let end = code.label();
    code.push(mov(Reg::R0, 1));
    code.push(Op::Branch(
        Width::W32,
        Cond::Eq,
        Reg::R2,
        Operand::Imm(expected),
        end,
    ));
    code.push(mov(Reg::R0, 0));
    code.bind(end);
    code.push(Op::Exit);
    code
}

#[test]
fn context_and_packet_of_a_socket_buffer() {
    if !may_load() {
        return;
    }
    let mut frame: Vec<u8> = (0..64).collect();
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let mut context = Context::new(&frame[14..]);
    context.protocol = 0x0800;
    // The result of skb_load_bytes, and the four bytes it wrote.
    let load = |offset, answer: &[Op]| {
        let mut ops = vec![
            Op::Store(Size::W, Reg::R10, -4, Operand::Imm(-1)),
            mov(Reg::R2, offset),
            mov(Reg::R3, Reg::R10),
            alu(Alu::Add, Reg::R3, -4),
            mov(Reg::R4, 4),
            Op::CallHelper(Helper::SkbLoadBytes),
        ];
        ops.extend(answer);
        ops
    };
    let field = |offset| vec![Op::Load(Size::W, Reg::R2, Reg::R1, offset)];
    let code = [mov(Reg::R2, Reg::R0)];
    let bytes = [Op::Load(Size::W, Reg::R2, Reg::R10, -4)];
    for (ops, expected) in [
        (field(0), 50),
        (field(16), 0x0008),
        (load(46, &code), 0),
        (load(46, &bytes), i32::from_le_bytes([60, 61, 62, 63])),
        (load(47, &code), -14),
        (load(47, &bytes), 0),
        (load(-1, &code), -14),
        (load(-1, &bytes), 0),
    ] {
        let hook = Hook::CgroupIngress;
        for (expected, answer) in [(expected, 1), (expected + 1, 0)] {
            let module = Module {
                functions: vec![program(hook, question(&ops, expected))],
                maps: Vec::new(),
            };
            let ours = Machine::new(&module).unwrap().run(hook, &context);
            assert_eq!(ours, Ok(answer), "{ops:?}");
            assert_eq!(run_in_kernel(&module, hook, &frame), answer, "{ops:?}");
        }
    }
}
