//! What is wrong with an input, and what to do about it.

use serde::Serialize;

use crate::span::Span;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is made from the input.
    Error,
    /// Something is made, and it may not be what was meant.
    Warning,
}

/// One message about one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// A stable name for programs, such as `unknown-option`.
    pub code: &'static str,
    /// One sentence: what is wrong.
    pub message: String,
    /// The words it is about.
    pub span: Span,
    /// A few words that stand under the caret; may be empty.
    pub label: String,
    /// The way out: what to write or to do instead.
    pub help: Option<String>,
    /// What iptables itself says, where that is known word for word.
    #[serde(skip)]
    pub in_tool: Option<Box<InTool>>,
}

/// A complaint in the words of iptables, without the program's name and version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InTool {
    /// The words are wrong: `iptables v1.8.9 (legacy): ` stands before this and a hint at `-h` behind it;
    /// exit code 2.
    Usage(String),
    /// The same without name and version.
    Bare(String),
    /// The table is not as the command needs it: `iptables: ` stands before this; exit code 1.
    Refusal(&'static str),
    /// There is no such thing in the kernel: as with wrong words, and exit code 3.
    Unsupported(String),
}

impl Diagnostic {
    /// An error with neither label nor help yet.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            span,
            label: String::new(),
            help: None,
            in_tool: None,
        }
    }

    /// A warning with neither label nor help yet.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, span, message)
        }
    }

    /// Sets the words under the caret.
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Sets the words of iptables for wrong words.
    pub(crate) fn usage(mut self, text: impl Into<String>) -> Self {
        self.in_tool = Some(Box::new(InTool::Usage(text.into())));
        self
    }

    /// Sets the words of iptables for wrong words, which stand without its name.
    pub(crate) fn bare(mut self, text: impl Into<String>) -> Self {
        self.in_tool = Some(Box::new(InTool::Bare(text.into())));
        self
    }

    /// Sets the words of iptables for what a table does not allow.
    pub(crate) fn refusal(mut self, text: &'static str) -> Self {
        self.in_tool = Some(Box::new(InTool::Refusal(text)));
        self
    }

    /// Sets the way out.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The codes of the parser's diagnostics.
pub mod code {
    /// The text is larger than 4 GiB or a line or word exceeds what iptables-restore can hold.
    pub const TOO_LONG: &str = "too-long";
    /// So many errors that reading stopped.
    pub const TOO_MANY_ERRORS: &str = "too-many-errors";
    /// A line outside a table, or a table inside another.
    pub const STRUCTURE: &str = "structure";
    /// A table without its `COMMIT`.
    pub const NO_COMMIT: &str = "no-commit";
    /// A `*name` that is no table.
    pub const UNKNOWN_TABLE: &str = "unknown-table";
    /// The same table twice for one family.
    pub const REPLACED_TABLE: &str = "replaced-table";
    /// A bad chain name or declaration.
    pub const BAD_CHAIN: &str = "bad-chain";
    /// A chain declared twice.
    pub const DUPLICATE_CHAIN: &str = "duplicate-chain";
    /// A chain that is used and not declared.
    pub const UNKNOWN_CHAIN: &str = "unknown-chain";
    /// A chain from which a packet could come back to it.
    pub const LOOP: &str = "loop";
    /// A policy that is neither ACCEPT nor DROP, or one on a user chain.
    pub const BAD_POLICY: &str = "bad-policy";
    /// Packet and byte counts that are no numbers.
    pub const BAD_COUNTERS: &str = "bad-counters";
    /// A line with no command, or with one that this crate does not carry out.
    pub const BAD_COMMAND: &str = "bad-command";
    /// A word that is no option and no value.
    pub const BAD_ARGUMENT: &str = "bad-argument";
    /// An option that nothing in the rule knows.
    pub const UNKNOWN_OPTION: &str = "unknown-option";
    /// An abbreviation of several options.
    pub const AMBIGUOUS_OPTION: &str = "ambiguous-option";
    /// An option without its value, or an extension without a needed option.
    pub const MISSING_OPTION: &str = "missing-option";
    /// An option given twice, or two that exclude each other.
    pub const REPEATED_OPTION: &str = "repeated-option";
    /// A `!` where nothing can be inverted.
    pub const BAD_NEGATION: &str = "bad-negation";
    /// A value outside what its option takes.
    pub const BAD_VALUE: &str = "bad-value";
    /// A `-m NAME` that is no extension of iptables.
    pub const UNKNOWN_MATCH: &str = "unknown-match";
    /// A `-j NAME` that is no verdict, extension or chain.
    pub const UNKNOWN_TARGET: &str = "unknown-target";
    /// An extension or option in a table, chain, family or protocol where it cannot stand.
    pub const MISPLACED: &str = "misplaced";
    /// A test whose saved text means something else than the rule.
    pub const NEVER_MATCHES: &str = "never-matches";
    /// An option that is read and changes nothing.
    pub const NO_EFFECT: &str = "no-effect";
    /// A name that iptables-save prints so that it reads as something else.
    pub const LOSSY_SAVE: &str = "lossy-save";
    /// A value cut short, as iptables does.
    pub const TRUNCATED: &str = "truncated";
}
