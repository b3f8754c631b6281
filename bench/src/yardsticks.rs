//! The programs that filters are measured against.

use anyhow::Result;
use ipt2bpf_codegen::asm::{Alu, Code, Cond, Reg, Size};
use ipt2bpf_codegen::module::{Function, FunctionKind, Hook, Module, Parameter};
use ipt2bpf_codegen::object;
use ipt2bpf_runtime::{Loaded, load};

/// `XDP_DROP` and `XDP_PASS`.
const DROP: i32 = 1;
const PASS: i32 = 2;
/// `data` and `data_end` in `struct xdp_md`.
const DATA: i16 = 0;
const DATA_END: i16 = 4;
/// Where things lie in a frame, and the least length of one with ports.
const ETHER_TYPE: i16 = 12;
const IP: i16 = 14;
const PORTS: i16 = 34;
const WITH_PORTS: i32 = 38;

/// Drops every packet without a look at it.
///
/// # Errors
/// When the kernel refuses the program.
pub fn empty() -> Result<Loaded> {
    let mut code = Code::default();
    code.mov(Reg::R0, DROP);
    code.exit();
    loaded(code)
}

/// Reads what every filter has to read, addresses, protocol and ports with all checks before them, and
/// drops: the least that a program does which decides by them.
///
/// # Errors
/// When the kernel refuses the program.
pub fn parsing() -> Result<Loaded> {
    let mut code = Code::default();
    let (context, data, end, value, seen) = (Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R0);
    let other = code.label();
    let decided = code.label();
    code.load(Size::W, data, context, DATA);
    code.load(Size::W, end, context, DATA_END);
    code.mov(value, data);
    code.alu(Alu::Add, value, WITH_PORTS);
    code.branch(Cond::Gt, value, end, other);
    code.load(Size::H, value, data, ETHER_TYPE);
    code.branch(Cond::Ne, value, 0x0008, other);
    code.load(Size::B, value, data, IP);
    code.branch(Cond::Ne, value, 0x45, other);
    // The offset of a fragment, and whether more follow.
    code.load(Size::H, value, data, IP + 6);
    code.alu(Alu::And, value, 0xff3f);
    code.branch(Cond::Ne, value, 0, other);
    code.load(Size::W, seen, data, IP + 12);
    code.load(Size::W, value, data, IP + 16);
    code.alu(Alu::Xor, seen, value);
    code.load(Size::B, value, data, IP + 9);
    code.alu(Alu::Xor, seen, value);
    let ports = code.label();
    code.branch(Cond::Eq, value, 6, ports);
    code.branch(Cond::Ne, value, 17, decided);
    code.bind(ports);
    code.load(Size::W, value, data, PORTS);
    code.alu(Alu::Xor, seen, value);
    code.bind(decided);
    // What was read decides, so that nothing of it can be left out.
    code.branch(Cond::Eq, seen, 0x5eed, other);
    code.mov(Reg::R0, DROP);
    code.exit();
    code.bind(other);
    code.mov(Reg::R0, PASS);
    code.exit();
    loaded(code)
}

fn loaded(code: Code) -> Result<Loaded> {
    let hook = Hook::Xdp;
    let module = Module {
        functions: vec![Function {
            name: hook.program_name().into(),
            kind: FunctionKind::Program(hook),
            parameters: vec![Parameter::Context(hook)],
            code,
        }],
        maps: Vec::new(),
    };
    Ok(load(&object::write(&module)?)?)
}
