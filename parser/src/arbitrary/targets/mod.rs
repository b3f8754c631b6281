//! Targets: one file each.

pub(super) mod connmark;
pub(super) mod log;
pub(super) mod mark;
pub(super) mod nfqueue;
