//! Target extensions: one file each, named in one table.

pub mod log;
pub mod reject;

use serde::Serialize;

use crate::extension::registry;
use crate::unknown::Unknown;

/// `-j NAME` with its options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Target {
    /// `-j LOG`
    Log(log::Log),
    /// `-j REJECT`
    Reject(reject::Reject),
    /// An extension that this version does not know, kept word for word.
    Unknown(Unknown),
}

registry! { Target:
    Log(log::Log),
    Reject(reject::Reject),
}
