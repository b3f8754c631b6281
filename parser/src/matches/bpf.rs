//! `-m bpf`: a program decides (libxt_bpf, xt_bpf.c).

use bstr::{BStr, BString, ByteSlice};
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem};
use crate::listing::Listing;
use crate::print::Line;

/// The `bpf` match: true if the program gives anything but zero. The packet starts at its IP header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bpf {
    /// `--bytecode`: a program of classic BPF that the kernel takes, of 1 to 64 instructions.
    Classic(Vec<Instruction>),
    /// `--object-pinned`: a program that is loaded already, by its path in a BPF file system. Nobody
    /// has looked whether it is there.
    Pinned(BString),
}

/// An instruction of classic BPF (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many instructions to skip if a test is true.
    pub jump_true: u8,
    /// How many instructions to skip if it is false.
    pub jump_false: u8,
    /// The operand.
    pub k: u32,
}

/// `XT_BPF_MAX_NUM_INSTR`
const LENGTH_LIMIT: usize = 64;
/// `XT_BPF_PATH_MAX` less the NUL.
const PATH_LIMIT: usize = 511;

static BYTECODE: Opt<Vec<Instruction>> = Opt::new(&["bytecode"], |value| program(value.word(0)));
static PINNED: Opt<BString> = Opt::new(&["object-pinned"], |value| match value.word(0) {
    path if path.len() > PATH_LIMIT => Err(Problem::new(format!(
        "the path is longer than {PATH_LIMIT} bytes"
    ))),
    path => Ok(path.into()),
});

impl Extension for Bpf {
    const NAME: &'static str = "bpf";
    const OPTIONS: &'static [&'static OptionSpec] = &[&BYTECODE.spec, &PINNED.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(Self::OPTIONS)?;
        let bytecode = arguments.get(&BYTECODE)?;
        let pinned = arguments.get(&PINNED)?;
        let bytecode = bytecode.map(|given| Self::Classic(given.value.value));
        let pinned = pinned.map(|given| Self::Pinned(given.value.value));
        bytecode.or(pinned).ok_or_else(|| {
            let message = "no program is given";
            Diagnostic::error(code::MISSING_OPTION, arguments.span, message)
                .with_help("add --bytecode or --object-pinned")
        })
    }

    fn print(&self, line: &mut Line) {
        match self {
            Self::Classic(program) => {
                let instructions: Vec<String> = program.iter().map(Instruction::save).collect();
                line.word("--bytecode");
                line.word(format!("\"{},{}\"", program.len(), instructions.join(",")));
            }
            Self::Pinned(path) => {
                line.word("--object-pinned");
                line.raw(path);
            }
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        match self {
            Self::Classic(program) => {
                let instructions: Vec<String> = program.iter().map(Instruction::save).collect();
                // The tool ends the program with a NUL.
                line.put(format_args!("match bpf {}\0", instructions.join(",")));
            }
            Self::Pinned(path) => line.put(format_args!("match bpf pinned {path}")),
        }
    }
}

impl Instruction {
    fn save(&self) -> String {
        let Self {
            code,
            jump_true,
            jump_false,
            k,
        } = self;
        format!("{code} {jump_true} {jump_false} {k}")
    }
}

/// `COUNT,INSTRUCTION,...` as nfbpf_compile writes it; a comma may stand at the end.
fn program(word: &[u8]) -> Result<Vec<Instruction>, Problem> {
    let bad_count = || {
        Problem::new("the program does not start with the number of its instructions")
            .with_help("use the output of nfbpf_compile RAW")
    };
    let (count, rest) = word.split_once_str(",").ok_or_else(bad_count)?;
    let count: usize = decimal(count.trim_start()).ok_or_else(bad_count)?;
    let rest = rest.strip_suffix(b",").unwrap_or(rest);
    let program: Vec<Instruction> = rest
        .split_str(",")
        .filter(|_| !rest.is_empty())
        .map(instruction)
        .collect::<Result<_, _>>()?;
    if program.len() != count {
        let message = format!(
            "the program has {} instructions, not {count}",
            program.len()
        );
        return Err(Problem::new(message));
    }
    if !(1..=LENGTH_LIMIT).contains(&count) {
        let message = format!("a program has 1 to {LENGTH_LIMIT} instructions");
        return Err(Problem::new(message));
    }
    check(&program)?;
    Ok(program)
}

/// Four decimal numbers between blanks.
fn instruction(item: &[u8]) -> Result<Instruction, Problem> {
    let fields: Vec<&[u8]> = item.fields().collect();
    let read = || match fields.as_slice() {
        [code, jump_true, jump_false, k] => Some(Instruction {
            code: decimal(code)?,
            jump_true: decimal(jump_true)?,
            jump_false: decimal(jump_false)?,
            k: decimal(k)?,
        }),
        _ => None,
    };
    read().ok_or_else(|| {
        Problem::new(format!("{:?} is no instruction", BStr::new(item)))
            .with_help("an instruction is four decimal numbers: CODE JT JF K")
    })
}

fn decimal<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    word.to_str().ok()?.parse().ok()
}

