//! `-j CONNMARK`: the connection's mark is changed, or copied from or to the packet's; the packet goes
//! on (libxt_CONNMARK, xt_connmark.c).

use serde::Serialize;

use super::mark_change::{self, MarkChange};
use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::span::{Span, Spanned};
use crate::value::{number_of, ranged};

/// The `CONNMARK` target. Without a connection it does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Connmark {
    /// What is done.
    #[serde(flatten)]
    pub operation: Operation,
    /// What is done to a mark on its way.
    pub shift: Shift,
}

/// What `CONNMARK` does. All marks and masks have 32 bits, host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Changes the connection's mark.
    Set(MarkChange),
    /// `connection = (connection & !connection_mask) ^ (packet & packet_mask)`
    Save(Masks),
    /// `packet = (packet & !packet_mask) ^ (connection & connection_mask)`
    Restore(Masks),
}

/// The masks of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Masks {
    /// `--nfmask`
    pub packet: u32,
    /// `--ctmask`
    pub connection: u32,
}

/// A shift of the mark, applied before it is written; by zero bits unless told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shift {
    /// `--left-shift-mark`, 0 to 31 bits.
    Left(u8),
    /// `--right-shift-mark`, 1 to 31 bits.
    Right(u8),
}

static SAVE: Opt<()> = switch(&["save-mark"]);
static RESTORE: Opt<()> = switch(&["restore-mark"]);
static LEFT: Opt<u8> = Opt::new(&["left-shift-mark"], bits);
static RIGHT: Opt<u8> = Opt::new(&["right-shift-mark"], bits);
static CONNECTION_MASK: Opt<u32> = Opt::new(&["ctmask"], mask);
static PACKET_MASK: Opt<u32> = Opt::new(&["nfmask"], mask);
static MASK: Opt<u32> = Opt::new(&["mask"], mask);

const OPERATIONS: [&OptionSpec; 7] = [
    mark_change::OPTIONS[0],
    mark_change::OPTIONS[1],
    mark_change::OPTIONS[2],
    mark_change::OPTIONS[3],
    mark_change::OPTIONS[4],
    &SAVE.spec,
    &RESTORE.spec,
];

impl Shift {
    fn list(&self, line: &mut Listing<'_>) {
        match self {
            Shift::Left(0) | Shift::Right(0) => {}
            Shift::Left(bits) => line.word(format_args!("left-shift-mark {bits}")),
            Shift::Right(bits) => line.word(format_args!("right-shift-mark {bits}")),
        }
    }
}

impl Extension for Connmark {
    const NAME: &'static str = "CONNMARK";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        OPERATIONS[0],
        OPERATIONS[1],
        OPERATIONS[2],
        OPERATIONS[3],
        OPERATIONS[4],
        OPERATIONS[5],
        OPERATIONS[6],
        &LEFT.spec,
        &RIGHT.spec,
        &CONNECTION_MASK.spec,
        &PACKET_MASK.spec,
        &MASK.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(&OPERATIONS)?;
        arguments.at_most_one(&[&MASK.spec, &CONNECTION_MASK.spec])?;
        arguments.at_most_one(&[&MASK.spec, &PACKET_MASK.spec])?;
        let both = given(arguments, &MASK)?;
        let connection = given(arguments, &CONNECTION_MASK)?.or_else(|| both.clone());
        let packet = given(arguments, &PACKET_MASK)?.or(both);
        let masks = Masks {
            packet: packet.map_or(u32::MAX, |mask| mask.value),
            connection: connection.as_ref().map_or(u32::MAX, |mask| mask.value),
        };
        let operation = match MarkChange::read(arguments)? {
            Some(change) => Operation::Set(masked(change, connection)),
            None if arguments.has(&SAVE) => Operation::Save(masks),
            None if arguments.has(&RESTORE) => Operation::Restore(masks),
            None => {
                return Err(arguments
                    .error(code::MISSING_OPTION, "CONNMARK is not told what to do")
                    .with_help("add --set-mark, --save-mark or --restore-mark"));
            }
        };
        Ok(Self {
            operation,
            shift: shift(arguments)?,
        })
    }

    fn print(&self, line: &mut Line) {
        let masks = match &self.operation {
            Operation::Set(change) => {
                change.print(line);
                None
            }
            Operation::Save(masks) => {
                line.word("--save-mark");
                Some(masks)
            }
            Operation::Restore(masks) => {
                line.word("--restore-mark");
                Some(masks)
            }
        };
        if let Some(masks) = masks {
            line.word(format!("--nfmask {:#x}", masks.packet));
            line.word(format!("--ctmask {:#x}", masks.connection));
        }
        match self.shift {
            Shift::Left(0) | Shift::Right(0) => {}
            Shift::Left(bits) => line.word(format!("--left-shift-mark {bits}")),
            Shift::Right(bits) => line.word(format!("--right-shift-mark {bits}")),
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("CONNMARK");
        let (verb, first, second, masks) = match &self.operation {
            Operation::Set(change) => {
                change.list(line);
                return self.shift.list(line);
            }
            Operation::Save(masks) => {
                ("save", "nfmask", "ctmask", (masks.packet, masks.connection))
            }
            Operation::Restore(masks) => (
                "restore",
                "ctmask",
                "nfmask",
                (masks.connection, masks.packet),
            ),
        };
        line.word(verb);
        match masks {
            (u32::MAX, u32::MAX) => {}
            (one, other) if one == other => line.word(format_args!("mask {one:#x}")),
            (one, other) => line.word(format_args!("{first} {one:#x} {second} ~{other:#x}")),
        }
        self.shift.list(line);
    }
}

fn given<T>(
    arguments: &Arguments<'_>,
    option: &'static Opt<T>,
) -> Result<Option<Spanned<T>>, Diagnostic> {
    Ok(arguments.get(option)?.map(|given| given.value))
}

/// The tool keeps one mask for a change and for a copy, so that a mask behind the change replaces the
/// change's own, and one before it is lost (libxt_CONNMARK, `connmark_tg_parse_v2`).
fn masked(change: Spanned<MarkChange>, mask: Option<Spanned<u32>>) -> MarkChange {
    let is_behind = |span: Span| span.start > change.span.start;
    match mask.filter(|mask| is_behind(mask.span)) {
        Some(mask) => MarkChange {
            mask: mask.value,
            ..change.value
        },
        None => change.value,
    }
}

/// Of two shifts the tool takes the last.
fn shift(arguments: &Arguments<'_>) -> Result<Shift, Diagnostic> {
    let left = given(arguments, &LEFT)?;
    let right = given(arguments, &RIGHT)?;
    Ok(match (left, right) {
        (Some(left), Some(right)) if left.span.start > right.span.start => Shift::Left(left.value),
        (_, Some(Spanned { value: 0, .. })) | (None, None) => Shift::Left(0),
        (_, Some(right)) => Shift::Right(right.value),
        (Some(left), None) => Shift::Left(left.value),
    })
}

fn mask(value: &Value<'_>) -> Result<u32, Problem> {
    number_of(value.word(0))
}

/// The tool takes 32, too, and the kernel does not.
fn bits(value: &Value<'_>) -> Result<u8, Problem> {
    ranged(value.word(0), 0..=31)
}
