//! `realm_mt` of net/netfilter/xt_realm.c.

use ipt2bpf_parser::matches::realm::Realm;

use super::{Context, MatchMeaning, Refusal, kernel_only, require};
use crate::field::Field;
use crate::module::Hook;
use crate::semantic::{Step, Test};

impl MatchMeaning for Realm {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        if context.hook == Hook::Xdp {
            return Err(Refusal {
                code: "unseen",
                reason:
                    "asks for the realm of the packet's route, which is not known before routing"
                        .into(),
                help: "name the networks of the realm with `-s` or `-d`, or use cgroup_skb".into(),
            });
        }
        kernel_only(context, "the route of a packet")?;
        Ok(vec![require(&self.0, |realm| Test::Masked {
            field: Field::Realm,
            mask: realm.mask.into(),
            value: realm.value.into(),
        })])
    }
}
