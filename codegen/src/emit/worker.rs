//! Functions that are verified once, however many rules call them.
//!
//! The verifier walks a static function anew at each call, and each round of a loop. What loops over a
//! packet is therefore a global function, which is walked once for all arguments. Kernels before 5.12
//! give such a function no pointer but the context: it takes numbers, and places in the packet count from
//! the start of the frame at XDP, from the IP header at other hooks.

use crate::asm::{Alu, Code, Cond, FunctionId, Helper, Label, Operand, Reg, Size};
use crate::emit::parse::xdp;
use crate::module::Hook;

/// The context in a worker.
pub const CONTEXT: Reg = Reg::R6;

/// The body of a worker while it is written: `u64 worker(context, numbers...)`, at most four. R6 is the
/// context; R2 to R5 hold the numbers until the first call.
pub struct Worker {
    /// What is written.
    pub code: Code,
    /// The hook of the program.
    pub hook: Hook,
    end: Label,
}

impl Worker {
    pub(super) fn new(name: &str, hook: Hook) -> Self {
        let mut code = Code::default();
        code.line(name);
        code.mov(CONTEXT, Reg::R1);
        let end = code.label();
        Worker { code, hook, end }
    }

    pub(super) fn finish(mut self) -> Code {
        self.code.bind(self.end);
        self.code.exit();
        self.code
    }

    /// Ends the function with an answer.
    pub fn answer(&mut self, answer: impl Into<Operand>) {
        self.code.mov(Reg::R0, answer);
        self.code.jump(self.end);
    }

    /// Copies bytes from the place in a register on to the stack; goes to `missing` unless they lie in
    /// front of the place in another. R0 to R5 are lost.
    pub fn bytes(&mut self, at: Reg, end: Reg, count: i16, to: i16, missing: Label) {
        let code = &mut self.code;
        code.mov(Reg::R2, at);
        code.mov(Reg::R3, at);
        code.alu(Alu::Add, Reg::R3, i32::from(count));
        code.branch(Cond::Gt, Reg::R3, end, missing);
        copy(code, self.hook, CONTEXT, count, to, missing);
    }

    /// Splits a span made by [`join`]: `low` gets the lower half.
    pub fn split(&mut self, span: Reg, low: Reg, high: Reg) {
        let code = &mut self.code;
        code.alu32(Alu::Mov, low, span);
        code.mov(high, span);
        code.alu(Alu::Rsh, high, 32);
    }

    /// Calls a function of the same packet with what is in R2 to R5.
    pub fn call(&mut self, function: FunctionId) {
        self.code.mov(Reg::R1, CONTEXT);
        self.code.call_function(function);
    }
}

/// `low |= high << 32`; two numbers of 32 bits in one. `high` is lost.
pub fn join(code: &mut Code, low: Reg, high: Reg) {
    code.alu(Alu::Lsh, high, 32);
    code.alu(Alu::Or, low, high);
}

/// Makes the verifier forget what it knows of a number of 32 bits, so that all ways through a loop look
/// the same to it: what is stored off an 8-byte boundary counts as unknown when it is read.
pub fn forget(code: &mut Code, reg: Reg, spare: i16) {
    code.store(Size::W, Reg::R10, spare, reg);
    code.load(Size::W, reg, Reg::R10, spare);
}

/// Copies bytes from the place in R2 on to the stack; goes to `missing` when the frame or the packet ends
/// before them. R0 to R5 are lost.
pub fn copy(code: &mut Code, hook: Hook, context: Reg, count: i16, to: i16, missing: Label) {
    match hook {
        Hook::CgroupIngress | Hook::CgroupEgress => {
            code.mov(Reg::R1, context);
            code.mov(Reg::R3, Reg::R10);
            code.alu(Alu::Add, Reg::R3, i32::from(to));
            code.mov(Reg::R4, i32::from(count));
            code.call(Helper::SkbLoadBytes);
            code.branch(Cond::Ne, Reg::R0, 0, missing);
        }
        Hook::Xdp => {
            pointer(code, context, missing);
            code.mov(Reg::R5, Reg::R2);
            code.alu(Alu::Add, Reg::R5, i32::from(count));
            code.branch(Cond::Gt, Reg::R5, Reg::R3, missing);
            let mut offset = 0;
            while offset < count {
                let (size, step) = match count - offset {
                    8.. => (Size::D, 8),
                    4.. => (Size::W, 4),
                    2.. => (Size::H, 2),
                    _ => (Size::B, 1),
                };
                code.load(size, Reg::R1, Reg::R2, offset);
                code.store(size, Reg::R10, to + offset, Reg::R1);
                offset += step;
            }
        }
    }
}

/// At XDP: turns the place in R2 into the address of that byte, R3 into that of the frame's end. R4 is
/// lost.
pub fn pointer(code: &mut Code, context: Reg, missing: Label) {
    // Frames are shorter; the verifier wants to see it.
    code.branch(Cond::Gt, Reg::R2, 0xff00, missing);
    code.load(Size::W, Reg::R3, context, xdp::DATA_END);
    code.load(Size::W, Reg::R4, context, xdp::DATA);
    code.alu(Alu::Add, Reg::R2, Reg::R4);
}
