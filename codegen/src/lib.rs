//! From iptables rulesets to BPF objects: rulesets → semantic IR → plan → bytecode → ELF.

pub mod asm;
pub mod btf;
pub mod encode;
pub mod module;
pub mod object;
pub mod options;
mod types;
