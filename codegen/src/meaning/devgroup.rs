//! `devgroup_mt` of net/netfilter/xt_devgroup.c. Bits of the wanted group outside the mask do not count.

use ipt2bpf_parser::matches::Masked;
use ipt2bpf_parser::matches::devgroup::Devgroup;

use super::{Context, MatchMeaning, Refusal, kernel_only, require};
use crate::field::Field;
use crate::module::Hook;
use crate::semantic::{Step, Test};

impl MatchMeaning for Devgroup {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let (known, unknown) = match context.hook {
            Hook::CgroupIngress | Hook::Xdp => (&self.source, &self.destination),
            Hook::CgroupEgress => (&self.destination, &self.source),
        };
        if unknown.is_some() {
            return Err(match context.hook {
                Hook::CgroupIngress | Hook::Xdp => refusal(
                    "`--dst-group`, and the interface that a packet will leave by is not known",
                    "name that interface with `-o` instead",
                ),
                Hook::CgroupEgress => refusal(
                    "`--src-group`, and packets of this host come in by no interface",
                    "ask for it in chains of received packets only",
                ),
            });
        }
        kernel_only(context, "the group of an interface")?;
        let steps = known.iter().map(|group| require(group, group_test));
        Ok(steps.collect())
    }
}

fn group_test(group: &Masked) -> Test {
    Test::Masked {
        field: Field::DeviceGroup,
        mask: group.mask.into(),
        value: (group.value & group.mask).into(),
    }
}

fn refusal(asks: &str, help: &str) -> Refusal {
    Refusal {
        code: "unseen",
        reason: format!("asks for {asks}"),
        help: help.into(),
    }
}
