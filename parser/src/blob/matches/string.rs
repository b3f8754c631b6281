//! `struct xt_string_info` (netfilter/xt_string.h). The kernel's pointer is zero on the wire.

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, test};
use crate::blob::layout::{until_nul, with_nul};
use crate::matches::string::{Algorithm, StringMatch};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct String1 {
    from: U16,
    to: U16,
    algorithm: [u8; 16],
    pattern: [u8; 128],
    length: u8,
    flags: u8,
    kernel: [u8; 10],
}

/// `XT_STRING_FLAG_INVERT`
const INVERTED: u8 = 0x01;
/// `XT_STRING_FLAG_IGNORECASE`
const IGNORE_CASE: u8 = 0x02;
/// The kernel's names.
const ALGORITHMS: [(&str, Algorithm); 2] = [
    ("bm", Algorithm::BoyerMoore),
    ("kmp", Algorithm::KnuthPrattMorris),
];

impl Wire for String1 {
    type Value = StringMatch;
    const NAME: &'static str = "string";
    const REVISION: u8 = 1;

    fn read(&self, _: &Context<'_>) -> Result<Option<StringMatch>, Refused> {
        if self.from.get() > self.to.get() {
            return Err(Refused("the search ends before it starts"));
        }
        if self.flags & !(INVERTED | IGNORE_CASE) != 0 {
            return Err(Refused("an unknown flag"));
        }
        let pattern = self.pattern.get(..usize::from(self.length));
        let pattern = pattern.ok_or(Refused("a pattern that is too long"))?;
        let name = until_nul(&self.algorithm).ok_or(Refused("a name without an end"))?;
        let row = ALGORITHMS.iter().find(|row| row.0.as_bytes() == name);
        Ok(row
            .filter(|_| !pattern.is_empty())
            .map(|&(_, algorithm)| StringMatch {
                pattern: test(self.flags & INVERTED != 0, pattern.into()),
                algorithm,
                from: self.from.get(),
                to: self.to.get(),
                ignore_case: self.flags & IGNORE_CASE != 0,
            }))
    }

    fn write(value: &StringMatch, _: &Context<'_>) -> Option<Self> {
        let text = &value.pattern.value.value;
        let mut pattern = [0; 128];
        pattern.get_mut(..text.len())?.copy_from_slice(text);
        let row = ALGORITHMS.iter().find(|row| row.1 == value.algorithm)?;
        Some(Self {
            from: value.from.into(),
            to: value.to.into(),
            algorithm: with_nul(row.0.as_bytes())?,
            pattern,
            length: u8::try_from(text.len()).ok()?,
            flags: flag(value.pattern.negated, INVERTED) | flag(value.ignore_case, IGNORE_CASE),
            kernel: [0; 10],
        })
    }
}
