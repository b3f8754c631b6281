//! A walk over the options of TCP, of which a copy lies on the stack.

use super::worker::forget;
use crate::asm::{Alu, Code, Cond, Reg, Size};
use crate::field::{Field, layout};

/// The most bytes of options that a TCP header can announce.
pub const SIZE: i16 = 40;

/// How many bytes of options there are: a multiple of 4.
pub const END: Reg = Reg::R8;
/// Where the walk is.
const AT: Reg = Reg::R9;
/// The kind of the option there.
pub const KIND: Reg = Reg::R1;

/// Writes walks over options on the stack, [`SIZE`] bytes of which [`END`] count.
pub struct TcpOptions<'a> {
    /// Where they are written.
    pub code: &'a mut Code,
    /// Where the options lie, from R10 on.
    pub bytes: i16,
    /// A place on the stack to [`forget`] where a walk is, for functions that are more than the walk; none
    /// where the verifier can follow it.
    pub spare: Option<i16>,
    /// The `struct packet`: an address in a register, and how far from it.
    pub packet: (Reg, i16),
}

impl TcpOptions<'_> {
    /// `dst = the byte of the options`
    pub fn byte(&mut self, dst: Reg, byte: i16) {
        self.code.load(Size::B, dst, Reg::R10, self.bytes + byte);
    }

    /// Walks as `tcp_find_option` does (net/netfilter/xt_tcpudp.c), and calls `visit` at each option with
    /// [`KIND`]. The walk is unrolled: each byte in turn is looked at when the walk has come to it, so that
    /// all accesses are constant. R1 and R9 are lost.
    pub fn each(&mut self, mut visit: impl FnMut(&mut Self, i16)) {
        let finished = self.code.label();
        self.code.mov(AT, 0);
        self.forget();
        for byte in 0..SIZE {
            if byte % 4 == 0 && byte > 0 {
                self.code.branch(Cond::Le, END, i32::from(byte), finished);
            }
            let next = self.code.label();
            self.code.branch(Cond::Ne, AT, i32::from(byte), next);
            self.byte(KIND, byte);
            visit(self, byte);
            self.code.mov(AT, i32::from(byte) + 1);
            if byte < SIZE - 1 {
                self.code.branch(Cond::Lt, KIND, 2, next);
                self.byte(KIND, byte + 1);
                self.code.branch(Cond::Eq, KIND, 0, next);
                self.code.mov(AT, i32::from(byte));
                self.code.alu(Alu::Add, AT, KIND);
            }
            self.code.bind(next);
            self.forget();
        }
        self.code.bind(finished);
    }

    fn forget(&mut self) {
        if let Some(spare) = self.spare {
            forget(self.code, AT, spare);
        }
    }

    /// The set of option kinds into the struct.
    pub fn kinds(&mut self) {
        self.code.line("the kinds of TCP options");
        let sets = [Reg::R2, Reg::R3, Reg::R4, Reg::R5];
        for set in sets {
            self.code.mov(set, 0);
        }
        self.each(|options, _| {
            let code = &mut *options.code;
            code.mov(Reg::R0, 1);
            code.alu(Alu::Lsh, Reg::R0, KIND);
            let stored = code.label();
            for (set, bound) in sets.into_iter().zip([63, 127, 191]) {
                let above = code.label();
                code.branch(Cond::Gt, KIND, bound, above);
                code.alu(Alu::Or, set, Reg::R0);
                code.jump(stored);
                code.bind(above);
            }
            code.alu(Alu::Or, sets[3], Reg::R0);
            code.bind(stored);
        });
        let (base, offset) = self.packet;
        for (set, word) in sets.into_iter().zip((0..32).step_by(8)) {
            let to = offset + layout::TCP_OPTIONS + word;
            self.code.store(Size::D, base, to, set);
        }
    }

    /// Finds the first whole option of kind 2 and length 4 (`tcpmss_mt`, net/netfilter/xt_tcpmss.c) and
    /// goes on with its value in R2 and its place in R0, else falls through. R3 is lost.
    pub fn find_maximum_segment(&mut self, found: crate::asm::Label) {
        self.each(|options, byte| {
            if byte + 4 > SIZE {
                return;
            }
            let other = options.code.label();
            options.code.branch(Cond::Ne, KIND, 2, other);
            options
                .code
                .branch(Cond::Lt, END, i32::from(byte) + 4, other);
            options.byte(Reg::R2, byte + 1);
            options.code.branch(Cond::Ne, Reg::R2, 4, other);
            options.byte(Reg::R2, byte + 2);
            options.code.alu(Alu::Lsh, Reg::R2, 8);
            options.byte(Reg::R3, byte + 3);
            options.code.alu(Alu::Or, Reg::R2, Reg::R3);
            options.code.mov(Reg::R0, i32::from(byte));
            options.code.jump(found);
            options.code.bind(other);
        });
    }

    /// That value into the struct, which stays as it is without one.
    pub fn maximum_segment(&mut self) {
        self.code.line("the maximum segment size");
        let (found, done) = (self.code.label(), self.code.label());
        self.find_maximum_segment(found);
        self.code.jump(done);
        self.code.bind(found);
        let (base, offset) = self.packet;
        let to = offset + Field::MaximumSegment.place().offset;
        self.code.store(Size::W, base, to, Reg::R2);
        self.code.bind(done);
    }
}
