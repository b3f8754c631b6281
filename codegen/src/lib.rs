//! From iptables rulesets to BPF objects: rulesets → semantic IR → plan → bytecode → ELF.

pub mod asm;
pub mod btf;
pub mod compile;
pub mod counters;
pub mod emit;
pub mod encode;
pub mod evaluate;
pub mod field;
pub mod frame;
pub mod listing;
pub mod lower;
pub mod meaning;
pub mod module;
pub mod object;
pub mod options;
pub mod packet;
pub mod plan;
pub mod semantic;
pub mod simplify;
mod types;
pub mod vm;
