//! REJECT: the packet is dropped. The answer to the sender is not part of the verdict.

use ipt2bpf_parser::targets::reject::Reject;

use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::module::Hook;
use crate::semantic::{Action, Verdict};

impl TargetMeaning for Reject {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        let note = match context.hook {
            Hook::CgroupIngress | Hook::Xdp => {
                "the packet is dropped and its sender gets no answer"
            }
            Hook::CgroupEgress => "the packet is dropped; the sending call fails with EPERM",
        };
        Ok(TargetAction {
            effects: Vec::new(),
            action: Action::Verdict(Verdict::Drop),
            note: Some(note.into()),
        })
    }
}
