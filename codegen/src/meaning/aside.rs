//! Targets whose work no rule can notice: the packet goes on as it is, and what they would do beside its
//! way is left undone.

use ipt2bpf_parser::targets::checksum::Checksum;
use ipt2bpf_parser::targets::connsecmark::Connsecmark;
use ipt2bpf_parser::targets::idletimer::Idletimer;
use ipt2bpf_parser::targets::led::Led;
use ipt2bpf_parser::targets::rateest::Rateest;
use ipt2bpf_parser::targets::secmark::Secmark;
use ipt2bpf_parser::targets::tee::Tee;

use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::semantic::Action;

/// Gives targets the meaning of going on, with what is to be said about them.
macro_rules! aside {
    ($($target:ident: $note:literal,)*) => {
        $(impl TargetMeaning for $target {
            fn action(&self, _: Context<'_>) -> Result<TargetAction, Refusal> {
                Ok(TargetAction {
                    effects: Vec::new(),
                    action: Action::Continue,
                    note: Some($note.into()),
                })
            }
        })*
    };
}

aside! {
    Checksum: "the checksum is left as it is",
    Connsecmark: "no security mark goes between packets and connections",
    Idletimer: "the timer is not started and nobody is told when it runs out",
    Led: "the LED is left alone",
    Rateest: "no rate is estimated",
    Secmark: "the packet gets no security mark",
    Tee: "no copy of the packet is sent",
}
