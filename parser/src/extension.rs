//! What an extension is to the parser: a name, a table of options, and a way to build its value.

use bstr::BString;

use crate::databases::Names;
use crate::diagnostic::{Diagnostic, InTool, code};
use crate::listing::Listing;
use crate::matches::Match;
use crate::print::Line;
use crate::ruleset::{BaseMatch, Family, Negatable, NfHook, TableKind};
use crate::span::{Span, Spanned};
use crate::words::Word;

/// How an option is written.
#[derive(Debug)]
pub(crate) struct OptionSpec {
    /// Its names without `--`; the first is used in messages.
    pub names: &'static [&'static str],
    /// How many words follow it.
    pub arity: usize,
    /// Whether the word may be left out, as one that starts with `-` or `!` is not its.
    pub word_is_optional: bool,
    /// Whether it may be given more than once. Its values are read with [`Arguments::given`].
    pub repeatable: bool,
    /// Whether `!` may stand before it.
    pub invertible: bool,
}

impl OptionSpec {
    pub const fn new(names: &'static [&'static str], arity: usize) -> Self {
        Self {
            names,
            arity,
            word_is_optional: false,
            repeatable: false,
            invertible: false,
        }
    }

    pub fn name(&self) -> &'static str {
        self.names.first().copied().unwrap_or_default()
    }
}

/// An option with the grammar of its value.
pub(crate) struct Opt<T: 'static> {
    pub spec: OptionSpec,
    pub read: fn(&Value<'_>) -> Result<T, Problem>,
}

impl<T> Opt<T> {
    pub const fn new(
        names: &'static [&'static str],
        read: fn(&Value<'_>) -> Result<T, Problem>,
    ) -> Self {
        Self {
            spec: OptionSpec::new(names, 1),
            read,
        }
    }

    pub const fn with_arity(mut self, arity: usize) -> Self {
        self.spec.arity = arity;
        self
    }

    pub const fn invertible(mut self) -> Self {
        self.spec.invertible = true;
        self
    }

    pub const fn with_optional_word(mut self) -> Self {
        self.spec.word_is_optional = true;
        self
    }

    pub const fn repeatable(mut self) -> Self {
        self.spec.repeatable = true;
        self
    }
}

/// An option without a value.
pub(crate) const fn switch(names: &'static [&'static str]) -> Opt<()> {
    Opt::new(names, |_| Ok(())).with_arity(0)
}

/// An option with a text as it is.
pub(crate) const fn text(names: &'static [&'static str]) -> Opt<BString> {
    Opt::new(names, |value| Ok(value.word(0).into()))
}

/// The words behind an option and what bears on their meaning.
pub(crate) struct Value<'a> {
    pub words: &'a [Word],
    pub rule: &'a Surroundings<'a>,
}

impl Value<'_> {
    /// The bytes of the n-th word.
    pub fn word(&self, n: usize) -> &[u8] {
        self.words.get(n).map(Word::as_bytes).unwrap_or_default()
    }
}

/// What is wrong with a value; the option and its place are known to the caller.
#[derive(Debug)]
pub(crate) struct Problem {
    pub message: String,
    pub help: Option<String>,
    /// The words of iptables, where they are known.
    pub usage: Option<String>,
}

impl Problem {
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            usage: None,
        }
    }

    /// Sets the words of iptables.
    pub fn usage(mut self, text: impl Into<String>) -> Self {
        self.usage = Some(text.into());
        self
    }

    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn at(self, span: Span) -> Diagnostic {
        Diagnostic {
            help: self.help,
            in_tool: self.usage.map(|text| Box::new(InTool::Usage(text))),
            ..Diagnostic::error(code::BAD_VALUE, span, self.message)
        }
    }
}

/// The rest of the rule that an extension stands in.
pub(crate) struct Surroundings<'a> {
    pub family: Family,
    pub table: TableKind,
    pub base: &'a BaseMatch,
    /// The matches before a match, or all of them for a target.
    pub matches: &'a [Spanned<Match>],
    /// The names that stand for numbers.
    pub names: &'a Names,
}

impl Surroundings<'_> {
    /// The protocol of `-p`, unless inverted.
    pub fn protocol(&self) -> Option<u8> {
        match &self.base.protocol {
            Some(protocol) if !protocol.negated => Some(protocol.value.value),
            _ => None,
        }
    }
}

/// An option as a rule gives it.
#[derive(Debug)]
pub(crate) struct Given {
    pub spec: &'static OptionSpec,
    pub negated: bool,
    pub words: Vec<Word>,
    /// The option and its words.
    pub span: Span,
}

