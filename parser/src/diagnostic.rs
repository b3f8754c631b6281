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
}
