//! The interpreter: what programs compute, and what stops them.

mod common;

use ipt2bpf_codegen::asm::{
    Alu, Code, Cond, Extern, FunctionId, Helper, Imm64, KernelField, KfuncId, MapId, Op, Operand,
    Reg, Size, Width,
};
use ipt2bpf_codegen::module::{
    COUNTERS_MAP, DEVICES_MAP, Function, FunctionKind, Hook, MapKind, Module, Parameter,
};
use ipt2bpf_codegen::vm::{BUDGET, Cause, Context, Fault, FibAnswer, Machine};

use Reg::{R0, R1, R2, R3, R4, R5, R6, R10};
use common::{alu, code, map, mov, program};

const ALL_MAPS: [(&str, MapKind); 2] = [
    (COUNTERS_MAP, MapKind::Counters { entries: 2 }),
    (DEVICES_MAP, MapKind::Devices { entries: 4 }),
];
const COUNTERS: MapId = MapId(0);
const DEVICES: MapId = MapId(1);
const CONSTANTS: MapId = MapId(2);

/// The program at a hook, then other functions; both maps and constants 1, 2, 3.
fn module(hook: Hook, main: Code, others: Vec<Function>) -> Module {
    let mut functions = vec![program(hook, main)];
    functions.extend(others);
    let mut maps: Vec<_> = ALL_MAPS
        .into_iter()
        .map(|(name, kind)| map(name, kind))
        .collect();
    let bytes = vec![1, 2, 3];
    maps.push(map(".rodata.table", MapKind::Constant { bytes }));
    Module { functions, maps }
}

fn run(hook: Hook, ops: &[Op], context: &Context) -> Result<u32, Cause> {
    run_code(hook, code(ops), Vec::new(), context)
}

fn run_code(
    hook: Hook,
    main: Code,
    others: Vec<Function>,
    context: &Context,
) -> Result<u32, Cause> {
    let module = module(hook, main, others);
    let result = Machine::new(&module).unwrap().run(hook, context);
    result.map_err(|fault| match fault {
        Fault::At { cause, .. } => cause,
        Fault::NoProgram(_) => panic!("there is a program"),
    })
}

/// R0 of a program that needs no packet.
fn result(ops: &[Op]) -> Result<u32, Cause> {
    run(Hook::Xdp, ops, &Context::new(&[]))
}

fn field(hook: Hook, offset: i16, context: &Context) -> Result<u32, Cause> {
    run(
        hook,
        &[Op::Load(Size::W, R0, R1, offset), Op::Exit],
        context,
    )
}

/// All 64 bits that an operation gives.
fn compute(width: Width, operation: Alu, dst: u64, src: u64) -> u64 {
    let half = |shift| {
        result(&[
            Op::LoadImm64(R0, Imm64::Number(dst)),
            Op::LoadImm64(R1, Imm64::Number(src)),
            Op::Alu(width, operation, R0, Operand::Reg(R1)),
            alu(Alu::Rsh, R0, shift),
            Op::Exit,
        ])
        .map(u64::from)
        .unwrap()
    };
    half(32) << 32 | half(0)
}

#[test]
fn arithmetic() {
    use Alu::*;
    use Width::{W32, W64};
    const M: u64 = u64::MAX;
    for (width, operation, dst, src, expected) in [
        (W64, Add, M, 2, 1),
        (W32, Add, 0xffff_ffff, 2, 1),
        (W64, Sub, 1, 2, M),
        (W32, Sub, 1, 2, 0xffff_ffff),
        (W64, Mul, 1 << 40, 1 << 30, 0),
        (W32, Mul, 0x1_0000_0003, 5, 15),
        (W64, Div, M, 2, M >> 1),
        (W64, Div, 7, 0, 0),
        (W32, Div, 0x1_0000_0007, 0x1_0000_0002, 3),
        (W32, Div, M, 1 << 32, 0),
        (W64, Or, 0xf0, 0x0f, 0xff),
        (W32, Or, M, 0, 0xffff_ffff),
        (W64, And, M, 0xff, 0xff),
        (W64, Lsh, 1, 65, 2),
        (W32, Lsh, 0x8000_0001, 33, 2),
        (W64, Rsh, 1 << 63, 63, 1),
        (W32, Rsh, 0xf_8000_0000, 31, 1),
        (W64, Mod, 7, 4, 3),
        (W64, Mod, M, 0, M),
        (W32, Mod, M, 0, 0xffff_ffff),
        (W64, Xor, M, 1, M - 1),
        (W64, Mov, 1, M, M),
        (W32, Mov, 1, M, 0xffff_ffff),
        (W64, Arsh, 1 << 63, 63, M),
        (W32, Arsh, 0x8000_0000, 31, 0xffff_ffff),
        (W32, Arsh, 0x7000_0000, 28, 7),
    ] {
        let found = compute(width, operation, dst, src);
        assert_eq!(found, expected, "{width:?} {dst:#x} {operation:?} {src:#x}");
    }
}

