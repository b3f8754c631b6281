//! `-j SET`: entries of ipsets are made from the packet, or a mark from an entry; the packet goes on
//! (libxt_SET, xt_set.c).

use bstr::{BStr, BString, ByteSlice};
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::print::Line;
use crate::ruleset::{NfHook, TableKind};
use crate::value::ranged;

/// The `SET` target: one, two or all three of its operations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Set {
    /// `--add-set`
    pub add: Option<Add>,
    /// `--del-set`
    pub delete: Option<SetEntry>,
    /// `--map-set`
    pub map: Option<Map>,
}

/// A new entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Add {
    /// Where it goes.
    #[serde(flatten)]
    pub entry: SetEntry,
    /// `--exist`: an entry that is there already gets the new timeout.
    pub exist: bool,
    /// `--timeout`, seconds, 0 for ever; that of the set if none.
    pub timeout: Option<u32>,
}

/// Fields of the packet that are taken from an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Map {
    /// Where the entry is.
    #[serde(flatten)]
    pub entry: SetEntry,
    /// `--map-mark`: the packet's mark.
    pub mark: bool,
    /// `--map-prio`: its priority.
    pub priority: bool,
    /// `--map-queue`: its hardware queue.
    pub queue: bool,
}

/// A set and what of a packet makes an entry of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetEntry {
    /// The set's name, at most 31 bytes. It must exist when the rule is loaded.
    pub set: BString,
    /// For each dimension of the set, up to six, the side of the packet that it is taken from.
    pub sides: Vec<Side>,
}

/// A side of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// `src`
    Source,
    /// `dst`
    Destination,
}

/// `IPSET_MAXNAMELEN` less the NUL.
const NAME_LIMIT: usize = 31;
/// `IPSET_DIM_MAX`
const DIMENSIONS: usize = 6;

// The tool takes a `!` before these and does not look at it.
static ADD: Opt<SetEntry> = Opt::new(&["add-set"], entry).with_arity(2).invertible();
static DELETE: Opt<SetEntry> = Opt::new(&["del-set"], entry).with_arity(2).invertible();
static MAP: Opt<SetEntry> = Opt::new(&["map-set"], entry).with_arity(2).invertible();
static EXIST: Opt<()> = switch(&["exist"]);
static TIMEOUT: Opt<u32> = Opt::new(&["timeout"], |value| ranged(value.word(0), 0..=0xffff_fffe));
static MAP_MARK: Opt<()> = switch(&["map-mark"]);
static MAP_PRIORITY: Opt<()> = switch(&["map-prio"]);
static MAP_QUEUE: Opt<()> = switch(&["map-queue"]);

impl Extension for Set {
    const NAME: &'static str = "SET";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &ADD.spec,
        &DELETE.spec,
        &EXIST.spec,
        &TIMEOUT.spec,
        &MAP.spec,
        &MAP_MARK.spec,
        &MAP_PRIORITY.spec,
        &MAP_QUEUE.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let add = entry_of(arguments, &ADD)?;
        let delete = entry_of(arguments, &DELETE)?;
        let map = entry_of(arguments, &MAP)?;
        if add.is_none() && delete.is_none() && map.is_none() {
            return Err(arguments
                .error(code::MISSING_OPTION, "SET is not told what to do")
                .with_help("add --add-set, --del-set or --map-set"));
        }
        let exist = arguments.has(&EXIST);
        let timeout = arguments.get(&TIMEOUT)?.map(|given| given.value.value);
        if add.is_none() && (exist || timeout.is_some()) {
            return Err(arguments.error(
                code::MISSING_OPTION,
                "--exist and --timeout are only for --add-set",
            ));
        }
        let mark = arguments.has(&MAP_MARK);
        let priority = arguments.has(&MAP_PRIORITY);
        let queue = arguments.has(&MAP_QUEUE);
        let maps = mark || priority || queue;
        if maps != map.is_some() {
            return Err(arguments.error(
                code::MISSING_OPTION,
                "--map-set goes with --map-mark, --map-prio or --map-queue",
            ));
        }
        if maps && arguments.rule.table != TableKind::Mangle {
            return Err(arguments
                .error(code::MISPLACED, "--map-set stands only in the mangle table")
                .with_help("move the rule to the mangle table"));
        }
        Ok(Self {
            add: add.map(|entry| Add {
                entry,
                exist,
                timeout,
            }),
            delete,
            map: map.map(|entry| Map {
                entry,
                mark,
                priority,
                queue,
            }),
        })
    }

    fn hooks(&self) -> &'static [NfHook] {
        match &self.map {
            Some(map) if map.priority || map.queue => {
                &[NfHook::Forward, NfHook::Output, NfHook::Postrouting]
            }
            _ => &NfHook::ALL,
        }
    }

    fn print(&self, line: &mut Line) {
        if let Some(add) = &self.add {
            add.entry.print(line, "--add-set");
            if add.exist {
                line.word("--exist");
            }
            if let Some(timeout) = add.timeout {
                line.word(format!("--timeout {timeout}"));
            }
        }
        if let Some(entry) = &self.delete {
            entry.print(line, "--del-set");
        }
        if let Some(map) = &self.map {
            map.entry.print(line, "--map-set");
            for (is_set, option) in [
                (map.mark, "--map-mark"),
                (map.priority, "--map-prio"),
                (map.queue, "--map-queue"),
            ] {
                if is_set {
                    line.word(option);
                }
            }
        }
    }
}

impl SetEntry {
    fn print(&self, line: &mut Line, option: &str) {
        let sides: Vec<&str> = self
            .sides
            .iter()
            .map(|side| match side {
                Side::Source => "src",
                Side::Destination => "dst",
            })
            .collect();
        line.word(option);
        line.bytes(&self.set);
        line.word(sides.join(","));
    }
}

fn entry_of(
    arguments: &mut Arguments<'_>,
    option: &'static Opt<SetEntry>,
) -> Result<Option<SetEntry>, Diagnostic> {
    let Some(given) = arguments.get(option)? else {
        return Ok(None);
    };
    if given.negated {
        let message = format!("the ! before --{} has no effect", option.spec.name());
        arguments.warn(Diagnostic::warning(
            code::NO_EFFECT,
            given.value.span,
            message,
        ));
    }
    Ok(Some(given.value.value))
}

/// A name and sides between commas; of a side only the first three bytes are looked at.
fn entry(value: &Value<'_>) -> Result<SetEntry, Problem> {
    let (set, list) = (value.word(0), value.word(1));
    if set.len() > NAME_LIMIT {
        return Err(
            Problem::new(format!("the name of the set is {} bytes long", set.len()))
                .with_help(format!("an ipset's name has at most {NAME_LIMIT} bytes")),
        );
    }
    let sides = list.split_str(",").map(|side| {
        if side.starts_with(b"src") {
            Ok(Side::Source)
        } else if side.starts_with(b"dst") {
            Ok(Side::Destination)
        } else {
            Err(
                Problem::new(format!("{:?} is neither src nor dst", BStr::new(side)))
                    .with_help("write a list such as src,dst behind the name"),
            )
        }
    });
    let sides = sides.collect::<Result<Vec<Side>, Problem>>()?;
    if sides.len() > DIMENSIONS {
        return Err(Problem::new(format!(
            "a set has at most {DIMENSIONS} dimensions"
        )));
    }
    Ok(SetEntry {
        set: set.into(),
        sides,
    })
}
