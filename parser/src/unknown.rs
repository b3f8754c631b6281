//! Extensions this version does not know: kept word for word, so that a ruleset with one can still
//! be read, shown and printed, and refused by name where its meaning is needed.

use bstr::BString;
use serde::Serialize;

/// An extension by name, with its options unread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// The name behind `-m` or `-j`.
    pub name: String,
    /// Its words up to the next extension.
    pub words: Vec<Argument>,
}

/// A word as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Argument {
    /// The word without its quotes.
    pub text: BString,
    /// Whether it stood in quotes.
    pub quoted: bool,
}
