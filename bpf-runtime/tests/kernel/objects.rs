//! Small objects made by hand, and a packet for them.

use ipt2bpf_codegen::asm::{Alu, Code, Cond, Helper, Imm64, MapId, Op, Operand, Reg, Size, Width};
use ipt2bpf_codegen::module::{
    COUNTERS_MAP, DEVICES_MAP, Function, FunctionKind, Hook, Map, MapKind, Module, Parameter,
    RULES_MAP,
};
use ipt2bpf_codegen::object;

pub const COUNTERS: MapId = MapId(0);
pub const DEVICES: MapId = MapId(1);

/// What the programs of the objects return. XDP's verdicts are 2 and 1.
pub const PASS: u32 = 1;
pub const DROP: u32 = 0;

/// An object whose programs count a packet in the counter of their place in [`Hook::ALL`] and return
/// `verdict`, with `rules` as the text of its rules.
pub fn object(hooks: &[Hook], verdict: u32, rules: &str) -> Vec<u8> {
    let programs = hooks
        .iter()
        .map(|&hook| (hook, counting(hook, verdict)))
        .collect();
    object_of(programs, rules)
}

/// An object with these programs and the usual maps.
pub fn object_of(programs: Vec<(Hook, Code)>, rules: &str) -> Vec<u8> {
    let map = |name: &str, kind| Map {
        name: name.to_owned(),
        kind,
    };
    object::write(&Module {
        functions: programs
            .into_iter()
            .map(|(hook, code)| Function {
                name: hook.program_name().to_owned(),
                kind: FunctionKind::Program(hook),
                parameters: vec![Parameter::Context(hook)],
                code,
            })
            .collect(),
        maps: vec![
            map(COUNTERS_MAP, MapKind::Counters { entries: 3 }),
            map(DEVICES_MAP, MapKind::Devices { entries: 64 }),
            map(
                RULES_MAP,
                MapKind::Constant {
                    bytes: rules.as_bytes().to_vec(),
                },
            ),
        ],
    })
    .unwrap()
}

fn counting(hook: Hook, verdict: u32) -> Code {
    let index = Hook::ALL.iter().position(|&other| other == hook).unwrap();
    let verdict = match hook {
        Hook::Xdp => 1 + verdict,
        _ => verdict,
    };
    let mut code = Code::default();
    let end = code.label();
    code.line("-A INPUT -m comment --comment \"each packet\"");
    code.push(Op::Store(Size::W, Reg::R10, -4, Operand::Imm(index as i32)));
    lookup(&mut code, COUNTERS, -4);
    code.push(Op::Branch(Width::W64, Cond::Eq, Reg::R0, 0.into(), end));
    code.push(mov(Reg::R1, 1));
    code.push(Op::AtomicAdd(Reg::R0, 0, Reg::R1));
    code.push(mov(Reg::R1, 100));
    code.push(Op::AtomicAdd(Reg::R0, 8, Reg::R1));
    code.bind(end);
    code.push(mov(Reg::R0, verdict as i32));
    code.push(Op::Exit);
    code
}

/// `r0 = &map[*(r10 + key)]`
pub fn lookup(code: &mut Code, map: MapId, key: i32) {
    code.push(Op::LoadImm64(Reg::R1, Imm64::Map(map)));
    code.push(mov(Reg::R2, Reg::R10));
    code.push(Op::Alu(Width::W64, Alu::Add, Reg::R2, key.into()));
    code.push(Op::CallHelper(Helper::MapLookupElem));
}

pub fn mov(dst: Reg, src: impl Into<Operand>) -> Op {
    Op::Alu(Width::W64, Alu::Mov, dst, src.into())
}

/// An Ethernet frame with a bare IPv4 header.
pub fn frame() -> Vec<u8> {
    let mut frame = vec![0; 34];
    frame[12] = 8;
    frame[14] = 0x45;
    frame[17] = 20;
    frame
}
