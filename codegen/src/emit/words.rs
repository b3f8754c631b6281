//! Arithmetic on 32-bit words, for routines that compute more than they look.
//!
//! A [`Word`] is an expression, a [`Fact`] a condition on words; a [`Script`] writes assignments and
//! branches. Variables lie on the stack. Everything is unsigned and wraps, as sequence numbers do.
//! Evaluation uses R0 to R5 only and keeps nothing there between statements.

use std::ops::{Add, BitAnd, BitOr, BitXor, Mul, Shl, Shr, Sub};

use crate::asm::{Alu, Code, Cond, Label, Operand, Reg, Size};

/// Where a word lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What the offset counts from.
    pub base: Reg,
    /// In bytes.
    pub offset: i16,
    /// How many bytes it takes, in host byte order.
    pub size: Size,
}

impl Place {
    /// A word of four bytes.
    pub fn word(base: Reg, offset: i16) -> Self {
        Place {
            base,
            offset,
            size: Size::W,
        }
    }

    /// A single byte.
    pub fn byte(base: Reg, offset: i16) -> Self {
        Place {
            base,
            offset,
            size: Size::B,
        }
    }
}

/// An expression.
#[derive(Clone, Debug)]
pub enum Word {
    /// A constant.
    Number(u32),
    /// What lies in memory.
    At(Place),
    /// `left op right`, modulo 2^32.
    Op(Alu, Box<Word>, Box<Word>),
}

impl From<u32> for Word {
    fn from(number: u32) -> Self {
        Word::Number(number)
    }
}

impl From<Place> for Word {
    fn from(place: Place) -> Self {
        Word::At(place)
    }
}

/// Makes operators of words from BPF's operations.
macro_rules! operators {
    ($($trait:ident $method:ident $alu:ident,)*) => {
        $(impl<T: Into<Word>> $trait<T> for Word {
            type Output = Word;

            fn $method(self, right: T) -> Word {
                Word::Op(Alu::$alu, Box::new(self), Box::new(right.into()))
            }
        }

        impl<T: Into<Word>> $trait<T> for Place {
            type Output = Word;

            fn $method(self, right: T) -> Word {
                Word::from(self).$method(right)
            }
        })*
    };
}

operators! {
    Add add Add,
    Sub sub Sub,
    BitAnd bitand And,
    BitOr bitor Or,
    BitXor bitxor Xor,
    Mul mul Mul,
    Shl shl Lsh,
    Shr shr Rsh,
}

/// A condition.
#[derive(Clone, Debug)]
pub enum Fact {
    /// `left cond right`
    Compare(Cond, Word, Word),
    /// Each of them.
    All(Vec<Fact>),
    /// One of them.
    Any(Vec<Fact>),
    /// The opposite.
    Not(Box<Fact>),
}

impl Fact {
    /// Both.
    pub fn and(self, other: Fact) -> Fact {
        Fact::All(vec![self, other])
    }

    /// One of the two.
    pub fn or(self, other: Fact) -> Fact {
        Fact::Any(vec![self, other])
    }

    /// The opposite.
    pub fn negated(self) -> Fact {
        Fact::Not(Box::new(self))
    }
}

/// The conditions on words.
pub trait Compare: Into<Word> + Sized {
    /// Equal.
    fn is(self, other: impl Into<Word>) -> Fact {
        Fact::Compare(Cond::Eq, self.into(), other.into())
    }

    /// Not equal.
    fn differs(self, other: impl Into<Word>) -> Fact {
        Fact::Compare(Cond::Ne, self.into(), other.into())
    }

    /// Less.
    fn below(self, other: impl Into<Word>) -> Fact {
        Fact::Compare(Cond::Lt, self.into(), other.into())
    }

    /// Greater.
    fn above(self, other: impl Into<Word>) -> Fact {
        Fact::Compare(Cond::Gt, self.into(), other.into())
    }

    /// Less or equal.
    fn at_most(self, other: impl Into<Word>) -> Fact {
        Fact::Compare(Cond::Le, self.into(), other.into())
    }

    /// One of these bits is set.
    fn has(self, bits: u32) -> Fact {
        Fact::Compare(Cond::Set, self.into(), bits.into())
    }

    /// Earlier in the space of sequence numbers, which is a circle.
    fn before(self, other: impl Into<Word>) -> Fact {
        Fact::Compare(Cond::Slt, self.into() - other, 0.into())
    }

    /// Later in the space of sequence numbers.
    fn after(self, other: impl Into<Word>) -> Fact {
        other.into().before(self)
    }
}

impl Compare for Word {}
impl Compare for Place {}

/// Statements, one behind the other.
pub struct Script<'a> {
    /// Where they are written.
    pub code: &'a mut Code,
    /// The lowest byte of the stack that is taken.
    lowest: i16,
}

/// Where expressions begin to be evaluated; deeper parts take the next registers.
const FIRST: Reg = Reg::R1;
const REGISTERS: [Reg; 5] = [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];

