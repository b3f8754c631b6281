//! The kernel differential test: the same packets through netfilter and through what we compile.
//!
//! [`netns`] gives a thread a network namespace of its own, [`host`] makes a router or an end host of
//! it, [`netfilter`] loads a ruleset there and says what became of each frame, [`packets`] draws
//! frames around a ruleset's [`constants`], [`compare`] sets a [`compare::Subject`] beside netfilter
//! and tells the first difference in [`words`].
//!
//! Accepted packets end at the last tap: they are delivered to no socket and leave by no device. So
//! nothing answers, no connection is ever confirmed, and every packet meets the same kernel state.

pub mod checksum;
pub mod compare;
pub mod constants;
pub mod frame;
pub mod host;
pub mod mirror;
pub mod netfilter;
pub mod netns;
pub mod packets;
pub mod scene;
mod tool;
pub mod words;