#[test]
fn immediates_are_sign_extended() {
    assert_eq!(
        result(&[mov(R0, -1), alu(Alu::Rsh, R0, 32), Op::Exit]),
        Ok(u32::MAX)
    );
    let narrow = Op::Alu(Width::W32, Alu::Mov, R0, Operand::Imm(-1));
    assert_eq!(result(&[narrow, alu(Alu::Rsh, R0, 32), Op::Exit]), Ok(0));
}

#[test]
fn negation_and_byte_order() {
    assert_eq!(
        result(&[mov(R0, 5), Op::Neg(Width::W32, R0), Op::Exit]),
        Ok(-5_i32 as u32)
    );
    for (bits, expected) in [(16, 0xcdab), (32, 0xcdab_8967), (64, 0x7856_3412)] {
        let ops = [
            Op::LoadImm64(R0, Imm64::Number(0x1234_5678_6789_abcd)),
            Op::ToBigEndian(R0, bits),
            Op::Exit,
        ];
        assert_eq!(result(&ops), Ok(expected), "{bits}");
    }
}

#[test]
fn conditions() {
    use Cond::*;
    use Width::{W32, W64};
    const M: u64 = u64::MAX;
    for (width, condition, dst, src, expected) in [
        (W64, Eq, 1, 1, true),
        (W64, Eq, 1 << 32, 0, false),
        (W32, Eq, 1 << 32, 0, true),
        (W64, Ne, 1 << 32, 0, true),
        (W64, Gt, M, 1, true),
        (W64, Gt, 1, 1, false),
        (W64, Ge, 1, 1, true),
        (W64, Sgt, M, 1, false),
        (W32, Sgt, 0xffff_ffff, 1, false),
        (W32, Gt, 0xffff_ffff, 1, true),
        (W64, Sgt, 0xffff_ffff, 1, true),
        (W64, Sge, 1, M, true),
        (W64, Lt, 1, M, true),
        (W64, Le, 1, 1, true),
        (W64, Slt, M, 0, true),
        (W32, Slt, 0x8000_0000, 0, true),
        (W64, Sle, 0, 0, true),
        (W64, Set, 6, 3, true),
        (W64, Set, 4, 3, false),
        (W32, Set, 1 << 40, 1 << 40, false),
    ] {
        let mut main = Code::default();
        let yes = main.label();
        main.push(Op::LoadImm64(R1, Imm64::Number(dst)));
        main.push(Op::LoadImm64(R2, Imm64::Number(src)));
        main.push(mov(R0, 1));
        main.push(Op::Branch(width, condition, R1, Operand::Reg(R2), yes));
        main.push(mov(R0, 0));
        main.bind(yes);
        main.push(Op::Exit);
        let found = run_code(Hook::Xdp, main, Vec::new(), &Context::new(&[]));
        assert_eq!(
            found,
            Ok(expected.into()),
            "{width:?} {dst:#x} {condition:?} {src:#x}"
        );
    }
}

#[test]
fn context_fields() {
    let mut context = Context::new(&[0; 60]);
    context.ifindex = 3;
    context.ingress_ifindex = 2;
    context.protocol = 0x86dd;
    context.mark = 9;
    context.packet_type = 4;
    let skb = [(0, 60), (4, 4), (8, 9), (16, 0xdd86), (36, 2), (40, 3)];
    for (offset, expected) in skb {
        let found = field(Hook::CgroupIngress, offset, &context);
        assert_eq!(found, Ok(expected), "__sk_buff at {offset}");
    }
    assert_eq!(field(Hook::Xdp, 12, &context), Ok(2));
    let missing = Err(Cause::NoSuchField {
        offset: 40,
        size: 4,
    });
    assert_eq!(field(Hook::Xdp, 40, &context), missing);
}