impl<'a> Script<'a> {
    /// A script whose variables lie below this offset from the frame pointer.
    pub fn new(code: &'a mut Code, below: i16) -> Self {
        Script {
            code,
            lowest: below,
        }
    }

    /// The lowest byte of the stack that is taken.
    pub fn lowest(&self) -> i16 {
        self.lowest
    }

    /// A variable, not yet written.
    pub fn variable(&mut self) -> Place {
        self.lowest -= 4;
        Place::word(Reg::R10, self.lowest)
    }

    /// A variable with a value.
    pub fn bind(&mut self, value: impl Into<Word>) -> Place {
        let variable = self.variable();
        self.set(variable, value);
        variable
    }

    /// `place = value`
    pub fn set(&mut self, place: Place, value: impl Into<Word>) {
        match value.into() {
            Word::Number(number) => {
                self.code
                    .store(place.size, place.base, place.offset, number as i32);
            }
            value => {
                self.evaluate(&value, 0);
                self.code.store(place.size, place.base, place.offset, FIRST);
            }
        }
    }

    /// Goes to `target` when the fact's truth is `sense`.
    pub fn branch(&mut self, fact: &Fact, sense: bool, target: Label) {
        match fact {
            Fact::Compare(cond, left, right) => {
                self.evaluate(left, 0);
                let right = match right {
                    Word::Number(number) => Operand::Imm(*number as i32),
                    right => {
                        self.evaluate(right, 1);
                        Operand::Reg(REGISTERS[1])
                    }
                };
                self.compare(*cond, right, sense, target);
            }
            Fact::Not(inner) => self.branch(inner, !sense, target),
            Fact::All(parts) => self.join(parts, false, sense, target),
            Fact::Any(parts) => self.join(parts, true, sense, target),
        }
    }

    fn compare(&mut self, cond: Cond, right: Operand, sense: bool, target: Label) {
        match (sense, opposite(cond)) {
            (true, _) => self.code.branch32(cond, FIRST, right, target),
            (false, Some(opposite)) => self.code.branch32(opposite, FIRST, right, target),
            (false, None) => {
                let holds = self.code.label();
                self.code.branch32(cond, FIRST, right, holds);
                self.code.jump(target);
                self.code.bind(holds);
            }
        }
    }

    /// Parts of which one of truth `deciding` decides the whole.
    fn join(&mut self, parts: &[Fact], deciding: bool, sense: bool, target: Label) {
        let Some((last, others)) = parts.split_last() else {
            if sense != deciding {
                self.code.jump(target);
            }
            return;
        };
        if sense == deciding {
            parts
                .iter()
                .for_each(|part| self.branch(part, sense, target));
        } else {
            let skip = self.code.label();
            others
                .iter()
                .for_each(|part| self.branch(part, deciding, skip));
            self.branch(last, sense, target);
            self.code.bind(skip);
        }
    }

    /// `if fact { then }`
    pub fn when(&mut self, fact: Fact, then: impl FnOnce(&mut Self)) {
        let end = self.code.label();
        self.branch(&fact, false, end);
        then(self);
        self.code.bind(end);
    }

    /// `if fact { then } else { otherwise }`
    pub fn either(
        &mut self,
        fact: Fact,
        then: impl FnOnce(&mut Self),
        otherwise: impl FnOnce(&mut Self),
    ) {
        let (no, end) = (self.code.label(), self.code.label());
        self.branch(&fact, false, no);
        then(self);
        self.code.jump(end);
        self.code.bind(no);
        otherwise(self);
        self.code.bind(end);
    }

    /// Leaves a value in the register of this depth.
    fn evaluate(&mut self, word: &Word, depth: usize) {
        let register = REGISTERS[depth.min(REGISTERS.len() - 1)];
        match word {
            Word::Number(number) => self.code.alu32(Alu::Mov, register, *number as i32),
            Word::At(place) => self
                .code
                .load(place.size, register, place.base, place.offset),
            Word::Op(operation, left, right) => {
                self.evaluate(left, depth);
                let right = match &**right {
                    Word::Number(number) => Operand::Imm(*number as i32),
                    right => {
                        self.evaluate(right, depth + 1);
                        Operand::Reg(REGISTERS[(depth + 1).min(REGISTERS.len() - 1)])
                    }
                };
                self.code.alu32(*operation, register, right);
            }
        }
    }
}

/// The condition that holds when the other does not; bits set have none.
fn opposite(cond: Cond) -> Option<Cond> {
    Some(match cond {
        Cond::Eq => Cond::Ne,
        Cond::Ne => Cond::Eq,
        Cond::Gt => Cond::Le,
        Cond::Le => Cond::Gt,
        Cond::Ge => Cond::Lt,
        Cond::Lt => Cond::Ge,
        Cond::Sgt => Cond::Sle,
        Cond::Sle => Cond::Sgt,
        Cond::Sge => Cond::Slt,
        Cond::Slt => Cond::Sge,
        Cond::Set => return None,
    })
}
