//! One line of commands: `-A CHAIN` with its rule, read as getopt_long and `do_parse` of iptables
//! 1.8.9 (xshared.c) read it. Options stand in any order; an extension's options are known from its
//! `-m` or `-j` on; an option that nobody knows loads the match of the `-p` protocol.

mod base;
mod draft;
mod finish;
mod options;
mod scan;
mod shell;

use draft::Draft;
use options::Base;

use crate::databases::Names;
use crate::diagnostic::{Diagnostic, code};
use crate::extension::OptionSpec;
use crate::matches::Match;
use crate::ruleset::{BaseMatch, Counters, Family, Negatable, NfHook, Rule, TableKind, Verdict};
use crate::span::{Span, Spanned};
use crate::targets::Target;
use crate::words::Word;

/// What a line asks for.
pub(crate) enum Command {
    /// `-A CHAIN`
    Append(Word),
    /// `-I CHAIN [NUMBER]`, the number from 0.
    Insert(Word, usize),
    /// `-R CHAIN NUMBER`, the number from 0.
    Replace(Word, usize),
    /// `-D CHAIN NUMBER`, the number from 0.
    DeleteAt(Word, usize),
    /// `-D CHAIN` with the rule.
    Delete(Word),
    /// `-F [CHAIN]`
    Flush(Option<Word>),
    /// `-Z [CHAIN]`
    Zero(Option<Word>),
    /// `-N CHAIN`
    NewChain(Word),
    /// `-X [CHAIN]`
    DeleteChain(Option<Word>),
    /// `-E OLD NEW`
    Rename(Word, Word),
    /// `-P CHAIN POLICY`
    Policy(Word, Word),
    /// `-Z CHAIN NUMBER`, the number from 0.
    ZeroAt(Word, usize),
    /// `-C CHAIN` with the rule.
    Check(Word),
    /// `-L [CHAIN [NUMBER]]`
    List(Listed),
    /// `-S [CHAIN [NUMBER]]`
    ListRules(Listed),
    /// `-V` or `-h`: nothing else counts.
    About(About),
}

impl Command {
    /// Its short option.
    pub fn letter(&self) -> char {
        match self {
            Command::Append(_) => 'A',
            Command::Insert(..) => 'I',
            Command::Replace(..) => 'R',
            Command::DeleteAt(..) | Command::Delete(_) => 'D',
            Command::Flush(_) => 'F',
            Command::Zero(_) | Command::ZeroAt(..) => 'Z',
            Command::NewChain(_) => 'N',
            Command::DeleteChain(_) => 'X',
            Command::Rename(..) => 'E',
            Command::Policy(..) => 'P',
            Command::Check(_) => 'C',
            Command::List(_) => 'L',
            Command::ListRules(_) => 'S',
            Command::About(About::Version) => 'V',
            Command::About(About::Help) => 'h',
        }
    }

    /// The chain that it is about, unless it is about all.
    pub fn chain(&self) -> Option<&Word> {
        match self {
            Command::Append(chain)
            | Command::Insert(chain, _)
            | Command::Replace(chain, _)
            | Command::DeleteAt(chain, _)
            | Command::Delete(chain)
            | Command::ZeroAt(chain, _)
            | Command::NewChain(chain)
            | Command::Rename(chain, _)
            | Command::Policy(chain, _)
            | Command::Check(chain) => Some(chain),
            Command::Flush(chain) | Command::Zero(chain) | Command::DeleteChain(chain) => {
                chain.as_ref()
            }
            Command::List(listed) | Command::ListRules(listed) => listed.chain.as_ref(),
            Command::About(_) => None,
        }
    }
}

/// What `-L` and `-S` show.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed {
    /// Only this chain.
    pub chain: Option<Word>,
    /// Only this rule of it, from 0.
    pub rule: Option<usize>,
    /// What `-Z` beside it sets to zero.
    pub zero: Option<Zeroed>,
}

/// What `-Z` beside `-L` or `-S` sets to zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zeroed {
    /// The chain that is shown, or all.
    Chains,
    /// The rule that is shown.
    Rule,
}

/// Who gives the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// A line of a save file.
    File,
    /// A command line.
    Shell,
}