/// Reads the last of `length` packet bytes, when the packet has so many.
fn last_of(hook: Hook, length: i32) -> Code {
    let (data, end) = match hook {
        Hook::Xdp => (0, 4),
        Hook::CgroupIngress | Hook::CgroupEgress => (76, 80),
    };
    let mut code = Code::default();
    let short = code.label();
    code.push(Op::Load(Size::W, R2, R1, data));
    code.push(Op::Load(Size::W, R3, R1, end));
    code.push(mov(R0, 255));
    code.push(mov(R4, R2));
    code.push(alu(Alu::Add, R4, length));
    code.push(Op::Branch(
        Width::W64,
        Cond::Gt,
        R4,
        Operand::Reg(R3),
        short,
    ));
    code.push(Op::Load(Size::B, R0, R4, -1));
    code.bind(short);
    code.push(Op::Exit);
    code
}

#[test]
fn packet_bytes_up_to_the_linear_end() {
    let packet = [1, 2, 3, 4];
    let mut context = Context::new(&packet);
    context.linear = 3;
    for hook in Hook::ALL {
        let last = |length| run_code(hook, last_of(hook, length), Vec::new(), &context);
        assert_eq!(last(3), Ok(3), "{hook}");
        assert_eq!(last(4), Ok(255), "{hook}");
    }
    let unchecked = [
        Op::Load(Size::W, R2, R1, 0),
        Op::Load(Size::W, R0, R2, 0),
        Op::Exit,
    ];
    let found = run(Hook::Xdp, &unchecked, &context);
    assert!(
        matches!(found, Err(Cause::OutOfBounds { size: 4, .. })),
        "{found:?}"
    );
}

#[test]
fn skb_load_bytes_reaches_behind_the_linear_end() {
    let packet = [1, 2, 3, 4];
    let mut context = Context::new(&packet);
    context.linear = 0;
    let load = |offset, to_add: i32| {
        let ops = [
            Op::Store(Size::D, R10, -8, Operand::Imm(-1)),
            mov(R2, offset),
            mov(R3, R10),
            alu(Alu::Add, R3, -8),
            mov(R4, 2),
            Op::CallHelper(Helper::SkbLoadBytes),
            Op::Load(Size::W, R1, R10, -8),
            alu(Alu::Mul, R0, to_add),
            alu(Alu::Add, R0, R1),
            Op::Exit,
        ];
        run(Hook::CgroupIngress, &ops, &context)
    };
    assert_eq!(load(2, 1), Ok(0xffff_0403));
    assert_eq!(load(3, 0), Ok(0xffff_0000), "the destination is cleared");
    assert_eq!(load(3, 1), Ok(0xffff_0000 - 14), "-EFAULT");
    assert_eq!(load(-1, 0), Ok(0xffff_0000));
}

/// Leaves in R0 the address of the value for a key.
fn lookup(map: MapId, key: i32) -> Vec<Op> {
    vec![
        Op::Store(Size::W, R10, -4, Operand::Imm(key)),
        Op::LoadImm64(R1, Imm64::Map(map)),
        mov(R2, R10),
        alu(Alu::Add, R2, -4),
        Op::CallHelper(Helper::MapLookupElem),
    ]
}

#[test]
fn counters_are_kept_between_runs() {
    let mut ops = lookup(COUNTERS, 1);
    ops.extend([
        mov(R1, 1),
        Op::AtomicAdd(R0, 0, R1),
        mov(R1, 100),
        Op::AtomicAdd(R0, 8, R1),
        mov(R0, 2),
        Op::Exit,
    ]);
    let module = module(Hook::Xdp, code(&ops), Vec::new());
    let mut machine = Machine::new(&module).unwrap();
    for _ in 0..3 {
        assert_eq!(machine.run(Hook::Xdp, &Context::new(&[])), Ok(2));
    }
    assert_eq!(machine.counters(), [(0, 0), (3, 300)]);
}

#[test]
fn lookups_outside_a_map_give_null() {
    for (map, key) in [(COUNTERS, 2), (COUNTERS, -1), (DEVICES, 1)] {
        let mut ops = lookup(map, key);
        ops.push(Op::Exit);
        assert_eq!(result(&ops), Ok(0));
    }
}

