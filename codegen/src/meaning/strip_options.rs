//! TCPOPTSTRIP: options of TCP become padding (`tcpoptstrip_mangle_packet`, net/netfilter/xt_TCPOPTSTRIP.c).
//! What has no whole TCP header is dropped.

use std::collections::BTreeSet;
use std::fmt;

use ipt2bpf_parser::targets::tcpoptstrip::Tcpoptstrip;

use super::rewrite::whole_header::{self, DemandTcpHeader};
use super::rewrite::{self, tcp};
use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::asm::{Alu, Code, Cond, FunctionId, Imm64, Label, Reg, Size};
use crate::emit::link::{Body, Call, Linker, PACKET};
use crate::emit::options::{self, END, KIND};
use crate::field::{Field, NO_SEGMENT_SIZE};
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::Action;

/// An option that is padding.
const PADDING: u8 = 1;

impl TargetMeaning for Tcpoptstrip {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        let (effect, note) = match rewrite::is_possible(context) {
            true => (StripOptions::of(&self.options).into(), None),
            false => (
                DemandTcpHeader.into(),
                Some("the packet keeps its options".into()),
            ),
        };
        Ok(TargetAction {
            effects: vec![effect],
            action: Action::Continue,
            note,
        })
    }
}

/// Makes padding of options of some kinds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StripOptions {
    /// Bit n of word n / 64 for kind n.
    kinds: [u64; 4],
}

impl StripOptions {
    fn of(kinds: &BTreeSet<u8>) -> Self {
        let mut words = [0; 4];
        for &kind in kinds {
            words[usize::from(kind / 64)] |= 1 << (kind % 64);
        }
        StripOptions { kinds: words }
    }

    fn has(&self, kind: u8) -> bool {
        self.kinds[usize::from(kind / 64)] >> (kind % 64) & 1 != 0
    }

    /// The options without those, if any is there.
    fn stripped(&self, options: &[u8]) -> Option<Vec<u8>> {
        let mut new = options.to_vec();
        let mut at = 0;
        while at + 1 < options.len() {
            let (kind, told) = (new[at], usize::from(new[at + 1]));
            let length = if kind <= PADDING || told == 0 {
                1
            } else {
                told
            };
            let Some(option) = new.get_mut(at..at + length) else {
                break;
            };
            if self.has(kind) {
                option.fill(PADDING);
            }
            at += length;
        }
        (new != options).then_some(new)
    }

    /// Goes on at `strip` when the kind in a register is one of these. R4 is lost.
    fn branch(&self, code: &mut Code, strip: Label) {
        for (word, &kinds) in (0..).zip(&self.kinds) {
            if kinds == 0 {
                continue;
            }
            let other = code.label();
            let first = 64 * word;
            code.branch(Cond::Lt, KIND, first, other);
            code.branch(Cond::Gt, KIND, first + 63, other);
            code.load_imm64(Reg::R4, Imm64::Number(kinds));
            code.mov(Reg::R5, KIND);
            code.alu(Alu::And, Reg::R5, 63);
            code.alu(Alu::Rsh, Reg::R4, Reg::R5);
            code.alu(Alu::And, Reg::R4, 1);
            code.branch(Cond::Ne, Reg::R4, 0, strip);
            code.bind(other);
        }
    }

    /// Strips the options in the frame, and tells the struct.
    fn strip(&self, body: &mut Body, unfinished: FunctionId, broken: Label, done: Label) {
        let [written, kept] = [(); 2].map(|()| body.code.label());
        tcp::call(body, unfinished);
        body.code.store(Size::W, Reg::R10, UNFINISHED, Reg::R0);
        tcp::copy_options(body, OPTIONS, SPARE, broken);
        let code = &mut body.code;
        code.branch(Cond::Eq, END, 0, done);
        self.walk(code);
        code.branch(Cond::Eq, Reg::R0, 0, done);

        tcp::point_to_header(body, tcp::HEADER as i32, done);
        let change = tcp::begin_checksum(body);
        let code = &mut body.code;
        for word in (0..options::SIZE).step_by(4) {
            let to = tcp::HEADER as i16 + word;
            code.branch(Cond::Le, END, i32::from(word), written);
            code.mov(Reg::R5, Reg::R4);
            code.alu(Alu::Add, Reg::R5, i32::from(to) + 4);
            code.branch(Cond::Gt, Reg::R5, Reg::R3, done);
            code.load(Size::W, Reg::R1, Reg::R4, to);
            change.take(code, Reg::R1);
            code.load(Size::W, Reg::R1, Reg::R10, OPTIONS + word);
            change.put(code, Reg::R1);
            code.store(Size::W, Reg::R4, to, Reg::R1);
        }
        code.bind(written);
        code.load(Size::W, Reg::R1, Reg::R10, UNFINISHED);
        code.branch(Cond::Ne, Reg::R1, 0, kept);
        tcp::finish_checksum(body, change);
        body.code.bind(kept);
        let none = NO_SEGMENT_SIZE as i32;
        let size = Field::MaximumSegment.place().offset;
        body.code.store(Size::W, PACKET, size, none);
        let mut options = tcp::options(body, OPTIONS, SPARE);
        options.kinds();
        options.maximum_segment();
    }

