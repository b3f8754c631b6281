//! Short words for the modules that tests are made of.

// Each test takes what it needs.
#![allow(dead_code)]

pub mod loaders;
pub mod operations;
pub mod trials;

use std::process::Command;

use ipt2bpf_codegen::asm::{Alu, Code, Op, Operand, Reg, Width};
use ipt2bpf_codegen::module::{Function, FunctionKind, Hook, Map, MapKind, Parameter};

pub fn code(ops: &[Op]) -> Code {
    let mut code = Code::default();
    for &op in ops {
        code.push(op);
    }
    code
}

pub fn alu(alu: Alu, dst: Reg, src: impl Into<Operand>) -> Op {
    Op::Alu(Width::W64, alu, dst, src.into())
}

pub fn mov(dst: Reg, src: impl Into<Operand>) -> Op {
    alu(Alu::Mov, dst, src)
}

pub fn program(hook: Hook, code: Code) -> Function {
    Function {
        name: hook.program_name().to_owned(),
        kind: FunctionKind::Program(hook),
        parameters: vec![Parameter::Context(hook)],
        code,
    }
}

pub fn map(name: &str, kind: MapKind) -> Map {
    Map {
        name: name.to_owned(),
        kind,
    }
}

/// Whether this process may load programs; says so when not.
pub fn may_load() -> bool {
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|it| it.stdout == b"0\n");
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}
