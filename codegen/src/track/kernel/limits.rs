//! What is to be said of rules that ask for the kernel's connections.

use ipt2bpf_parser::diagnostic::Diagnostic;

use crate::module::Hook;
use crate::options::{ConnectionTable, Options};
use crate::semantic::{FamilyFilter, Rule};

/// A warning at the first rule of a hook that asks for the kernel's connections: how far they are those that
/// netfilter would see.
pub fn limits(filter: &FamilyFilter, hook: Hook, options: &Options) -> Option<Diagnostic> {
    if options.conntrack == ConnectionTable::Own {
        return None;
    }
    let rules = filter.chains.iter().flat_map(|chain| &chain.rules);
    let rule: &Rule = rules.into_iter().find(|rule| rule.asks_for_connections())?;
    let (message, help) = match hook {
        Hook::CgroupIngress => (
            "the kernel's connections are handed over by a program behind INPUT of this network namespace; \
             rules that ask for them drop packets that it has not seen: those of other namespaces, and \
             datagrams that the kernel divides for a socket",
            "`ipt2bpf attach` attaches it, from Linux 6.4 on; without it all that come here are dropped",
        ),
        Hook::CgroupEgress => (
            "the kernel's connections are seen behind netfilter's own rules, with the marks and states that \
             those gave them",
            "use it from Linux 6.2 on, where connection tracking is on: without it every packet is INVALID",
        ),
        Hook::Xdp => (
            "the kernel's connections are those before the frame, and before frames of the same burst; those \
             of TCP and UDP in zone 0 only are known, and TCP is judged as by the default of \
             net.netfilter.nf_conntrack_tcp_be_liberal and _loose",
            "use it from Linux 6.2 on, where connection tracking is on: without it no connection is found",
        ),
    };
    Some(Diagnostic::warning("kernel-conntrack", rule.span, message).with_help(help))
}