#[test]
fn interface_names() {
    let mut ops = lookup(DEVICES, 7);
    ops.extend([Op::Load(Size::W, R0, R0, 0), Op::Exit]);
    let module = module(Hook::Xdp, code(&ops), Vec::new());
    let mut machine = Machine::new(&module).unwrap();
    machine.set_device(6, "lo");
    machine.set_device(7, "lo");
    machine.set_device(7, "eth0");
    let found = machine.run(Hook::Xdp, &Context::new(&[]));
    assert_eq!(found, Ok(u32::from_le_bytes(*b"eth0")));
}

#[test]
fn constants_are_read_only() {
    let address = Op::LoadImm64(R1, Imm64::MapValue(CONSTANTS, 2));
    assert_eq!(
        result(&[address, Op::Load(Size::B, R0, R1, 0), Op::Exit]),
        Ok(3)
    );
    let write = Op::Store(Size::B, R1, 0, Operand::Imm(0));
    assert_eq!(result(&[address, write, Op::Exit]), Err(Cause::ReadOnly));
    let behind = result(&[address, Op::Load(Size::B, R0, R1, 1), Op::Exit]);
    assert!(
        matches!(behind, Err(Cause::OutOfBounds { .. })),
        "{behind:?}"
    );
}

/// A static function of two parameters.
fn function(ops: &[Op]) -> Function {
    Function {
        name: "callee".to_owned(),
        kind: FunctionKind::Static,
        parameters: vec![Parameter::U32, Parameter::Memory(8)],
        code: code(ops),
    }
}

#[test]
fn calls_keep_r6_and_share_the_stack_by_pointer() {
    let callee = function(&[
        Op::Load(Size::D, R0, R2, 0),
        alu(Alu::Add, R0, R1),
        mov(R6, 0),
        Op::Exit,
    ]);
    let main = code(&[
        mov(R6, 1000),
        Op::Store(Size::D, R10, -8, Operand::Imm(20)),
        mov(R1, 3),
        mov(R2, R10),
        alu(Alu::Add, R2, -8),
        Op::CallFunction(FunctionId(1)),
        alu(Alu::Add, R0, R6),
        Op::Exit,
    ]);
    let found = run_code(Hook::Xdp, main, vec![callee], &Context::new(&[]));
    assert_eq!(found, Ok(1023));
}

#[test]
fn a_loop_ends_when_the_callback_says_so() {
    // Adds up the indices until five, then stops.
    let mut callback = Code::default();
    let stop = callback.label();
    callback.push(Op::Load(Size::D, R3, R2, 0));
    callback.push(alu(Alu::Add, R3, R1));
    callback.push(Op::Store(Size::D, R2, 0, Operand::Reg(R3)));
    callback.push(mov(R0, 1));
    callback.push(Op::Branch(Width::W64, Cond::Eq, R1, Operand::Imm(5), stop));
    callback.push(mov(R0, 0));
    callback.bind(stop);
    callback.push(Op::Exit);
    let callback = Function {
        code: callback,
        ..function(&[])
    };
    for (rounds, expected) in [(3, 3 * 100 + 3), (10, 6 * 100 + 15), (0, 0)] {
        let main = code(&[
            Op::Store(Size::D, R10, -8, Operand::Imm(0)),
            mov(R1, rounds),
            Op::LoadImm64(R2, Imm64::Function(FunctionId(1))),
            mov(R3, R10),
            alu(Alu::Add, R3, -8),
            mov(R4, 0),
            Op::CallHelper(Helper::Loop),
            alu(Alu::Mul, R0, 100),
            Op::Load(Size::D, R1, R10, -8),
            alu(Alu::Add, R0, R1),
            Op::Exit,
        ]);
        let found = run_code(Hook::Xdp, main, vec![callback.clone()], &Context::new(&[]));
        assert_eq!(found, Ok(expected), "{rounds}");
    }
}

