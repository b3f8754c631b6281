//! The running kernel takes our objects from libbpf (through bpftool) and from aya.

mod common;

use ipt2bpf_codegen::asm::{
    Alu, Code, Cond, FunctionId, Helper, Imm64, KfuncId, MapId, Op, Operand, Reg, Size, Width,
};
use ipt2bpf_codegen::module::{
    COUNTERS_MAP, DEVICES_MAP, Function, FunctionKind, Hook, MapKind, Module, Parameter, RULES_MAP,
};

use common::loaders::{BpfFs, bpftool, load_with_aya, load_with_libbpf, loads, run};
use common::{code, map, may_load, mov, program};

/// Counts at index 0 of the map with id 0.
fn count() -> Code {
    let mut code = Code::default();
    let end = code.label();
    code.line("-A INPUT -p tcp -j ACCEPT");
    code.push(Op::Store(Size::W, Reg::R10, -4, Operand::Imm(0)));
    code.push(Op::LoadImm64(Reg::R1, Imm64::Map(MapId(0))));
    code.push(mov(Reg::R2, Reg::R10));
    code.push(Op::Alu(Width::W64, Alu::Add, Reg::R2, Operand::Imm(-4)));
    code.push(Op::CallHelper(Helper::MapLookupElem));
    code.push(Op::Branch(
        Width::W64,
        Cond::Eq,
        Reg::R0,
        Operand::Imm(0),
        end,
    ));
    code.push(mov(Reg::R1, 1));
    code.push(Op::AtomicAdd(Reg::R0, 0, Reg::R1));
    code.line("policy ACCEPT");
    code.bind(end);
    code.push(mov(Reg::R0, 1));
    code.push(Op::Exit);
    code
}

#[test]
fn a_trivial_program_at_each_hook() {
    if !may_load() {
        return;
    }
    for hook in Hook::ALL {
        let code = code(&[mov(Reg::R0, 1), Op::Exit]);
        let module = Module {
            functions: vec![program(hook, code)],
            maps: Vec::new(),
        };
        assert!(loads(&module, hook).contains("exit"));
    }
}

#[test]
fn counters_and_rule_text() {
    if !may_load() {
        return;
    }
    let module = Module {
        functions: Hook::ALL.map(|hook| program(hook, count())).into(),
        maps: vec![
            map(COUNTERS_MAP, MapKind::Counters { entries: 3 }),
            map(DEVICES_MAP, MapKind::Devices { entries: 64 }),
            map(
                RULES_MAP,
                MapKind::Constant {
                    bytes: b"*filter\nCOMMIT\n".into(),
                },
            ),
        ],
    };
    let dump = loads(&module, Hook::CgroupIngress);
    assert!(
        dump.contains("; -A INPUT -p tcp -j ACCEPT [file:rules line_num:1"),
        "{dump}"
    );
    assert!(dump.contains("; policy ACCEPT"), "{dump}");
}

#[test]
fn a_byte_of_constants() {
    if !may_load() {
        return;
    }
    let code = code(&[
        Op::LoadImm64(Reg::R1, Imm64::MapValue(MapId(0), 5)),
        Op::Load(Size::B, Reg::R0, Reg::R1, 0),
        Op::Alu(Width::W32, Alu::And, Reg::R0, Operand::Imm(1)),
        Op::Exit,
    ]);
    let module = Module {
        functions: vec![program(Hook::Xdp, code)],
        maps: vec![map(
            ".rodata.table",
            MapKind::Constant { bytes: vec![7; 8] },
        )],
    };
    assert!(loads(&module, Hook::Xdp).contains("[0]+5"));
}

/// A function that reads the first word behind its argument, or gives 1 without one.
fn reader(kind: FunctionKind) -> Function {
    let mut code = Code::default();
    let null = code.label();
    code.push(mov(Reg::R0, 1));
    code.push(Op::Branch(
        Width::W64,
        Cond::Eq,
        Reg::R1,
        Operand::Imm(0),
        null,
    ));
    code.push(Op::Load(Size::W, Reg::R0, Reg::R1, 0));
    code.push(Op::Alu(Width::W32, Alu::And, Reg::R0, Operand::Imm(1)));
    code.bind(null);
    code.push(Op::Exit);
    Function {
        name: "reader".to_owned(),
        kind,
        parameters: vec![Parameter::Memory(16)],
        code,
    }
}

fn calls(callees: &[u16]) -> Code {
    let mut ops = vec![
        Op::Store(Size::D, Reg::R10, -16, Operand::Imm(1)),
        Op::Store(Size::D, Reg::R10, -8, Operand::Imm(0)),
    ];
    for &callee in callees {
        ops.push(mov(Reg::R1, Reg::R10));
        ops.push(Op::Alu(Width::W64, Alu::Add, Reg::R1, Operand::Imm(-16)));
        ops.push(Op::CallFunction(FunctionId(callee)));
    }
    ops.extend([
        Op::Alu(Width::W64, Alu::And, Reg::R0, Operand::Imm(1)),
        Op::Exit,
    ]);
    code(&ops)
}

