//! Extensions this version does not know: kept word for word, or byte for byte if they were read
//! from the binary form, so that a ruleset with one can still be read, shown and written, and refused
//! by name where its meaning is needed.

use bstr::BString;
use serde::Serialize;

/// An extension by name, with its options unread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// The name behind `-m` or `-j`.
    pub name: String,
    /// Its words up to the next extension. None if it was read from the binary form, so that its
    /// print lacks the options.
    pub words: Vec<Argument>,
    /// Its data, if it was read from the binary form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
}

/// A word as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Argument {
    /// The word without its quotes.
    pub text: BString,
    /// Whether it stood in quotes.
    pub quoted: bool,
}

/// The data of an extension in the binary form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Data {
    /// Which revision of the extension it is for.
    pub revision: u8,
    /// The bytes behind the extension's header.
    pub bytes: Vec<u8>,
}