#[test]
fn the_routing_answer_is_given() {
    let mut ops: Vec<Op> = (-8..0)
        .map(|word| Op::Store(Size::D, R10, word * 8, Operand::Imm(0)))
        .collect();
    ops.extend([
        mov(R2, R10),
        alu(Alu::Add, R2, -64),
        mov(R3, 64),
        mov(R4, 0),
        Op::CallHelper(Helper::FibLookup),
        alu(Alu::Mul, R0, 100),
        Op::Load(Size::W, R1, R10, -56),
        alu(Alu::Add, R0, R1),
        Op::Exit,
    ]);
    let mut context = Context::new(&[]);
    context.fib = FibAnswer {
        code: 4,
        ifindex: 7,
        ..FibAnswer::default()
    };
    assert_eq!(run(Hook::Xdp, &ops, &context), Ok(407));
    ops.remove(0);
    assert_eq!(
        run(Hook::Xdp, &ops, &context),
        Err(Cause::UninitialisedStack)
    );
}

/// Runs a program at XDP that moves one end of a frame of twenty bytes, and then returns what the helper
/// gave; gives that and the frame.
fn moved(helper: Helper, by: i32) -> (u32, Vec<u8>) {
    let frame: Vec<u8> = (1..=20).collect();
    let ops = [mov(R2, by), Op::CallHelper(helper), Op::Exit];
    let module = module(Hook::Xdp, code(&ops), Vec::new());
    let mut machine = Machine::new(&module).expect("encodes");
    let mut context = Context::new(&frame);
    machine
        .run_and_write(Hook::Xdp, &mut context)
        .expect("runs")
}

#[test]
fn frames_grow_and_shrink() {
    let frame: Vec<u8> = (1..=20).collect();
    let refused = (-22_i32).cast_unsigned();
    let longer = [&[0; 4][..], &frame].concat();
    assert_eq!(moved(Helper::XdpAdjustHead, -4), (0, longer));
    assert_eq!(moved(Helper::XdpAdjustHead, 6), (0, frame[6..].to_vec()));
    assert_eq!(moved(Helper::XdpAdjustHead, 7), (refused, frame.clone()));
    assert_eq!(moved(Helper::XdpAdjustHead, -257), (refused, frame.clone()));
    assert_eq!(moved(Helper::XdpAdjustTail, -6), (0, frame[..14].to_vec()));
    assert_eq!(moved(Helper::XdpAdjustTail, -7), (refused, frame.clone()));
    let padded = [&frame[..], &[0; 4]].concat();
    assert_eq!(moved(Helper::XdpAdjustTail, 4), (0, padded));
    assert_eq!(moved(Helper::XdpAdjustTail, 1 << 16), (refused, frame));
}

#[test]
fn a_moved_frame_is_read_and_written_at_its_new_start() {
    let ops = [
        mov(R6, R1),
        mov(R2, -2),
        Op::CallHelper(Helper::XdpAdjustHead),
        Op::Load(Size::W, R2, R6, 0),
        Op::Store(Size::B, R2, 1, Operand::Imm(7)),
        Op::Load(Size::W, R3, R6, 4),
        alu(Alu::Sub, R3, R2),
        Op::Load(Size::B, R0, R2, 2),
        alu(Alu::Mul, R0, 100),
        alu(Alu::Add, R0, R3),
        Op::Exit,
    ];
    let module = module(Hook::Xdp, code(&ops), Vec::new());
    let mut machine = Machine::new(&module).expect("encodes");
    let frame = [9; 20];
    let mut context = Context::new(&frame);
    let (returned, left) = machine
        .run_and_write(Hook::Xdp, &mut context)
        .expect("runs");
    assert_eq!(returned, 922);
    assert_eq!(left, [&[0, 7][..], &frame].concat());
}

#[test]
fn sums_are_of_16_bit_words() {
    let ops = [
        Op::Store(Size::D, R10, -8, Operand::Imm(0x0002_ffff)),
        mov(R1, 0),
        mov(R2, 0),
        mov(R3, R10),
        alu(Alu::Add, R3, -8),
        mov(R4, 8),
        mov(R5, 3),
        Op::CallHelper(Helper::CsumDiff),
        Op::Exit,
    ];
    let context = Context::new(&[]);
    assert_eq!(run(Hook::Xdp, &ops, &context), Ok(0x1_0004));
}

