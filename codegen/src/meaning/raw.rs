//! What matches that read raw bytes see of a packet.

use ipt2bpf_parser::ruleset::Family;

use super::Context;
use crate::module::Hook;

/// Where the bytes are not those that netfilter's rules see: on its way to INPUT and FORWARD the kernel enters
/// this host's address and the time into IPv4 options that ask for it, and clears what follows the end of the
/// list (`__ip_options_compile`, net/ipv4/ip_options.c). At XDP that is still to come.
pub fn note(context: Context<'_>) -> Option<String> {
    (context.hook == Hook::Xdp && context.family == Family::V4).then(|| {
        "sees IP options as they arrive; before INPUT and FORWARD the kernel fills in record-route and timestamp \
         options and clears what follows the end of the list"
            .into()
    })
}
