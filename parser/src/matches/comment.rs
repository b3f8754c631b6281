//! `-m comment`: text that is kept with a rule (libxt_comment).

use bstr::BString;
use serde::Serialize;

/// The `comment` match: always true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comment {
    /// At most 255 bytes, of any kind.
    pub text: BString,
}
