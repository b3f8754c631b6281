//! One line of commands: `-A CHAIN` with its rule, read as getopt_long and `do_parse` of iptables
//! 1.8.9 (xshared.c) read it. Options stand in any order; an extension's options are known from its
//! `-m` or `-j` on; an option that nobody knows loads the match of the `-p` protocol.

use bstr::ByteSlice;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Given, OptionSpec, Spec, Surroundings};
use crate::matches::{self, Match};
use crate::names;
use crate::ruleset::{
    Action, BaseMatch, Counters, Family, InterfacePattern, Negatable, Network, NfHook, Rule,
    RuleSpan, TableKind, Verdict,
};
use crate::span::{Span, Spanned};
use crate::targets::{self, Target};
use crate::unknown::Unknown;
use crate::value;
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
}

/// A line that was understood.
pub(crate) struct Line {
    pub command: Command,
    /// More than one when `-s` or `-d` lists several addresses. Empty without `-A` or `-I`.
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
    /// The kind of a chain as far as the text has declared it.
    pub chain: &'a dyn Fn(&str) -> ChainKind,
    /// The chains to suggest for a misspelt name.
    pub chain_names: &'a dyn Fn() -> Vec<String>,
}

/// The most rules that one line may stand for: `-s` and `-d` lists multiply.
const EXPANSION_LIMIT: usize = 65_536;

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

type Result<T> = std::result::Result<T, Diagnostic>;

/// Whether a line is for this family.
enum Applies {
    Yes,
    No,
}

/// The options of iptables itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Append,
    Insert,
    Replace,
    Delete,
    Flush,
    Zero,
    NewChain,
    DeleteChain,
    Rename,
    Policy,
    Source,
    Destination,
    InInterface,
    OutInterface,
    Protocol,
    Fragment,
    Jump,
    Goto,
    Match,
    Counters,
    Ipv4,
    Ipv6,
    Verbose,
    Table,
    /// A command or option that a save file has no use for.
    Other,
}

/// Letter, long names, meaning. The letter of a long-only option is none.
const BASE: &[(Option<u8>, &[&str], Base)] = &[
    (Some(b'A'), &["append"], Base::Append),
    (Some(b'I'), &["insert"], Base::Insert),
    (Some(b'N'), &["new-chain"], Base::NewChain),
    (Some(b'P'), &["policy"], Base::Policy),
    (Some(b's'), &["source", "src"], Base::Source),
    (Some(b'd'), &["destination", "dst"], Base::Destination),
    (Some(b'i'), &["in-interface"], Base::InInterface),
    (Some(b'o'), &["out-interface"], Base::OutInterface),
    (Some(b'p'), &["protocol"], Base::Protocol),
    (Some(b'f'), &["fragments"], Base::Fragment),
    (Some(b'j'), &["jump"], Base::Jump),
    (Some(b'g'), &["goto"], Base::Goto),
    (Some(b'm'), &["match"], Base::Match),
    (Some(b'c'), &["set-counters"], Base::Counters),
    (Some(b'4'), &["ipv4"], Base::Ipv4),
    (Some(b'6'), &["ipv6"], Base::Ipv6),
    (Some(b'v'), &["verbose"], Base::Verbose),
    (Some(b't'), &["table"], Base::Table),
    (Some(b'D'), &["delete"], Base::Delete),
    (Some(b'C'), &["check"], Base::Other),
    (Some(b'R'), &["replace"], Base::Replace),
    (Some(b'L'), &["list"], Base::Other),
    (Some(b'S'), &["list-rules"], Base::Other),
    (Some(b'F'), &["flush"], Base::Flush),
    (Some(b'Z'), &["zero"], Base::Zero),
    (Some(b'X'), &["delete-chain"], Base::DeleteChain),
    (Some(b'E'), &["rename-chain"], Base::Rename),
    (Some(b'n'), &["numeric"], Base::Other),
    (Some(b'w'), &["wait"], Base::Other),
    (Some(b'W'), &["wait-interval"], Base::Other),
    (Some(b'x'), &["exact"], Base::Other),
    (Some(b'V'), &["version"], Base::Other),
    (Some(b'h'), &["help"], Base::Other),
    (None, &["line-numbers"], Base::Other),
    (Some(b'M'), &["modprobe"], Base::Other),
];

impl Base {
    fn by_letter(letter: u8) -> Option<Base> {
        BASE.iter()
            .find(|row| row.0 == Some(letter))
            .map(|row| row.2)
    }

    /// Whether `!` may stand before it.
    fn is_invertible(self) -> bool {
        use Base::{Destination, Fragment, InInterface, OutInterface, Protocol, Source};
        matches!(
            self,
            Source | Destination | InInterface | OutInterface | Protocol | Fragment
        )
    }

    /// Whether a value must stand behind it.
    fn has_value(self) -> bool {
        use Base::{DeleteChain, Flush, Fragment, Ipv4, Ipv6, Other, Verbose, Zero};
        !matches!(
            self,
            Fragment | Ipv4 | Ipv6 | Verbose | Flush | Zero | DeleteChain | Other
        )
    }

