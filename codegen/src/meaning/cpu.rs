//! `cpu_mt` of net/netfilter/xt_cpu.c.

use ipt2bpf_parser::matches::cpu::Cpu;

use super::{Context, MatchMeaning, Refusal, require};
use crate::field::Field;
use crate::module::Hook;
use crate::semantic::{Step, Test};

impl MatchMeaning for Cpu {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Ok(vec![require(&self.0, |&processor| {
            Test::equal(Field::Processor, processor)
        })])
    }

    fn note(&self, context: Context<'_>) -> Option<String> {
        (context.hook == Hook::Xdp).then(|| {
            "packets are seen on the processor that the device interrupts, where the kernel may steer \
             them to another before its rules see them"
                .into()
        })
    }
}
