//! The options with which `MARK` and `CONNMARK` change a mark.

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Opt, OptionSpec};
use crate::listing::Listing;
use crate::matches::Masked;
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::span::Spanned;
use crate::value::{masked, number_of};

/// A change of a mark of 32 bits, host byte order: `mark = (mark & !mask) ^ value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct MarkChange {
    /// The bits that are flipped after the mask.
    pub value: u32,
    /// The bits that are cleared first.
    pub mask: u32,
}

static SET_XMARK: Opt<MarkChange> = Opt::new(&["set-xmark"], |value| {
    let Masked { value, mask } = masked(value.word(0))?;
    Ok(MarkChange { value, mask })
});
static SET_MARK: Opt<MarkChange> = Opt::new(&["set-mark"], |value| {
    let Masked { value, mask } = masked(value.word(0))?;
    Ok(MarkChange {
        value,
        mask: value | mask,
    })
});
static AND_MARK: Opt<MarkChange> = Opt::new(&["and-mark"], |value| {
    let kept: u32 = number_of(value.word(0))?;
    Ok(MarkChange {
        value: 0,
        mask: !kept,
    })
});
static OR_MARK: Opt<MarkChange> = Opt::new(&["or-mark"], |value| {
    let set = number_of(value.word(0))?;
    Ok(MarkChange {
        value: set,
        mask: set,
    })
});
static XOR_MARK: Opt<MarkChange> = Opt::new(&["xor-mark"], |value| {
    let value = number_of(value.word(0))?;
    Ok(MarkChange { value, mask: 0 })
});

/// The options of a change, which exclude each other.
pub(super) const OPTIONS: [&OptionSpec; 5] = [
    &SET_XMARK.spec,
    &SET_MARK.spec,
    &AND_MARK.spec,
    &OR_MARK.spec,
    &XOR_MARK.spec,
];

impl MarkChange {
    /// The change that an extension asks for, if any.
    pub(super) fn read(arguments: &Arguments<'_>) -> Result<Option<Spanned<Self>>, Diagnostic> {
        for option in [&SET_XMARK, &SET_MARK, &AND_MARK, &OR_MARK, &XOR_MARK] {
            if let Some(Negatable { value, .. }) = arguments.get(option)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// What `-L` shows of it behind the target's name.
    pub(super) fn list(&self, line: &mut Listing<'_>) {
        let Self { value, mask } = *self;
        match (value, mask) {
            (0, mask) => line.word(format_args!("and {:#x}", !mask)),
            (value, mask) if value == mask => line.word(format_args!("or {value:#x}")),
            (value, 0) => line.word(format_args!("xor {value:#x}")),
            (value, u32::MAX) => line.word(format_args!("set {value:#x}")),
            (value, mask) => line.word(format_args!("xset {value:#x}/{mask:#x}")),
        }
    }

    pub(super) fn print(&self, line: &mut Line) {
        line.word("--set-xmark");
        line.word(format!("{:#x}/{:#x}", self.value, self.mask));
    }
}
