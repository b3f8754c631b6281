//! The running kernel takes our objects from libbpf (through bpftool) and from aya.

mod common;

use ipt2bpf_codegen::asm::{
    Alu, Code, Cond, Extern, FunctionId, Helper, Imm64, KernelField, MapId, Op, Operand, Reg, Size,
    Width,
};
use ipt2bpf_codegen::module::{
    COUNTERS_MAP, DEVICES_MAP, Function, FunctionKind, Hook, MapKind, Module, Parameter, RULES_MAP,
};
use ipt2bpf_codegen::object;

use common::loaders::{
    BpfFs, bpftool, kernel_function, load_with_aya, load_with_libbpf, loads, run,
};
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

#[test]
fn a_call_of_a_kernel_function() {
    if !may_load() {
        return;
    }
    let Some(id) = kernel_function(Extern::CastToKernCtx) else {
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

/// Gives whether the context has a device: in a function, so that the addresses are not zero.
fn has_device(hook: Hook) -> Function {
    let mut code = Code::default();
    let none = code.label();
    code.call_extern(Extern::CastToKernCtx);
    match hook {
        Hook::Xdp => {
            code.load_field(Reg::R0, Reg::R0, KernelField::XdpQueue);
            code.load_field(Reg::R0, Reg::R0, KernelField::QueueDevice);
        }
        _ => code.load_field(Reg::R0, Reg::R0, KernelField::SkbDevice),
    }
    code.mov(Reg::R1, Reg::R0);
    code.mov(Reg::R0, 0);
    code.branch(Cond::Eq, Reg::R1, 0, none);
    code.add_offset(Reg::R1, KernelField::DeviceName);
    code.mov(Reg::R0, 1);
    code.bind(none);
    code.exit();
    Function {
        name: format!("{}_has_device", hook.program_name()),
        kind: FunctionKind::Static,
        parameters: vec![Parameter::Context(hook)],
        code,
    }
}

fn with_kernel_functions() -> Module {
    let first = 3;
    let programs = Hook::ALL.iter().zip(first..).map(|(&hook, callee)| {
        let ops = [Op::CallFunction(FunctionId(callee)), Op::Exit];
        program(hook, code(&ops))
    });
    Module {
        functions: programs.chain(Hook::ALL.map(has_device)).collect(),
        maps: Vec::new(),
    }
}

#[test]
fn libbpf_finds_functions_and_fields_of_the_kernel() {
    if !may_load() || kernel_function(Extern::CastToKernCtx).is_none() {
        return;
    }
    let fs = BpfFs::mount();
    let pins = load_with_libbpf(&with_kernel_functions(), &fs);
    for hook in Hook::ALL {
        let command = &mut bpftool();
        let command = command.args(["prog", "dump", "xlated", "pinned"]);
        let dump = run(command.arg(pins.join(hook.program_name())));
        assert!(dump.contains("r0 = *(u64 *)(r0 +"), "{dump}");
    }
}

#[test]
fn aya_refuses_functions_of_the_kernel() {
    if !may_load() {
        return;
    }
    let object = object::write(&with_kernel_functions()).unwrap();
    let error = aya::Ebpf::load(&object).unwrap_err();
    assert!(format!("{error:?}").contains(".ksyms"), "{error:?}");
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