impl Given {
    pub fn is(&self, spec: &OptionSpec) -> bool {
        self.spec.names == spec.names
    }
}

/// All that a rule gives to one extension.
pub(crate) struct Arguments<'a> {
    pub given: &'a [Given],
    pub rule: Surroundings<'a>,
    /// The extension's name in the text.
    pub span: Span,
    /// Its name.
    pub name: &'static str,
    pub warnings: Vec<Diagnostic>,
}

impl Arguments<'_> {
    /// The option's value, if it is given.
    pub fn get<T>(&self, option: &'static Opt<T>) -> Result<Option<Negatable<T>>, Diagnostic> {
        self.find(&option.spec)
            .map(|given| self.read(option, given))
            .transpose()
    }

    /// The value of an option where it is given.
    pub fn read<T>(
        &self,
        option: &'static Opt<T>,
        given: &Given,
    ) -> Result<Negatable<T>, Diagnostic> {
        let value = Value {
            words: &given.words,
            rule: &self.rule,
        };
        let span = match (given.words.first(), given.words.last()) {
            (Some(first), Some(last)) => first.span.to(last.span),
            _ => given.span,
        };
        let value = (option.read)(&value).map_err(|problem| problem.at(span))?;
        Ok(Negatable {
            negated: given.negated,
            value: Spanned {
                value,
                span: given.span,
            },
        })
    }

    /// The option's value, or the error that it is missing.
    pub fn need<T>(&self, option: &'static Opt<T>) -> Result<Negatable<T>, Diagnostic> {
        self.get(option)?.ok_or_else(|| {
            let (extension, name) = (self.name, option.spec.name());
            let message = format!("--{name} is missing");
            Diagnostic::error(code::MISSING_OPTION, self.span, message).usage(format!(
                "{extension}: option \"--{name}\" must be specified\n"
            ))
        })
    }

    /// A text, cut with a warning to the bytes that the kernel holds.
    pub fn text(
        &mut self,
        option: &'static Opt<BString>,
        limit: usize,
    ) -> Result<Option<BString>, Diagnostic> {
        let given = self.get(option)?;
        Ok(given.map(|given| self.cut(given.value, limit).value))
    }

    /// A number, cut with a warning to the bits that the kernel holds.
    pub fn number<T: TryFrom<u64>>(
        &mut self,
        option: &'static Opt<u64>,
        mask: u64,
    ) -> Result<Option<T>, Diagnostic> {
        let Some(given) = self.get(option)? else {
            return Ok(None);
        };
        let (value, cut) = (given.value.value, given.value.value & mask);
        if value != cut {
            let message = format!("{value} does not fit: iptables makes {cut} of it");
            self.warn(
                Diagnostic::warning(code::TRUNCATED, given.value.span, message)
                    .with_help(format!("write a number up to {mask}")),
            );
        }
        Ok(T::try_from(cut).ok())
    }

    /// Whether a switch is given.
    pub fn has(&self, option: &'static Opt<()>) -> bool {
        self.find(&option.spec).is_some()
    }

    /// Whether both are given, in this order.
    pub fn are_in_order(&self, first: &OptionSpec, second: &OptionSpec) -> bool {
        let place = |spec| self.given.iter().position(|given| given.is(spec));
        matches!((place(first), place(second)), (Some(first), Some(second)) if first < second)
    }

    /// An error when more than one of these is given.
    pub fn at_most_one(&self, specs: &[&OptionSpec]) -> Result<(), Diagnostic> {
        let mut found = specs.iter().filter_map(|spec| self.find(spec));
        match (found.next(), found.next()) {
            (Some(first), Some(second)) => Err(Diagnostic::error(
                code::REPEATED_OPTION,
                second.span,
                format!(
                    "--{} and --{} exclude each other",
                    first.spec.name(),
                    second.spec.name()
                ),
            )
            .usage(format!(
                "{}: option \"--{}\" cannot be used together with \"--{}\".\n",
                self.name,
                first.spec.name(),
                second.spec.name()
            ))),
            _ => Ok(()),
        }
    }

    /// An error unless the rule has `-p` with one of these protocols.
    pub fn need_protocol(&self, numbers: &[u8], wanted: &str) -> Result<(), Diagnostic> {
        match self.rule.protocol() {
            Some(protocol) if numbers.contains(&protocol) => Ok(()),
            _ => Err(Diagnostic::error(
                code::MISPLACED,
                self.span,
                format!("this needs {wanted} in the same rule"),
            )
            .with_help(format!("add {wanted}, not inverted"))
            .refusal("Invalid argument. Run `dmesg' for more information.")),
        }
    }

    /// An error about the extension as a whole.
    pub fn error(&self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, self.span, message)
    }

    /// The text, or as much of it as the kernel can hold, with a warning.
    pub fn cut(&mut self, text: Spanned<BString>, limit: usize) -> Spanned<BString> {
        if text.value.len() <= limit {
            return text;
        }
        let message = format!("this is cut to its first {limit} bytes, as iptables does");
        self.warn(Diagnostic::warning(code::TRUNCATED, text.span, message));
        text.map(|mut text| {
            text.truncate(limit);
            text
        })
    }

    pub fn warn(&mut self, warning: Diagnostic) {
        self.warnings.push(warning);
    }

    pub fn find(&self, spec: &OptionSpec) -> Option<&Given> {
        self.given.iter().find(|given| given.is(spec))
    }
}