#[test]
fn what_the_verifier_would_refuse_is_a_fault() {
    let helper = |helper: Helper, hook| Cause::Helper {
        helper: helper as i32,
        hook,
    };
    let null = Op::Load(Size::B, R0, R0, 0);
    let cases: Vec<(Vec<Op>, Cause)> = vec![
        (vec![Op::Exit], Cause::UninitialisedRegister(0)),
        (vec![mov(R0, R2), Op::Exit], Cause::UninitialisedRegister(2)),
        (vec![mov(R10, 0)], Cause::FramePointer),
        (vec![], Cause::PastEnd),
        (vec![mov(R0, 0)], Cause::PastEnd),
        (
            vec![Op::Load(Size::D, R0, R10, -8)],
            Cause::UninitialisedStack,
        ),
        (vec![mov(R0, 0), null], Cause::NotAnAddress(0)),
        (
            vec![Op::Store(Size::W, R1, 8, Operand::Imm(0))],
            Cause::ReadOnly,
        ),
        (
            vec![Op::Load(Size::H, R0, R1, 0)],
            Cause::NoSuchField { offset: 0, size: 2 },
        ),
        (vec![Op::CallKfunc(KfuncId(1))], Cause::KernelFunction),
        (
            vec![Op::CallExtern(Extern::CastToKernCtx)],
            Cause::KernelFunction,
        ),
        (
            vec![Op::LoadField(R0, R1, KernelField::SkbDevice)],
            Cause::KernelField,
        ),
        (
            vec![Op::AddOffset(R1, KernelField::DeviceName)],
            Cause::KernelField,
        ),
        (vec![Op::CallFunction(FunctionId(9))], Cause::NoSuchFunction),
        (vec![Op::CallFunction(FunctionId(0))], Cause::TooManyFrames),
        (
            vec![Op::CallHelper(Helper::SkbLoadBytesRelative)],
            helper(Helper::SkbLoadBytesRelative, Hook::Xdp),
        ),
        (
            vec![
                mov(R1, 0),
                mov(R2, 8),
                mov(R3, 0),
                Op::CallHelper(Helper::ProbeReadKernel),
            ],
            Cause::Argument(3),
        ),
        (
            vec![Op::CallHelper(Helper::SkbLoadBytes)],
            helper(Helper::SkbLoadBytes, Hook::Xdp),
        ),
        (
            vec![mov(R1, 0), Op::CallHelper(Helper::MapLookupElem)],
            Cause::Argument(1),
        ),
    ];
    for (ops, cause) in cases {
        assert_eq!(result(&ops), Err(cause), "{ops:?}");
    }
    let misaligned = result(&[Op::Store(Size::W, R10, -6, Operand::Imm(0))]);
    assert!(matches!(misaligned, Err(Cause::Misaligned { size: 4, .. })));
    let below = result(&[Op::Store(Size::D, R10, -520, Operand::Imm(0))]);
    assert!(matches!(below, Err(Cause::OutOfBounds { size: 8, .. })));
    let above = result(&[Op::Store(Size::D, R10, 0, Operand::Imm(0))]);
    assert!(matches!(above, Err(Cause::OutOfBounds { size: 8, .. })));
}

#[test]
fn calls_take_the_argument_registers() {
    let mut ops = lookup(COUNTERS, 0);
    ops.extend([mov(R0, R1), Op::Exit]);
    assert_eq!(result(&ops), Err(Cause::UninitialisedRegister(1)));
}

#[test]
fn endless_loops_end() {
    let mut main = Code::default();
    let top = main.label();
    main.bind(top);
    main.push(Op::Jump(top));
    let found = run_code(Hook::Xdp, main, Vec::new(), &Context::new(&[]));
    assert_eq!(found, Err(Cause::Budget(BUDGET)));
}

#[test]
fn a_fault_names_the_instruction_and_its_rule() {
    let mut main = Code::default();
    main.line("-A INPUT -j DROP");
    main.push(Op::LoadImm64(R2, Imm64::Map(COUNTERS)));
    main.push(Op::Load(Size::W, R0, R10, -4));
    let module = module(Hook::Xdp, main, Vec::new());
    let mut machine = Machine::new(&module).unwrap();
    let fault = machine.run(Hook::Xdp, &Context::new(&[])).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "ipt2bpf_xdp, instruction 2 `r0 = *(u32 *)(r10 -4)` (for `-A INPUT -j DROP`): \
         stack is read before it is written"
    );
    let none = machine.run(Hook::CgroupEgress, &Context::new(&[]));
    assert_eq!(none, Err(Fault::NoProgram(Hook::CgroupEgress)));
}
