//! `-j SET`: entries of ipsets are made from the packet, or a mark from an entry; the packet goes on
//! (libxt_SET, xt_set.c).

use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::matches::set::{Lookup, lookup};
use crate::print::Line;
use crate::ruleset::{NfHook, TableKind};
use crate::value::ranged;

/// The `SET` target: one, two or all three of its operations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Set {
    /// `--add-set`
    pub add: Option<Add>,
    /// `--del-set`
    pub delete: Option<Lookup>,
    /// `--map-set`
    pub map: Option<Map>,
}

/// A new entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Add {
    /// Where it goes.
    #[serde(flatten)]
    pub entry: Lookup,
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
    pub entry: Lookup,
    /// `--map-mark`: the packet's mark.
    pub mark: bool,
    /// `--map-prio`: its priority.
    pub priority: bool,
    /// `--map-queue`: its hardware queue.
    pub queue: bool,
}

// The tool takes a `!` before these and does not look at it.
static ADD: Opt<Lookup> = Opt::new(&["add-set"], entry).with_arity(2).invertible();
static DELETE: Opt<Lookup> = Opt::new(&["del-set"], entry).with_arity(2).invertible();
static MAP: Opt<Lookup> = Opt::new(&["map-set"], entry).with_arity(2).invertible();
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
            line.word("--add-set");
            add.entry.print(line);
            if add.exist {
                line.word("--exist");
            }
            if let Some(timeout) = add.timeout {
                line.word(format!("--timeout {timeout}"));
            }
        }
        if let Some(entry) = &self.delete {
            line.word("--del-set");
            entry.print(line);
        }
        if let Some(map) = &self.map {
            line.word("--map-set");
            map.entry.print(line);
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

    fn list(&self, line: &mut Listing<'_>) {
        line.undashed(|line| self.print(line));
    }
}

fn entry_of(
    arguments: &mut Arguments<'_>,
    option: &'static Opt<Lookup>,
) -> Result<Option<Lookup>, Diagnostic> {
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

fn entry(value: &Value<'_>) -> Result<Lookup, Problem> {
    lookup(value.word(0), value.word(1))
}