/// A match or target that this crate knows.
pub(crate) trait Extension: Sized {
    /// The name behind `-m` or `-j`.
    const NAME: &'static str;
    /// The family that has it, when not both do.
    const FAMILY: Option<Family> = None;
    /// The tables where the kernel takes it.
    const TABLES: &'static [TableKind] = &TableKind::ALL;
    /// Its options.
    const OPTIONS: &'static [&'static OptionSpec];

    /// Reads and checks the options.
    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic>;

    /// The hooks that may lead to it. The kernel refuses a table where another does (x_tables.c,
    /// `xt_check_match`, and the `checkentry` of some extensions).
    fn hooks(&self) -> &'static [NfHook] {
        &NfHook::ALL
    }

    /// Writes the options as iptables-save does.
    fn print(&self, line: &mut Line);

    /// Writes what `iptables -L` shows of it.
    fn list(&self, line: &mut Listing<'_>) {
        line.saved(|line| self.print(line));
    }
}

/// A row of a registry.
pub(crate) struct Spec<E> {
    pub name: &'static str,
    pub family: Option<Family>,
    pub tables: &'static [TableKind],
    pub options: &'static [&'static OptionSpec],
    pub build: fn(&mut Arguments<'_>) -> Result<E, Diagnostic>,
    pub print: fn(&E, &mut Line),
}

/// Makes an extension enum and the registry of its variants, and what dispatches over them.
macro_rules! registry {
    (
        $(#[$meta:meta])*
        pub enum $enum:ident {
            $($(#[$doc:meta])* $variant:ident($type:ty),)+
        }
    ) => {
        $(#[$meta])*
        pub enum $enum {
            $($(#[$doc])* $variant($type),)+
            /// An extension that this version does not know, kept word for word.
            Unknown($crate::unknown::Unknown),
        }

        /// Every extension of this kind that has a type.
        pub(crate) static REGISTRY: &[$crate::extension::Spec<$enum>] = &[$(
            $crate::extension::Spec {
                name: <$type as $crate::extension::Extension>::NAME,
                family: <$type as $crate::extension::Extension>::FAMILY,
                tables: <$type as $crate::extension::Extension>::TABLES,
                options: <$type as $crate::extension::Extension>::OPTIONS,
                build: |arguments| {
                    <$type as $crate::extension::Extension>::build(arguments).map($enum::$variant)
                },
                print: $enum::print,
            },
        )+];

        impl $enum {
            /// The name that the text calls it by.
            pub fn name(&self) -> &str {
                match self {
                    $($enum::$variant(_) => <$type as $crate::extension::Extension>::NAME,)+
                    $enum::Unknown(unknown) => &unknown.name,
                }
            }

            /// The hooks that may lead to it.
            pub(crate) fn hooks(&self) -> &'static [$crate::ruleset::NfHook] {
                match self {
                    $($enum::$variant(extension) => $crate::extension::Extension::hooks(extension),)+
                    $enum::Unknown(_) => &$crate::ruleset::NfHook::ALL,
                }
            }

            /// Writes the options as iptables-save does.
            pub(crate) fn print(&self, line: &mut $crate::print::Line) {
                match self {
                    $($enum::$variant(extension) => $crate::extension::Extension::print(extension, line),)+
                    $enum::Unknown(unknown) => unknown.print(line),
                }
            }

            /// Writes what `iptables -L` shows of it.
            pub(crate) fn list(&self, line: &mut $crate::listing::Listing<'_>) {
                match self {
                    $($enum::$variant(extension) => $crate::extension::Extension::list(extension, line),)+
                    $enum::Unknown(unknown) => line.saved(|line| unknown.print(line)),
                }
            }
        }
    };
}
pub(crate) use registry;
