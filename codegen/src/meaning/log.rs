//! LOG, NFLOG and AUDIT: the packet is told of and goes on.

use ipt2bpf_parser::targets::audit::Audit;
use ipt2bpf_parser::targets::log::Log;
use ipt2bpf_parser::targets::nflog::Nflog;

use super::tell::{MOST_BYTES, Tell};
use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::log::record::{LINE_BYTES, Occasion};
use crate::module::Hook;
use crate::semantic::Action;

impl TargetMeaning for Log {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        let is_told = context.options.device_names.reads_kernel();
        // What arrives has no socket.
        let sends = context.hook == Hook::CgroupEgress;
        let owner = match self.uid && sends && !is_told {
            true => "; UID and GID are left out, which only the kernel's own structures tell",
            false => "",
        };
        let note = format!("`ipt2bpf log` prints its lines, not the kernel{owner}");
        Ok(tells(
            context,
            LINE_BYTES,
            self.uid && sends && is_told,
            note,
        ))
    }
}

impl TargetMeaning for Nflog {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        let bytes = self.size.unwrap_or(MOST_BYTES).min(MOST_BYTES);
        let note = "`ipt2bpf log` prints or saves its packets; listeners to the netlink group hear nothing";
        Ok(tells(context, bytes, false, note.into()))
    }
}

impl TargetMeaning for Audit {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        let note = "`ipt2bpf log` prints its records; the audit daemon hears nothing";
        Ok(tells(context, LINE_BYTES, false, note.into()))
    }
}

fn tells(context: Context<'_>, bytes: u32, owner: bool, note: String) -> TargetAction {
    let tell = Tell {
        occasion: Occasion::Target,
        number: context.place.rule.0,
        bytes,
        owner,
    };
    TargetAction {
        effects: vec![tell.into()],
        action: Action::Continue,
        note: Some(note),
    }
}