    /// Whether it says what to do with the line.
    fn is_command(self) -> bool {
        use Base::{
            Append, Delete, DeleteChain, Flush, Insert, NewChain, Policy, Rename, Replace, Zero,
        };
        matches!(
            self,
            Append
                | Insert
                | Replace
                | Delete
                | Flush
                | Zero
                | NewChain
                | DeleteChain
                | Rename
                | Policy
        )
    }

    /// Whether it may be part of a rule.
    fn is_of_rules(self) -> bool {
        !self.is_command() && !matches!(self, Base::Table | Base::Other)
    }
}

/// An extension whose options are still coming.
struct Draft<E: 'static> {
    kind: Kind<E>,
    span: Span,
    given: Vec<Given>,
    /// Every word, for an extension that is kept as it is.
    raw: Vec<Word>,
}

enum Kind<E: 'static> {
    Typed(&'static Spec<E>),
    Untyped(&'static str),
}

impl<E> Draft<E> {
    fn new(kind: Kind<E>, span: Span) -> Self {
        Self {
            kind,
            span,
            given: Vec::new(),
            raw: Vec::new(),
        }
    }

    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Typed(spec) => spec.name,
            Kind::Untyped(name) => name,
        }
    }

    fn options(&self) -> &'static [&'static OptionSpec] {
        match self.kind {
            Kind::Typed(spec) => spec.options,
            Kind::Untyped(_) => &[],
        }
    }

    /// The extension's value, or `None` for one that is kept as it is.
    fn build(&self, rule: Surroundings<'_>, diagnostics: &mut Vec<Diagnostic>) -> Option<Built<E>> {
        let unknown = || {
            Built::Unknown(Unknown {
                name: self.name().to_owned(),
                words: self.raw.iter().map(|word| word.text.clone()).collect(),
            })
        };
        let spec = match self.kind {
            Kind::Untyped(_) => return Some(unknown()),
            Kind::Typed(_) if self.given.iter().any(|given| !given.spec.supported) => {
                return Some(unknown());
            }
            Kind::Typed(spec) => spec,
        };
        let mut arguments = Arguments {
            given: &self.given,
            rule,
            span: self.span,
            warnings: Vec::new(),
        };
        let built = (spec.build)(&mut arguments);
        diagnostics.append(&mut arguments.warnings);
        match built {
            Ok(extension) => Some(Built::Typed(extension)),
            Err(diagnostic) => {
                diagnostics.push(diagnostic);
                None
            }
        }
    }

    /// The name and all options.
    fn whole_span(&self) -> Span {
        self.raw
            .iter()
            .fold(self.span, |span, word| span.to(word.span))
    }
}

