//! From iptables rulesets to BPF objects, without a kernel.
//!
//! Data flows one way, through stages with a type and a text form each:
//!
//! | stage | type | made by | text |
//! |---|---|---|---|
//! | rulesets | [`Ruleset`](ipt2bpf_parser::ruleset::Ruleset) | the parser | iptables-save |
//! | semantic IR | [`Filter`](semantic::Filter) | [`lower`], [`simplify`] | its `Display` |
//! | plan | [`StagePlan`](plan::StagePlan) | [`plan`] | [`Stats`](compile::Stats) |
//! | code | [`Module`](module::Module) | [`emit`] | [`listing`](listing::listing) |
//! | object | ELF bytes | [`encode`], [`btf`], [`object`] | `bpftool prog dump` |
//!
//! [`compile`](compile::compile) is the whole way. Beside it stand two judges that need no root: the
//! reference evaluator ([`evaluate`]) runs the semantic IR on a packet, and a small interpreter ([`vm`])
//! runs the bytecode; property tests hold one against the other.
//!
//! # Where meaning lives
//! What a match or target means stands in one file of [`meaning`], as steps over the [`field`]s of a
//! packet. Nothing behind it knows iptables. A packet becomes fields in two places that must agree:
//! [`packet`] and [`frame`] say it in Rust, [`emit`]'s `parse` says it in bytecode.
//!
//! # Contract with the verifier
//! - A program copies what its rules ask for into a `struct packet` on its stack before the first rule.
//!   Rules read only that, by constant offsets: their code is the same at every hook and needs no bounds
//!   checks, and no comparison leaves the verifier something to remember at the next rule.
//! - All jumps lead forward, but for the walk over IPv6 extension headers, whose turns are counted.
//! - No instruction is unreachable: tests that always or never hold are taken out first, and rules
//!   that no packet reaches get no code.
//! - A function keeps within the verifier's pending branches and the reach of 16-bit jumps; the limits
//!   are constants of [`plan`] with their sources.
//! - What cannot happen, such as a full return stack, drops the packet.

pub mod addresses;
pub mod asm;
pub mod before;
pub mod btf;
pub mod check;
pub mod choices;
pub mod classify;
pub mod compile;
pub mod counters;
pub mod emit;
pub mod encode;
pub mod evaluate;
pub mod explain;
pub mod field;
pub mod frame;
pub mod listing;
pub mod log;
pub mod lower;
pub mod meaning;
pub mod messages;
pub mod module;
pub mod needs;
mod notes;
pub mod object;
pub mod options;
pub mod packet;
pub mod plan;
pub mod routine;
pub mod semantic;
pub mod sets;
pub mod simplify;
pub mod stale;
pub mod track;
mod types;
pub mod vm;
