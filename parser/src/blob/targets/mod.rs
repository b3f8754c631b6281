//! The binary forms of targets: one file each, named in one table.

mod log;
mod reject;

use super::codec::{Codec, codec};
use crate::targets::Target;

/// All of them. Where several have one name and revision, the first with a value counts.
pub(super) static CODECS: &[Codec<Target>] = &[
    codec!(Target::Log, log::Log0),
    codec!(Target::Reject, reject::Reject4),
    codec!(Target::Reject, reject::Reject6),
];