    /// Walks the options on the stack and strips them there; R0 is where the last of these ends, 0 without
    /// one. All that a step needs lies on the stack, of which the verifier remembers nothing, so that all
    /// ways look the same to it. Registers but R6, R7 and R8 are lost.
    fn walk(&self, code: &mut Code) {
        let (until, at, length) = (Reg::R0, Reg::R9, Reg::R2);
        let finished = code.label();
        code.mov(until, 0);
        code.store(Size::W, Reg::R10, UNTIL, until);
        code.store(Size::W, Reg::R10, AT, until);
        code.store(Size::W, Reg::R10, SPARE, END);
        for byte in 0..options::SIZE {
            let place = OPTIONS + byte;
            let number = i32::from(byte);
            let [inside, single, next, strip] = [(); 4].map(|()| code.label());
            code.load(Size::W, END, Reg::R10, SPARE);
            if byte % 4 == 0 && byte > 0 {
                code.branch(Cond::Le, END, number, finished);
            }
            if byte < options::SIZE - 1 {
                code.load(Size::W, at, Reg::R10, AT);
                code.branch(Cond::Ne, at, number, inside);
                if byte % 4 == 3 {
                    // The last byte is not looked at.
                    code.branch(Cond::Le, END, number + 1, finished);
                }
                code.load(Size::B, KIND, Reg::R10, place);
                code.mov(length, 1);
                code.branch(Cond::Le, KIND, i32::from(PADDING), single);
                code.load(Size::B, Reg::R3, Reg::R10, place + 1);
                code.branch(Cond::Eq, Reg::R3, 0, single);
                code.mov(length, Reg::R3);
                code.bind(single);
                code.alu(Alu::Add, length, number);
                code.branch(Cond::Gt, length, END, finished);
                code.store(Size::W, Reg::R10, AT, length);
                self.branch(code, strip);
                code.jump(next);
                code.bind(strip);
                code.store(Size::W, Reg::R10, UNTIL, length);
                code.bind(inside);
            }
            code.load(Size::W, until, Reg::R10, UNTIL);
            code.branch(Cond::Le, until, number, next);
            code.store(Size::B, Reg::R10, place, i32::from(PADDING));
            code.bind(next);
        }
        code.bind(finished);
        code.load(Size::W, END, Reg::R10, SPARE);
        code.load(Size::W, until, Reg::R10, UNTIL);
    }
}

/// On the stack: the options, and whether the checksum is to be finished.
const OPTIONS: i16 = -40;
const UNFINISHED: i16 = -44;
/// Where the walk keeps its numbers, off 8-byte boundaries.
const SPARE: i16 = -52;
const AT: i16 = -60;
const UNTIL: i16 = -68;

impl Perform for StripOptions {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        whole_header::perform(packet, |packet, header| {
            let start = packet.transport();
            let options = &packet.bytes()[start + tcp::HEADER..start + header];
            if let Some(stripped) = self.stripped(options) {
                tcp::write(packet, tcp::HEADER, &stripped);
            }
            0
        })
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let unfinished = tcp::unfinished(linker);
        let function = whole_header::link(linker, "strip_options", 0, |body, broken, done| {
            if self.kinds != [0; 4] {
                self.strip(body, unfinished, broken, done);
            }
        });
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn reads(&self) -> Vec<Field> {
        whole_header::READS.to_vec()
    }

    fn rewrites(&self) -> bool {
        true
    }

    fn branches(&self) -> usize {
        500
    }
}

impl fmt::Display for StripOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = (0..=u8::MAX).filter(|&kind| self.has(kind)).collect();
        write!(f, "strip options {kinds:?}")
    }
}
