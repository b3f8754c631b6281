//! The helper.
mod caller;
pub mod compiler;
mod descriptors;
pub mod failure;
pub mod frame;
mod ipset;
pub mod place;
pub mod request;
pub mod run;
pub mod sandbox;
mod sys;
mod timed;
pub mod xtables;