/// What an instruction does, as far as the checks care (linux/filter.h).
#[derive(Clone, Copy)]
enum Kind {
    Plain,
    /// Division or modulo by a constant.
    Divide,
    /// A shift by a constant.
    Shift,
    /// A load from the packet at a constant offset, or of what is known about it.
    Packet,
    /// A load from a memory cell.
    Load,
    /// A store into a memory cell.
    Store,
    Jump,
    Branch,
}

/// `BPF_RET | BPF_K`
const RETURN_K: u16 = 0x06;
/// `BPF_RET | BPF_A`
const RETURN_A: u16 = 0x16;
/// The instructions that the kernel takes (filter.c, `chk_code_allowed`).
const CODES: [(u16, Kind); 49] = [
    (0x00, Kind::Plain),
    (0x01, Kind::Plain),
    (0x02, Kind::Store),
    (0x03, Kind::Store),
    (0x04, Kind::Plain),
    (0x05, Kind::Jump),
    (RETURN_K, Kind::Plain),
    (0x07, Kind::Plain),
    (0x0c, Kind::Plain),
    (0x14, Kind::Plain),
    (0x15, Kind::Branch),
    (RETURN_A, Kind::Plain),
    (0x1c, Kind::Plain),
    (0x1d, Kind::Branch),
    (0x20, Kind::Packet),
    (0x24, Kind::Plain),
    (0x25, Kind::Branch),
    (0x28, Kind::Packet),
    (0x2c, Kind::Plain),
    (0x2d, Kind::Branch),
    (0x30, Kind::Packet),
    (0x34, Kind::Divide),
    (0x35, Kind::Branch),
    (0x3c, Kind::Plain),
    (0x3d, Kind::Branch),
    (0x40, Kind::Plain),
    (0x44, Kind::Plain),
    (0x45, Kind::Branch),
    (0x48, Kind::Plain),
    (0x4c, Kind::Plain),
    (0x4d, Kind::Branch),
    (0x50, Kind::Plain),
    (0x54, Kind::Plain),
    (0x5c, Kind::Plain),
    (0x60, Kind::Load),
    (0x61, Kind::Load),
    (0x64, Kind::Shift),
    (0x6c, Kind::Plain),
    (0x74, Kind::Shift),
    (0x7c, Kind::Plain),
    (0x80, Kind::Plain),
    (0x81, Kind::Plain),
    (0x84, Kind::Plain),
    (0x87, Kind::Plain),
    (0x94, Kind::Divide),
    (0x9c, Kind::Plain),
    (0xa4, Kind::Plain),
    (0xac, Kind::Plain),
    (0xb1, Kind::Plain),
];
/// `SKF_AD_OFF`: from here on an offset names something known about the packet.
const ANCILLARY: u32 = 0xffff_f000;
/// `SKF_AD_VLAN_TPID`, the last of those names; they are four apart.
const LAST_ANCILLARY: u32 = 60;

/// The checks of the kernel, which then runs the program without any (filter.c,
/// `bpf_check_classic`, `check_load_and_stores`).
pub(crate) fn check(program: &[Instruction]) -> Result<(), Problem> {
    if !matches!(
        program.last().map(|last| last.code),
        Some(RETURN_K | RETURN_A)
    ) {
        let message = "the kernel refuses a program that does not end with a return";
        return Err(Problem::new(message));
    }
    // For each instruction the memory cells that every way to it has filled.
    let mut filled = vec![u16::MAX; program.len()];
    // Those that the instruction before has left; none at the start.
    let mut before = 0;
    for (at, instruction) in program.iter().enumerate() {
        let refuse = |reason: &str| {
            let message = format!("the kernel refuses instruction {at}: {reason}");
            Err(Problem::new(message))
        };
        let Some(&(_, kind)) = CODES.iter().find(|row| row.0 == instruction.code) else {
            return refuse("there is no such code");
        };
        let k = instruction.k;
        let cell = 1_u16.checked_shl(k).unwrap_or(0);
        let cells = filled[at] & before;
        before = cells;
        let jumps = match kind {
            Kind::Plain => [None, None],
            Kind::Divide if k == 0 => return refuse("it divides by zero"),
            Kind::Shift if k >= 32 => return refuse("it shifts by more than 31 bits"),
            Kind::Packet if k >= ANCILLARY && !is_ancillary(k) => {
                return refuse("there is nothing at this offset");
            }
            Kind::Load | Kind::Store if cell == 0 => return refuse("there are only 16 cells"),
            Kind::Load if cells & cell == 0 => {
                return refuse("it loads a cell that nothing has filled");
            }
            Kind::Store => {
                before |= cell;
                [None, None]
            }
            Kind::Divide | Kind::Shift | Kind::Packet | Kind::Load => [None, None],
            Kind::Jump => [Some(k), None],
            Kind::Branch => [
                Some(u32::from(instruction.jump_true)),
                Some(u32::from(instruction.jump_false)),
            ],
        };
        for skipped in jumps.into_iter().flatten() {
            let target = usize::try_from(skipped)
                .ok()
                .map(|by| by.saturating_add(at + 1));
            match target.and_then(|to| filled.get_mut(to)) {
                Some(next) => *next &= cells,
                None => return refuse("it leads behind the end"),
            }
            before = u16::MAX;
        }
    }
    Ok(())
}

fn is_ancillary(offset: u32) -> bool {
    offset.is_multiple_of(4) && offset - ANCILLARY <= LAST_ANCILLARY
}