enum Built<E> {
    Typed(E),
    Unknown(Unknown),
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
            (Meaning::Base(a), Meaning::Base(b)) => a == b && *a != Base::Other,
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
    counters: Counters,
    sources: Option<Negatable<Word>>,
    destinations: Option<Negatable<Word>>,
    base: BaseMatch,
    matches: Vec<Draft<Match>>,
    jump: Option<Jump>,
    /// Whether an option has loaded the match of the protocol.
    protocol_used: bool,
    /// The last extension without known options.
    untyped: Option<Owner>,
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
            counters,
            sources: None,
            destinations: None,
            base: BaseMatch::default(),
            matches: Vec::new(),
            jump: None,
            protocol_used: false,
            untyped: None,
        }
    }

    /// Goes over all words.
    fn run(&mut self) -> Result<Applies> {
        while let Some(word) = self.take() {
            let applies = match word.as_bytes() {
                b"!" => self.negate(word)?,
                [b'-', b'-', name @ ..] if !name.is_empty() => {
                    let (name, attached) = match name.split_once_str("=") {
                        Some((name, value)) => (name, Some(value)),
                        None => (name, None),
                    };
                    self.long(word, name, attached)?
                }
                [b'-', letter, rest @ ..] if *letter != b'-' => self.short(word, *letter, rest)?,
                _ => {
                    let message = format!("{:?} is not an option", word.show());
                    return Err(Diagnostic::error(code::BAD_ARGUMENT, word.span, message)
                        .with_help(
                            "an option starts with -; a value with blanks needs double quotes",
                        ));
                }
            };
            if let Applies::No = applies {
                return Ok(Applies::No);
            }
        }
        if let Some(span) = self.negation {
            return Err(Diagnostic::error(
                code::BAD_NEGATION,
                span,
                "nothing follows this !",
            ));
        }
        Ok(Applies::Yes)
    }

    fn take(&mut self) -> Option<&'a Word> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(word)
    }

    fn negate(&mut self, word: &Word) -> Result<Applies> {
        if self.negation.replace(word.span).is_some() {
            return Err(Diagnostic::error(
                code::BAD_NEGATION,
                word.span,
                "! stands twice",
            ));
        }
        Ok(Applies::Yes)
    }

    fn short(&mut self, word: &'a Word, letter: u8, rest: &[u8]) -> Result<Applies> {
        let Some(base) = Base::by_letter(letter) else {
            let message = format!("-{} is no option of iptables", [letter].as_bstr());
            return Err(Diagnostic::error(code::UNKNOWN_OPTION, word.span, message));
        };
        if rest.is_empty() {
            return self.base_option(base, word, None);
        }
        if !base.has_value() {
            // Letters in one word, as in `-fj`.
            return match self.base_option(base, word, None)? {
                Applies::Yes => self.short(word, rest[0], &rest[1..]),
                Applies::No => Ok(Applies::No),
            };
        }
        // iptables takes the value of the other options from the word before the next, which is
        // this one: it would look for a protocol called `-ptcp`.
        if matches!(
            base,
            Base::Append | Base::Insert | Base::NewChain | Base::Policy | Base::Match
        ) {
            return self.base_option(base, word, Some(rest));
        }
        let message = format!("a blank is missing behind -{}", [letter].as_bstr());
        Err(
            Diagnostic::error(code::BAD_ARGUMENT, word.span, message).with_help(format!(
                "write -{} {}",
                [letter].as_bstr(),
                rest.as_bstr()
            )),
        )
    }

    fn long(&mut self, word: &'a Word, name: &[u8], attached: Option<&[u8]>) -> Result<Applies> {
        let meaning = match self.resolve(word, name) {
            Ok(meaning) => meaning,
            Err(diagnostic) => {
                let is_loaded = (self.untyped.is_none() || self.is_of_protocol(name))
                    && self.load_protocol_match(word.span);
                match self.untyped {
                    Some(owner) if self.exact(name).is_none() => {
                        self.next -= 1;
                        let negation = self.negation.take();
                        self.take_untyped(owner, negation);
                        return Ok(Applies::Yes);
                    }
                    _ if is_loaded => self.resolve(word, name)?,
                    _ => return Err(diagnostic),
                }
            }
        };
        match meaning {
            // As with letters, iptables would take the whole word for the value.
            Meaning::Base(base)
                if attached.is_some()
                    && !matches!(base, Base::Append | Base::Insert | Base::Match) =>
            {
                let message = format!(
                    "a blank must stand between --{} and its value",
                    name.as_bstr()
                );
                Err(Diagnostic::error(code::BAD_ARGUMENT, word.span, message))
            }
            Meaning::Base(base) => self.base_option(base, word, attached),
            Meaning::Extension(owner, spec) => self.extension_option(owner, spec, word, attached),
        }
    }

    /// Finds what a long option means: its whole name first, then a leading part that fits no other.
    fn resolve(&self, word: &Word, name: &[u8]) -> Result<Meaning> {
        if let Some(meaning) = self.exact(name) {
            return Ok(meaning);
        }
        let mut found: Vec<(&str, Meaning)> = Vec::new();
        for (candidate, meaning) in self.known_options() {
            let is_new = !found.iter().any(|(_, other)| other.is_same(&meaning));
            if candidate.as_bytes().starts_with(name) && is_new {
                found.push((candidate, meaning));
            }
        }
        match found.as_slice() {
            [(_, meaning)] => Ok(*meaning),
            [] => Err(self.unknown_option(word, name)),
            [first, second, ..] => {
                let message = format!(
                    "--{} may mean --{} or --{}",
                    name.as_bstr(),
                    first.0,
                    second.0
                );
                Err(
                    Diagnostic::error(code::AMBIGUOUS_OPTION, word.span, message)
                        .with_help("write the whole name"),
                )
            }
        }
    }

    fn exact(&self, name: &[u8]) -> Option<Meaning> {
        let mut options = self.known_options();
        options
            .find(|(candidate, _)| candidate.as_bytes() == name)
            .map(|(_, meaning)| meaning)
    }

    /// The long options that are known at this point: those of iptables, then those of the extensions
    /// from the last to the first (libxtables, `xtables_merge_options`).
    fn known_options(&self) -> impl Iterator<Item = (&'static str, Meaning)> + '_ {
        let base = BASE
            .iter()
            .flat_map(|row| row.1.iter().map(|name| (*name, Meaning::Base(row.2))));
        let matches = self.matches.iter().enumerate().rev();
        let matches = matches.map(|(index, draft)| (Owner::Match(index), draft.options()));
        let target = match &self.jump {
            Some(Jump::Extension(draft)) => Some((Owner::Target, draft.options())),
            _ => None,
        };
        let extensions = matches.chain(target).flat_map(|(owner, options)| {
            options.iter().flat_map(move |spec| {
                spec.names
                    .iter()
                    .map(move |name| (*name, Meaning::Extension(owner, spec)))
            })
        });
        base.chain(extensions)
    }

    fn unknown_option(&self, word: &Word, name: &[u8]) -> Diagnostic {
        let message = format!("--{} is unknown here", name.as_bstr());
        let diagnostic = Diagnostic::error(code::UNKNOWN_OPTION, word.span, message);
        let owner = matches::REGISTRY
            .iter()
            .filter(|spec| spec.family.is_none_or(|family| family == self.place.family))
            .find(|spec| {
                spec.options
                    .iter()
                    .any(|option| option.names.iter().any(|it| it.as_bytes() == name))
            });
        if let Some(spec) = owner {
            return diagnostic.with_help(format!("add -m {} before it", spec.name));
        }
        match names::closest(name, self.known_options().map(|(name, _)| name)) {
            Some(close) => diagnostic.with_help(format!("did you mean --{close}?")),
            None => diagnostic
                .with_help("name the extension that it belongs to before it, with -m or -j"),
        }
    }

    /// Loads the match of `-p`, once a rule. Says whether there was one to load.
    fn load_protocol_match(&mut self, span: Span) -> bool {
        let Some(protocol) = self.base.protocol.as_ref().filter(|_| !self.protocol_used) else {
            return false;
        };
        let Some(name) = names::protocol_match(protocol.value.value, self.place.family) else {
            return false;
        };
        self.protocol_used = true;
        let kind = self.match_kind(name.as_bytes());
        let is_found = kind.is_some();
        if let Some(kind) = kind {
            self.push_match(kind, span);
        }
        is_found
    }

    fn push_match(&mut self, kind: Kind<Match>, span: Span) {
        if let Kind::Untyped(_) = kind {
            self.untyped = Some(Owner::Match(self.matches.len()));
        }
        self.matches.push(Draft::new(kind, span));
    }

    fn extension_option(
        &mut self,
        owner: Owner,
        spec: &'static OptionSpec,
        word: &'a Word,
        attached: Option<&[u8]>,
    ) -> Result<Applies> {
        let negation = self.negation.take();
        if let Some(span) = negation.filter(|_| !spec.invertible) {
            let message = format!("--{} cannot be inverted", spec.name());
            return Err(Diagnostic::error(
                code::BAD_NEGATION,
                span.to(word.span),
                message,
            ));
        }
        if attached.is_some() && spec.arity == 0 {
            let message = format!("--{} takes no value", spec.name());
            return Err(Diagnostic::error(code::BAD_ARGUMENT, word.span, message));
        }
        let first = self.next;
        let mut words: Vec<Word> = attached
            .map(|value| self.attached(word, value))
            .into_iter()
            .collect();
        while words.len() < spec.arity {
            let is_second = !words.is_empty();
            let value = self
                .take()
                .filter(|it| !is_second || !it.as_bytes().starts_with(b"-"));
            words.push(value.cloned().ok_or_else(|| {
                let count = if spec.arity == 1 {
                    "a value".to_owned()
                } else {
                    format!("{} values", spec.arity)
                };
                let message = format!("--{} needs {count}", spec.name());
                Diagnostic::error(code::MISSING_OPTION, word.span, message)
            })?);
        }
        let span = words
            .iter()
            .fold(negation.unwrap_or(word.span).to(word.span), |span, it| {
                span.to(it.span)
            });
        let given = Given {
            spec,
            negated: negation.is_some(),
            words,
            span,
        };
        let raw = negation
            .map(|span| Word {
                text: "!".into(),
                span,
                quoted: false,
            })
            .into_iter();
        let raw = raw
            .chain([word.clone()])
            .chain(self.words[first..self.next].iter().cloned());
        let (all_given, all_raw) = match (owner, &mut self.jump) {
            (Owner::Match(index), _) => match self.matches.get_mut(index) {
                Some(draft) => (&mut draft.given, &mut draft.raw),
                None => return Ok(Applies::Yes),
            },
            (Owner::Target, Some(Jump::Extension(draft))) => (&mut draft.given, &mut draft.raw),
            (Owner::Target, _) => return Ok(Applies::Yes),
        };
        if all_given.iter().any(|other| other.spec.names == spec.names) {
            return Err(repeated(&format!("--{}", spec.name()), given.span));
        }
        all_given.push(given);
        all_raw.extend(raw);
        Ok(Applies::Yes)
    }

    /// The value behind `=` as a word of its own.
    fn attached(&self, word: &Word, value: &[u8]) -> Word {
        Word {
            text: value.into(),
            ..word.clone()
        }
    }

    fn base_option(
        &mut self,
        base: Base,
        word: &'a Word,
        attached: Option<&[u8]>,
    ) -> Result<Applies> {
        let negation = self.negation.take();
        if let Some(span) = negation.filter(|_| !base.is_invertible()) {
            let message = format!("{} cannot be inverted", word.show());
            return Err(Diagnostic::error(
                code::BAD_NEGATION,
                span.to(word.span),
                message,
            ));
        }
        let negated = negation.is_some();
        let start = negation.unwrap_or(word.span);
        let value = match attached {
            Some(value) => Some(self.attached(word, value)),
            None if base.has_value() => Some(self.take().cloned().ok_or_else(|| {
                let message = format!("{} needs a value", word.show());
                Diagnostic::error(code::MISSING_OPTION, word.span, message)
            })?),
            None => None,
        };
        let value = value.unwrap_or_else(|| word.clone());
        let span = start.to(value.span);
        let once = |is_set: bool| {
            if is_set {
                Err(repeated(&word.show().to_string(), span))
            } else {
                Ok(())
            }
        };
        match base {
            Base::Append => self.set_command(Command::Append(value), span)?,
            Base::Insert => {
                let index = self.rule_number()?.unwrap_or(0);
                self.set_command(Command::Insert(value, index), span)?;
            }
            Base::Replace => {
                let Some(index) = self.rule_number()? else {
                    return Err(Diagnostic::error(
                        code::BAD_COMMAND,
                        span,
                        "-R needs a chain and a rule number",
                    ));
                };
                self.set_command(Command::Replace(value, index), span)?;
            }
            Base::Delete => {
                let command = match self.rule_number()? {
                    Some(index) => Command::DeleteAt(value, index),
                    None => Command::Delete(value),
                };
                self.set_command(command, span)?;
            }
            Base::Flush => {
                let chain = self.argument().cloned();
                self.set_command(Command::Flush(chain), span)?;
            }
            Base::Zero => {
                let chain = self.argument().cloned();
                self.set_command(Command::Zero(chain), span)?;
            }
            Base::NewChain => self.set_command(Command::NewChain(value), span)?,
            Base::DeleteChain => {
                let chain = self.argument().cloned();
                self.set_command(Command::DeleteChain(chain), span)?;
            }
            Base::Rename => {
                let Some(new) = self.take() else {
                    return Err(Diagnostic::error(
                        code::BAD_COMMAND,
                        span,
                        "-E needs the old and the new name",
                    ));
                };
                self.set_command(Command::Rename(value, new.clone()), span)?;
            }
            Base::Policy => {
                let Some(policy) = self.take() else {
                    return Err(Diagnostic::error(
                        code::BAD_COMMAND,
                        span,
                        "-P needs a chain and a policy",
                    ));
                };
                self.set_command(Command::Policy(value, policy.clone()), span)?;
            }
            Base::Source => {
                once(self.sources.is_some())?;
                self.sources = Some(Negatable {
                    negated,
                    value: Spanned { value, span },
                });
            }
            Base::Destination => {
                once(self.destinations.is_some())?;
                self.destinations = Some(Negatable {
                    negated,
                    value: Spanned { value, span },
                });
            }
            Base::InInterface => {
                once(self.base.in_interface.is_some())?;
                self.base.in_interface = Some(interface(&value, negated, span)?);
            }
            Base::OutInterface => {
                once(self.base.out_interface.is_some())?;
                self.base.out_interface = Some(interface(&value, negated, span)?);
            }
            Base::Protocol => {
                once(self.base.protocol.is_some())?;
                let number =
                    value::protocol(value.as_bytes()).map_err(|problem| problem.at(value.span))?;
                if number == 0 && negated {
                    return Err(Diagnostic::error(
                        code::BAD_VALUE,
                        span,
                        "a rule for no protocol never matches",
                    ));
                }
                self.base.protocol = Some(Negatable {
                    negated,
                    value: Spanned {
                        value: number,
                        span,
                    },
                });
            }
            Base::Fragment => {
                once(self.base.fragment.is_some())?;
                if self.place.family == Family::V6 {
                    return Err(
                        Diagnostic::error(code::MISPLACED, span, "-f is only for IPv4")
                            .with_help("use -m frag for IPv6"),
                    );
                }
                self.base.fragment = Some(Negatable {
                    negated,
                    value: Spanned { value: (), span },
                });
            }
            Base::Jump => {
                once(self.jump.is_some())?;
                self.jump(&value)?;
            }
            Base::Goto => {
                once(self.jump.is_some())?;
                let chain = self.user_chain(&value, "-g")?;
                self.jump = Some(Jump::Goto(chain));
            }
            Base::Match => self.load_match(&value)?,
            Base::Counters => {
                let bytes = self.take();
                let pair = bytes.and_then(|bytes| {
                    Some(Counters {
                        packets: value::counter(value.as_bytes())?,
                        bytes: value::counter(bytes.as_bytes())?,
                    })
                });
                self.counters = pair.ok_or_else(|| {
                    Diagnostic::error(
                        code::BAD_COUNTERS,
                        span,
                        format!("{} needs two numbers", word.show()),
                    )
                    .with_help("write the number of packets and the number of bytes")
                })?;
            }
            Base::Ipv4 if self.place.family == Family::V6 => return Ok(Applies::No),
            Base::Ipv6 if self.place.family == Family::V4 => return Ok(Applies::No),
            Base::Ipv4 | Base::Ipv6 | Base::Verbose => {}
            Base::Table => {
                return Err(Diagnostic::error(
                    code::BAD_COMMAND,
                    span,
                    "-t cannot stand in a save file",
                )
                .with_help("the table is named by the line that starts with *"));
            }
            Base::Other => {
                let message = format!("{} has no place in a save file", word.show());
                return Err(
                    Diagnostic::error(code::BAD_COMMAND, span, message).with_help("leave it out")
                );
            }
        }
        Ok(Applies::Yes)
    }

    fn set_command(&mut self, command: Command, span: Span) -> Result<()> {
        if self.command.replace(command).is_some() {
            return Err(Diagnostic::error(
                code::BAD_COMMAND,
                span,
                "a line holds one command",
            ));
        }
        Ok(())
    }

    /// The next word unless it is an option.
    fn argument(&mut self) -> Option<&'a Word> {
        let word = self.words.get(self.next)?;
        let is_option = word.as_bytes().starts_with(b"-") || word.as_bytes().starts_with(b"!");
        if is_option { None } else { self.take() }
    }

    /// The rule number behind a chain, from 1 in the text and from 0 here.
    fn rule_number(&mut self) -> Result<Option<usize>> {
        let Some(word) = self.argument() else {
            return Ok(None);
        };
        let number = value::integer(word.as_bytes(), u64::from(u32::MAX))
            .and_then(|number| number.checked_sub(1));
        match number.and_then(|number| usize::try_from(number).ok()) {
            Some(index) => Ok(Some(index)),
            None => {
                let message = format!("{:?} is no rule number", word.show());
                Err(Diagnostic::error(code::BAD_VALUE, word.span, message)
                    .with_help("rules count from 1"))
            }
        }
    }

    fn jump(&mut self, name: &Word) -> Result<()> {
        let verdict = match name.as_bytes() {
            b"ACCEPT" => Some(Verdict::Accept),
            b"DROP" => Some(Verdict::Drop),
            b"RETURN" => Some(Verdict::Return),
            b"QUEUE" => Some(Verdict::Queue),
            _ => None,
        };
        if verdict == Some(Verdict::Drop) && self.place.table == TableKind::Nat {
            return Err(
                Diagnostic::error(code::MISPLACED, name.span, "the nat table cannot DROP")
                    .with_help("drop in the filter table"),
            );
        }
        let family = self.place.family;
        let typed = targets::REGISTRY
            .iter()
            .find(|spec| spec.name.as_bytes() == name.as_bytes());
        let untyped = names::untyped_targets(family).find(|it| it.as_bytes() == name.as_bytes());
        let jump = match (verdict, typed, untyped) {
            (Some(verdict), _, _) => Jump::Verdict(verdict),
            (_, Some(spec), _) => Jump::Extension(Draft::new(Kind::Typed(spec), name.span)),
            (_, _, Some(untyped)) => Jump::Extension(Draft::new(Kind::Untyped(untyped), name.span)),
            _ => Jump::Chain(self.user_chain(name, "-j")?),
        };
        let is_untyped = matches!(
            &jump,
            Jump::Extension(Draft {
                kind: Kind::Untyped(_),
                ..
            })
        );
        self.jump = Some(jump);
        if is_untyped {
            self.untyped = Some(Owner::Target);
            self.take_untyped(Owner::Target, None);
        }
        Ok(())
    }

    fn user_chain(&self, word: &Word, option: &str) -> Result<Spanned<String>> {
        let name = word.as_bytes().to_str().unwrap_or_default();
        match (self.place.chain)(name) {
            ChainKind::User => Ok(Spanned {
                value: name.to_owned(),
                span: word.span,
            }),
            ChainKind::Builtin(_) => {
                let message = format!("{option} cannot lead to the built-in chain {name}");
                Err(Diagnostic::error(code::UNKNOWN_TARGET, word.span, message)
                    .with_help("put the rules into a chain of your own and jump to that"))
            }
            ChainKind::Missing => {
                let chains = (self.place.chain_names)();
                let family = self.place.family;
                let targets = ["ACCEPT", "DROP", "RETURN", "QUEUE"].into_iter();
                let targets = targets.chain(targets::REGISTRY.iter().map(|spec| spec.name));
                let targets = targets
                    .chain(names::untyped_targets(family))
                    .filter(|_| option == "-j");
                let targets: Vec<&str> = targets.collect();
                let candidates = chains.iter().map(String::as_str).chain(targets);
                let what = if option == "-j" {
                    "verdict, target or chain"
                } else {
                    "chain"
                };
                let message = format!("{:?} is no {what} of this table", word.show());
                let diagnostic = Diagnostic::error(code::UNKNOWN_TARGET, word.span, message);
                Err(match names::closest(word.as_bytes(), candidates) {
                    Some(name) => diagnostic.with_help(format!("did you mean {name}?")),
                    None => diagnostic.with_help(format!(
                        "declare the chain above this line: :{} - [0:0]",
                        word.show()
                    )),
                })
            }
        }
    }

    fn match_kind(&self, name: &[u8]) -> Option<Kind<Match>> {
        // The names of protocols that are not the names of their matches (libxtables,
        // `xtables_find_match`).
        let name: &[u8] = match name {
            b"icmpv6" | b"ipv6-icmp" => b"icmp6",
            b"mobility-header" => b"mh",
            other => other,
        };
        let family = self.place.family;
        let typed = matches::REGISTRY
            .iter()
            .find(|spec| {
                spec.name.as_bytes() == name && spec.family.is_none_or(|only| only == family)
            })
            .map(Kind::Typed);
        let untyped = || {
            names::untyped_matches(family)
                .find(|it| it.as_bytes() == name)
                .map(Kind::Untyped)
        };
        typed.or_else(untyped)
    }

    fn load_match(&mut self, name: &Word) -> Result<()> {
        let family = self.place.family;
        let Some(kind) = self.match_kind(name.as_bytes()) else {
            let message = format!("{:?} is no match of {family}", name.show());
            let candidates = matches::REGISTRY
                .iter()
                .map(|spec| spec.name)
                .chain(names::untyped_matches(family));
            let diagnostic = Diagnostic::error(code::UNKNOWN_MATCH, name.span, message);
            return Err(match names::closest(name.as_bytes(), candidates) {
                Some(name) => diagnostic.with_help(format!("did you mean {name}?")),
                None => diagnostic,
            });
        };
        let is_untyped = matches!(kind, Kind::Untyped(_));
        self.push_match(kind, name.span);
        if let Some(owner) = self.untyped.filter(|_| is_untyped) {
            self.take_untyped(owner, None);
        }
        Ok(())
    }

    /// Gives the words up to the next known option to an extension.
    fn take_untyped(&mut self, owner: Owner, negation: Option<Span>) {
        let words = self.untyped_words(negation);
        match (owner, &mut self.jump) {
            (Owner::Target, Some(Jump::Extension(draft))) => draft.raw.extend(words),
            (Owner::Target, _) => {}
            (Owner::Match(index), _) => {
                if let Some(draft) = self.matches.get_mut(index) {
                    draft.raw.extend(words);
                }
            }
        }
    }

    /// The words up to the next option of iptables or of an extension with known options.
    fn untyped_words(&mut self, negation: Option<Span>) -> Vec<Word> {
        let mut words: Vec<Word> = negation
            .map(|span| Word {
                text: "!".into(),
                span,
                quoted: false,
            })
            .into_iter()
            .collect();
        while let Some(word) = self.words.get(self.next) {
            let option = match self.words.get(self.next + 1) {
                Some(inverted) if word.as_bytes() == b"!" => inverted,
                _ => word,
            };
            if self.is_known_option(option) {
                break;
            }
            words.push(word.clone());
            self.next += 1;
        }
        words
    }

    /// Whether a long option is one of the match that `-p` would load.
    fn is_of_protocol(&self, name: &[u8]) -> bool {
        let protocol = self.base.protocol.as_ref().filter(|_| !self.protocol_used);
        let spec = protocol
            .and_then(|it| names::protocol_match(it.value.value, self.place.family))
            .and_then(|name| matches::REGISTRY.iter().find(|spec| spec.name == name));
        let mut options = spec.into_iter().flat_map(|spec| spec.options);
        options.any(|option| option.names.iter().any(|it| it.as_bytes() == name))
    }

    fn is_known_option(&self, word: &Word) -> bool {
        if word.quoted {
            return false;
        }
        match word.as_bytes() {
            [b'-', b'-', name @ ..] => match self.exact(name) {
                Some(Meaning::Base(base)) => base.is_of_rules(),
                Some(Meaning::Extension(..)) => true,
                None => self.is_of_protocol(name),
            },
            [b'-', letter] => Base::by_letter(*letter).is_some_and(Base::is_of_rules),
            _ => false,
        }
    }

    /// Whether any part of a rule was given.
    fn has_rule(&self) -> bool {
        let has_addresses = self.sources.is_some() || self.destinations.is_some();
        has_addresses
            || self.base != BaseMatch::default()
            || !self.matches.is_empty()
            || self.jump.is_some()
    }

    /// Checks what needs the whole line, and builds its rules.
    fn finish(mut self, diagnostics: &mut Vec<Diagnostic>) -> Option<Line> {
        let errors_before = diagnostics.len();
        let Some(command) = self.command.take() else {
            diagnostics.push(
                Diagnostic::error(code::BAD_COMMAND, self.line, "the line holds no command")
                    .with_help("a rule starts with -A CHAIN"),
            );
            return None;
        };
        let chain = match &command {
            Command::Append(chain)
            | Command::Insert(chain, _)
            | Command::Replace(chain, _)
            | Command::Delete(chain) => chain,
            _ => {
                if self.has_rule() {
                    let message = "this command takes no rule";
                    diagnostics.push(Diagnostic::error(code::BAD_COMMAND, self.line, message));
                    return None;
                }
                return Some(Line {
                    command,
                    rules: Vec::new(),
                });
            }
        };
        let mut fail = |result: Result<()>| diagnostics.extend(result.err());
        let mut base = self.base;
        fail(check_interfaces(&base, chain, self.place));
        let (sources, source_error) = addresses(self.sources, self.place.family);
        let (destinations, destination_error) = addresses(self.destinations, self.place.family);
        fail(source_error);
        fail(destination_error);
        diagnostics.extend(warn_never_matching(&base, self.place.family));
        if self.place.family == Family::V4
            && base.protocol.as_ref().is_some_and(|it| it.value.value == 0)
        {
            base.protocol = None;
        }

        let surroundings = || Surroundings {
            family: self.place.family,
            table: self.place.table,
            base: &base,
        };
        let mut matches = Vec::new();
        for draft in &self.matches {
            let span = draft.whole_span();
            matches.extend(
                draft
                    .build(surroundings(), diagnostics)
                    .map(|built| match built {
                        Built::Typed(value) => Spanned { value, span },
                        Built::Unknown(unknown) => Spanned {
                            value: Match::Unknown(unknown),
                            span,
                        },
                    }),
            );
        }
        let action = match &self.jump {
            None => Action::Continue,
            Some(Jump::Verdict(verdict)) => Action::Verdict(*verdict),
            Some(Jump::Chain(chain)) => Action::Jump(chain.clone()),
            Some(Jump::Goto(chain)) => Action::Goto(chain.clone()),
            Some(Jump::Extension(draft)) => {
                let span = draft.whole_span();
                match draft.build(surroundings(), diagnostics) {
                    Some(Built::Typed(value)) => Action::Target(Spanned { value, span }),
                    Some(Built::Unknown(unknown)) => Action::Target(Spanned {
                        value: Target::Unknown(unknown),
                        span,
                    }),
                    None => Action::Continue,
                }
            }
        };
        if sources.len().saturating_mul(destinations.len()) > EXPANSION_LIMIT {
            diagnostics.push(
                Diagnostic::error(
                    code::TOO_LONG,
                    self.line,
                    "the address lists stand for too many rules",
                )
                .with_help(format!(
                    "one line may stand for {EXPANSION_LIMIT}; split it or use ipsets"
                )),
            );
        }
        if diagnostics[errors_before..]
            .iter()
            .any(|it| it.severity == crate::diagnostic::Severity::Error)
        {
            return None;
        }
        let mut rules = Vec::with_capacity(sources.len() * destinations.len());
        for source in &sources {
            for destination in &destinations {
                rules.push(Rule {
                    counters: self.counters,
                    base: BaseMatch {
                        source: source.clone(),
                        destination: destination.clone(),
                        ..base.clone()
                    },
                    matches: matches.clone(),
                    action: action.clone(),
                    span: RuleSpan(self.line),
                });
            }
        }
        Some(Line { command, rules })
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

fn interface(word: &Word, negated: bool, span: Span) -> Result<Negatable<InterfacePattern>> {
    let value = value::interface(word.as_bytes()).map_err(|problem| problem.at(word.span))?;
    Ok(Negatable {
        negated,
        value: Spanned { value, span },
    })
}

/// The addresses of an option, one without a test when the option is absent. On an error there are
/// none.
fn addresses(
    option: Option<Negatable<Word>>,
    family: Family,
) -> (Vec<Option<Negatable<Network>>>, Result<()>) {
    let Some(Negatable {
        negated,
        value: Spanned { value: word, span },
    }) = option
    else {
        return (vec![None], Ok(()));
    };
    let networks = match value::networks(word.as_bytes(), family) {
        Ok(networks) => networks,
        Err(problem) => return (Vec::new(), Err(problem.at(word.span))),
    };
    if negated && networks.len() > 1 {
        let error = Diagnostic::error(
            code::BAD_NEGATION,
            span,
            "a list of addresses cannot be inverted",
        )
        .with_help("use a chain of your own that returns for each address, or an ipset");
        return (Vec::new(), Err(error));
    }
    let networks = networks.into_iter().map(|value| {
        Some(Negatable {
            negated,
            value: Spanned { value, span },
        })
    });
    (networks.collect(), Ok(()))
}

/// The tool refuses an interface that a packet cannot have in a built-in chain.
fn check_interfaces(base: &BaseMatch, chain: &Word, place: &Place<'_>) -> Result<()> {
    let ChainKind::Builtin(hook) = (place.chain)(chain.as_bytes().to_str().unwrap_or_default())
    else {
        return Ok(());
    };
    let (option, interface) = match hook {
        NfHook::Prerouting | NfHook::Input => ("-o", &base.out_interface),
        NfHook::Output | NfHook::Postrouting => ("-i", &base.in_interface),
        NfHook::Forward => return Ok(()),
    };
    match interface {
        None => Ok(()),
        Some(interface) => Err(Diagnostic::error(
            code::MISPLACED,
            interface.value.span,
            format!("{option} cannot stand in {hook}"),
        )
        .with_help(match option {
            "-o" => "the way out is not known here; -i tells the way in",
            _ => "the way in is not known here; -o tells the way out",
        })),
    }
}

/// Tests that cannot be true, of which the saved text shows nothing or the tool only warns.
fn warn_never_matching(base: &BaseMatch, family: Family) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for interface in [&base.in_interface, &base.out_interface]
        .into_iter()
        .flatten()
    {
        let InterfacePattern { name, .. } = &interface.value.value;
        if interface.negated && name.is_empty() {
            let message = "no interface is outside +, so this rule never matches";
            warnings.push(
                Diagnostic::warning(code::NEVER_MATCHES, interface.value.span, message)
                    .with_help("iptables-save prints such a test as nothing, and what it prints always matches"),
            );
        }
    }
    if let Some(protocol) = base
        .protocol
        .as_ref()
        .filter(|it| family == Family::V6 && !it.negated)
    {
        // The walk over IPv6 extension headers ends behind these, never at them.
        if let 43 | 44 | 51 | 60 = protocol.value.value {
            let message = "an extension header is never the protocol of an IPv6 packet, so this rule never matches";
            warnings.push(
                Diagnostic::warning(code::NEVER_MATCHES, protocol.value.span, message)
                    .with_help("use -m rt, frag, ah or dst"),
            );
        }
    }
    warnings
}
