//! From iptables rulesets to BPF objects: rulesets → semantic IR → plan → bytecode → ELF.

pub mod asm;
pub mod module;
pub mod options;
