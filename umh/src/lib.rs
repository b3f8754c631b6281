//! The helper: a process that takes rulesets from others and gives programs, so that whoever it works for need
//! not trust the rulesets.
//!
//! # Two processes
//! The [compiler] does all that looks into rules: parsing, translating, decoding blobs. It runs in a
//! [sandbox]: no files, no network, no privileges, bounded memory; its parent kills it when it takes too long, and
//! starts another for the next user. What it sends back is an object, text and numbers.
//!
//! The process that clients speak to does the rest: it reads messages, knows [who sends them](access), has rulesets
//! compiled, loads what comes back and attaches it. It reads no rules, but for the text that programs in
//! the kernel carry.
//!
//! # Three ways in
//! - A socket that speaks [Varlink](varlink): [`service`] has the methods, [`server`] the bounds for clients,
//!   [`client`] is the other side. The interface description says what each method does.
//! - The pipes of the kernel's bpfilter ([`mbox`]).
//! - The system calls of a command ([`mod@run`]), so that an unmodified iptables changes programs.
//!
//! The last two, and one method of the first, end in [`xtables`]: the socket options of iptables, answered from
//! what is attached to a [place](place::Place). Nothing is kept anywhere else.

pub mod access;
pub mod cache;
mod caller;
pub mod client;
pub mod compiler;
mod descriptors;
pub mod failure;
pub mod frame;
mod ipset;
pub mod mbox;
pub mod place;
pub mod request;
pub mod run;
pub mod sandbox;
pub mod server;
pub mod service;
pub mod socket;
mod sys;
mod timed;
pub mod varlink;
pub mod xtables;
