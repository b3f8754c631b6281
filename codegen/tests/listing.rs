//! The text form of a module.

mod common;

use ipt2bpf_codegen::asm::{
    Alu, Code, Cond, Extern, FunctionId, Helper, Imm64, KernelField, KfuncId, MapId, Op, Operand,
    Reg, Size, Width,
};
use ipt2bpf_codegen::listing::listing;
use ipt2bpf_codegen::module::{
    COUNTERS_MAP, DEVICES_MAP, Function, FunctionKind, Hook, MapKind, Module, Parameter, RULES_MAP,
};

use common::{code, map, mov, program};

#[test]
fn every_operation() {
    use Reg::{R0, R1, R2, R6, R10};
    use Width::{W32, W64};
    let mut main = Code::default();
    let (top, end) = (main.label(), main.label());
    main.line("-A INPUT -p tcp -j ACCEPT");
    main.push(mov(R6, R1));
    main.push(Op::Load(Size::W, R1, R6, 32));
    main.push(Op::Branch(W32, Cond::Ne, R1, Operand::Imm(6), end));
    main.push(Op::Branch(W64, Cond::Sgt, R1, Operand::Reg(R2), end));
    main.line("-A INPUT -m comment --comment \"two\nlines\" -j DROP");
    main.bind(top);
    main.push(Op::Alu(W32, Alu::Mov, R1, Operand::Imm(6)));
    main.push(Op::Alu(W64, Alu::Arsh, R1, Operand::Imm(3)));
    main.push(Op::Alu(W32, Alu::Add, R1, Operand::Reg(R2)));
    main.push(Op::Neg(W32, R1));
    main.push(Op::ToBigEndian(R1, 16));
    main.push(Op::Store(Size::B, R10, -1, Operand::Imm(-5)));
    main.push(Op::Store(Size::D, R10, -8, Operand::Reg(R1)));
    main.push(Op::AtomicAdd(R0, 8, R1));
    main.push(Op::LoadImm64(R1, Imm64::Number(0x1_0000_0000)));
    main.push(Op::LoadImm64(R1, Imm64::Map(MapId(0))));
    main.push(Op::LoadImm64(R1, Imm64::MapValue(MapId(2), 7)));
    main.push(Op::LoadImm64(R1, Imm64::Function(FunctionId(1))));
    main.push(Op::CallHelper(Helper::MapLookupElem));
    main.push(Op::CallFunction(FunctionId(2)));
    main.push(Op::CallKfunc(KfuncId(77)));
    main.push(Op::CallExtern(Extern::CastToKernCtx));
    main.push(Op::LoadField(R2, R0, KernelField::SkbDevice));
    main.push(Op::AddOffset(R2, KernelField::DeviceName));
    main.push(Op::Jump(top));
    main.line("what is in no module");
    main.bind(end);
    main.push(Op::CallFunction(FunctionId(9)));
    main.push(Op::LoadImm64(R1, Imm64::Map(MapId(9))));
    main.push(Op::Exit);
    let function = |name: &str, kind| Function {
        name: name.to_owned(),
        kind,
        parameters: vec![Parameter::U32],
        code: code(&[Op::Exit]),
    };
    let module = Module {
        functions: vec![
            program(Hook::Xdp, main),
            function("step", FunctionKind::Static),
            function("chain", FunctionKind::Global),
        ],
        maps: vec![
            map(COUNTERS_MAP, MapKind::Counters { entries: 3 }),
            map(DEVICES_MAP, MapKind::Devices { entries: 64 }),
            map(RULES_MAP, MapKind::Constant { bytes: vec![0; 9] }),
        ],
    };
    insta::assert_snapshot!(listing(&module), @r#"
    map counters: 3 counters
    map devices: 64 interface names
    map .rodata.rules: 9 constant bytes

    program ipt2bpf_xdp at xdp
    ; -A INPUT -p tcp -j ACCEPT
        r6 = r1
        r1 = *(u32 *)(r6 +32)
        if w1 != 0x6 goto L1
        if r1 s> r2 goto L1
    ; -A INPUT -m comment --comment "two
    ; lines" -j DROP
    L0:
        w1 = 6
        r1 s>>= 3
        w1 += w2
        w1 = -w1
        r1 = be16 r1
        *(u8 *)(r10 -1) = -5
        *(u64 *)(r10 -8) = r1
        lock *(u64 *)(r0 +8) += r1
        r1 = 0x100000000
        r1 = map[counters]
        r1 = map[.rodata.rules][0]+7
        r1 = function[step]
        call bpf_map_lookup_elem#1
        call chain
        call kernel-function#77
        call bpf_cast_to_kern_ctx
        r2 = *(u64 *)(r0 +sk_buff.dev)
        r2 += net_device.name
        goto L0
    ; what is in no module
    L1:
        call #9
        r1 = map[#9]
        exit

    static function step
        exit

    global function chain
        exit
    "#);
}
