//! `mac_mt` of net/netfilter/xt_mac.c and `eui64_mt6` of net/ipv6/netfilter/ip6t_eui64.c.

use ipt2bpf_parser::matches::eui64::Eui64;
use ipt2bpf_parser::matches::mac::{Mac, MacAddress};

use super::{Context, MatchMeaning, Refusal, kernel_only, require};
use crate::field::{Field, link};
use crate::module::Hook;
use crate::semantic::{Step, Test};

impl MatchMeaning for Mac {
    /// Without an Ethernet header the rule does not match, inverted or not.
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        seen(context)?;
        Ok(vec![
            Step::require(has(link::MAC_HEADER | link::ETHERNET)),
            require(&self.source, |&MacAddress([a, b, c, d, e, f])| {
                Test::Masked {
                    field: Field::SourceMac,
                    mask: Field::SourceMac.max(),
                    value: u64::from_be_bytes([0, 0, a, b, c, d, e, f]).into(),
                }
            }),
        ])
    }
}

impl MatchMeaning for Eui64 {
    /// Without an Ethernet header the packet is dropped. Older kernels did so with later fragments
    /// only, and compared whatever lay in its place.
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        seen(context)?;
        Ok(vec![
            Step::demand(has(link::MAC_HEADER)),
            Step::require(Test::equal(Field::SourceIsEui64, 1)),
        ])
    }
}

fn has(bits: u8) -> Test {
    Test::Masked {
        field: Field::Link,
        mask: bits.into(),
        value: bits.into(),
    }
}

/// Whether the Ethernet header can be seen.
fn seen(context: Context<'_>) -> Result<(), Refusal> {
    match context.hook {
        Hook::Xdp => Ok(()),
        Hook::CgroupIngress => kernel_only(context, "where the Ethernet header lies"),
        Hook::CgroupEgress => Err(Refusal {
            code: "unseen",
            reason: "asks for the Ethernet header, which a packet of this host does not have yet"
                .into(),
            help: "ask for it in chains of received packets only".into(),
        }),
    }
}