/// The options of a command line that are not about a rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    /// `-t`
    pub table: Option<Word>,
    /// How many `-v` there are.
    pub verbose: u8,
    /// `-n`
    pub numeric: bool,
    /// `-x`
    pub exact: bool,
    /// `--line-numbers`
    pub line_numbers: bool,
    /// `-c`
    pub counters: Option<Counters>,
    /// `-w`: seconds to wait for the lock, or as long as it takes.
    pub wait: Option<Option<u32>>,
    /// `-W`, which iptables has given up.
    pub wait_interval: bool,
}

/// What iptables tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// `-V`
    Version,
    /// `-h`
    Help,
}

/// A line that was understood.
pub(crate) struct Line {
    pub command: Command,
    pub call: Call,
    /// More than one when `-s` or `-d` lists several addresses. Empty for commands without a rule.
    pub rules: Vec<Rule>,
}

/// What a chain name means where it is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChainKind {
    Builtin(NfHook),
    User,
    Missing,
}

/// What a line needs to know of the table it stands in.
pub(crate) struct Place<'a> {
    pub family: Family,
    pub table: TableKind,
    /// The names that stand for numbers.
    pub names: &'a Names,
    pub speaker: Speaker,
    /// The kind of a chain as far as the text has declared it.
    pub chain: &'a dyn Fn(&str) -> ChainKind,
    /// The chains to suggest for a misspelt name.
    pub chain_names: &'a dyn Fn() -> Vec<String>,
}

/// Reads the words of a line. `None` means a line for the other family (`-4`, `-6`). Diagnostics
/// are appended; after an error the line yields nothing.
pub(crate) fn read(
    words: &[Word],
    line: Span,
    counters: Counters,
    place: &Place<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Line> {
    let mut scan = Scan::new(words, line, counters, place);
    match scan.run() {
        Ok(Applies::Yes) => scan.finish(diagnostics),
        Ok(Applies::No) => None,
        Err(diagnostic) => {
            diagnostics.push(diagnostic);
            None
        }
    }
}

/// The table that the words of a command line name, whatever else is wrong with them.
pub(crate) fn table_of(words: &[Word], line: Span, place: &Place<'_>) -> Option<Word> {
    let mut scan = Scan::new(words, line, Counters::default(), place);
    // What is wrong is told by who reads the line with its table.
    let _ = scan.run();
    scan.call.table
}

type Result<T> = std::result::Result<T, Diagnostic>;

/// Whether a line is for this family.
enum Applies {
    Yes,
    No,
}

/// `-j` or `-g`.
enum Jump {
    Verdict(Verdict),
    Chain(Spanned<String>),
    Goto(Spanned<String>),
    Extension(Draft<Target>),
}

/// Which extension an option belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Target,
    Match(usize),
}

/// What a long option means.
#[derive(Clone, Copy)]
enum Meaning {
    Base(Base),
    Extension(Owner, &'static OptionSpec),
}

impl Meaning {
    fn is_same(&self, other: &Meaning) -> bool {
        match (self, other) {
            (Meaning::Base(a), Meaning::Base(b)) => a == b,
            (Meaning::Extension(a, x), Meaning::Extension(b, y)) => a == b && x.names == y.names,
            _ => false,
        }
    }
}

/// The state of reading one line.
struct Scan<'a> {
    words: &'a [Word],
    next: usize,
    line: Span,
    place: &'a Place<'a>,
    negation: Option<Span>,
    command: Option<Command>,
    call: Call,
    counters: Counters,
    sources: Option<Negatable<Word>>,
    destinations: Option<Negatable<Word>>,
    base: BaseMatch,
    matches: Vec<Draft<Match>>,
    jump: Option<Jump>,
    /// Whether an option has loaded the match of the protocol.
    protocol_used: bool,
}

impl<'a> Scan<'a> {
    fn new(words: &'a [Word], line: Span, counters: Counters, place: &'a Place<'a>) -> Self {
        Self {
            words,
            next: 0,
            line,
            place,
            negation: None,
            command: None,
            call: Call::default(),
            counters,
            sources: None,
            destinations: None,
            base: BaseMatch::default(),
            matches: Vec::new(),
            jump: None,
            protocol_used: false,
        }
    }
}

fn repeated(option: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        code::REPEATED_OPTION,
        span,
        format!("{option} may stand once in a rule"),
    )
    .with_help("write a second rule")
}
