//! Whose connections a rule asks for, and what the kernel's do not tell programs
//! ([`track::kernel`](crate::track::kernel)).

use ipt2bpf_parser::matches::conntrack::Conntrack;

use crate::asm::{Extern, KernelField};
use crate::field::Field;
use crate::meaning::{Context, Refusal, kernel_only};
use crate::module::Hook;
use crate::options::{ConnectionTable, KernelVersion};
use crate::semantic::{Step, Test};
use crate::track::resolve::protocol;
use crate::track::state;

/// The steps with which every match begins that looks at the packet's connection: where it is the kernel's, a
/// packet is dropped of which nobody tells.
///
/// # Errors
/// Refuses what would drop others than netfilter does.
pub fn ask(context: Context<'_>) -> Result<Vec<Step>, Refusal> {
    if context.options.conntrack == ConnectionTable::Own {
        return Ok(Vec::new());
    }
    kernel_only(context, "the kernel's connections")?;
    let names = context.options.device_names;
    let readable = match context.hook {
        Hook::Xdp => names.calls(Extern::XdpCtLookup) && names.reads(KernelField::TcpSeen),
        Hook::CgroupIngress | Hook::CgroupEgress => names.reads(KernelField::SkbConntrack),
    };
    let old = context.options.target_kernel;
    if !readable || old.is_some_and(|it| it < KernelVersion::KERNEL_CONTEXT) {
        return Err(refusal(
            "asks for connections of a kernel that has none, or does not let programs look them up",
        ));
    }
    let asked = [protocol::TCP, protocol::UDP].map(Some);
    let is_asked = context.hook != Hook::Xdp || asked.contains(&context.protocol);
    if !is_asked && !context.options.approximate {
        return Err(Refusal {
            code: CODE,
            reason: "asks for the kernel's connections of all protocols, which programs at XDP can look up \
                     for TCP and UDP only"
                .into(),
            help: "write -p tcp or -p udp, take --conntrack own, or drop the others with --approximate"
                .into(),
        });
    }
    let unknown = Test::equal(Field::CtState, state::UNKNOWN.into());
    Ok(vec![Step::demand(Test::Not(Box::new(unknown)))])
}

/// Refuses options of `-m conntrack` that ask for what a hook does not know of the kernel's connections.
pub(super) fn conntrack_options(options: &Conntrack, context: Context<'_>) -> Result<(), Refusal> {
    if context.options.conntrack == ConnectionTable::Own {
        return Ok(());
    }
    let states = options.states.as_ref().map(|it| it.value.value);
    let statuses = options.statuses.as_ref().map(|it| it.value.value);
    let tuples = [&options.original, &options.reply];
    let unseen = match context.hook {
        Hook::CgroupIngress => [(false, ""), (false, "")],
        Hook::CgroupEgress => [
            (
                statuses.is_some_and(|it| it.confirmed),
                "asks whether the connection is confirmed, which it always is when the program runs",
            ),
            (
                options.expiry.is_some(),
                "asks for the time that is left, which begins for a new connection before the program runs",
            ),
        ],
        Hook::Xdp => [
            (
                options.expiry.is_some(),
                "asks for the time that is left, which begins anew with this packet only later",
            ),
            (
                options.protocol.is_some() || tuples.iter().any(|it| ***it != Default::default()),
                "asks for the connection itself, which a program has only copied the state of",
            ),
        ],
    };
    let translated = states.is_some_and(|it| it.snat || it.dnat);
    let translated = (
        translated,
        "asks for SNAT or DNAT, which the kernel gives to a connection before or behind these rules",
    );
    match unseen
        .into_iter()
        .chain([translated])
        .find(|(asked, _)| *asked)
    {
        Some((_, reason)) => Err(refusal(reason)),
        None => Ok(()),
    }
}

/// Refuses what only our connections have or take.
///
/// # Errors
/// Where the kernel's are asked for.
pub fn own_only(context: Context<'_>, reason: &str) -> Result<(), Refusal> {
    match context.options.conntrack {
        ConnectionTable::Own => Ok(()),
        ConnectionTable::Kernel => Err(refusal(reason)),
    }
}

const CODE: &str = "kernel-conntrack";

fn refusal(reason: &str) -> Refusal {
    Refusal {
        code: CODE,
        reason: reason.into(),
        help: "leave this rule in iptables, or take --conntrack own".into(),
    }
}