#[test]
fn static_and_global_functions_calling_each_other() {
    if !may_load() {
        return;
    }
    // Between functions of `.text`: one that is not the first, static and global.
    let middle = |name: &str, kind, callee| Function {
        name: name.to_owned(),
        kind,
        parameters: Vec::new(),
        code: calls(&[callee]),
    };
    let module = Module {
        functions: vec![
            program(Hook::CgroupEgress, calls(&[2, 3, 4, 5])),
            program(Hook::Xdp, calls(&[5])),
            middle("first", FunctionKind::Static, 4),
            middle("second", FunctionKind::Global, 5),
            reader(FunctionKind::Global),
            Function {
                name: "static_reader".to_owned(),
                ..reader(FunctionKind::Static)
            },
        ],
        maps: Vec::new(),
    };
    let dump = loads(&module, Hook::CgroupEgress);
    assert_eq!(dump.matches("call pc").count(), 6, "{dump}");
}

#[test]
fn a_loop_calls_back() {
    if !may_load() {
        return;
    }
    let callback = Function {
        name: "step".to_owned(),
        kind: FunctionKind::Static,
        parameters: vec![Parameter::U32, Parameter::Memory(8)],
        code: code(&[
            Op::Alu(Width::W64, Alu::Add, Reg::R1, Operand::Imm(1)),
            Op::Store(Size::D, Reg::R2, 0, Operand::Reg(Reg::R1)),
            mov(Reg::R0, 0),
            Op::Exit,
        ]),
    };
    // Something in front, so that the callback's address is not zero.
    let other = Function {
        name: "other".to_owned(),
        ..reader(FunctionKind::Static)
    };
    let main = code(&[
        Op::Store(Size::D, Reg::R10, -8, Operand::Imm(0)),
        mov(Reg::R1, 10),
        Op::LoadImm64(Reg::R2, Imm64::Function(FunctionId(2))),
        mov(Reg::R3, Reg::R10),
        Op::Alu(Width::W64, Alu::Add, Reg::R3, Operand::Imm(-8)),
        mov(Reg::R4, 0),
        Op::CallHelper(Helper::Loop),
        mov(Reg::R0, 1),
        Op::Exit,
    ]);
    let module = Module {
        functions: vec![program(Hook::Xdp, main), other, callback],
        maps: Vec::new(),
    };
    let dump = loads(&module, Hook::Xdp);
    assert!(dump.contains("subprog[+"), "{dump}");
}

/// The BTF id of a function of the running kernel.
fn kernel_function(name: &str) -> Option<KfuncId> {
    let dump = run(bpftool().args(["btf", "dump", "file", "/sys/kernel/btf/vmlinux"]));
    let found = dump
        .lines()
        .find(|line| line.contains(&format!("] FUNC '{name}' ")))?;
    let id = found.strip_prefix('[')?.split(']').next()?;
    id.parse().ok().map(KfuncId)
}

#[test]
fn a_call_of_a_kernel_function() {
    if !may_load() {
        return;
    }
    let Some(id) = kernel_function("bpf_cast_to_kern_ctx") else {
        eprintln!("skipped: the kernel has no bpf_cast_to_kern_ctx");
        return;
    };
    let main = code(&[Op::CallKfunc(id), mov(Reg::R0, 1), Op::Exit]);
    for hook in Hook::ALL {
        let module = Module {
            functions: vec![program(hook, main.clone())],
            maps: Vec::new(),
        };
        assert!(loads(&module, hook).contains("exit"));
    }
}

/// libbpf binds constants to every program; with aya a program keeps only what it refers to.
#[test]
fn who_keeps_the_rules() {
    if !may_load() {
        return;
    }
    let refer = Op::LoadImm64(Reg::R0, Imm64::MapValue(MapId(0), 0));
    for (ops, with_aya) in [
        (&[mov(Reg::R0, 2), Op::Exit][..], 0),
        (&[refer, mov(Reg::R0, 2), Op::Exit], 1),
    ] {
        let bytes = b"*filter\nCOMMIT\n".into();
        let module = Module {
            functions: vec![program(Hook::Xdp, code(ops))],
            maps: vec![map(RULES_MAP, MapKind::Constant { bytes })],
        };
        assert_eq!(load_with_aya(&module), [with_aya]);
        let fs = BpfFs::mount();
        let pin = load_with_libbpf(&module, &fs).join(Hook::Xdp.program_name());
        let shown = run(bpftool().args(["prog", "show", "pinned"]).arg(pin));
        assert!(shown.contains("map_ids"), "{shown}");
    }
}
