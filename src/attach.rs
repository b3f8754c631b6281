//! `attach`: programs into the kernel and to where packets pass.

use anyhow::Result;
use clap::Args;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_runtime::{Attachment, Maps, Registry, XdpMode};

use crate::cli::Place;
use crate::failure::Usage;
use crate::messages::Reporter;
use crate::running;

/// Loads programs and attaches them, in the place of what ipt2bpf attached there before
///
/// A replacement is atomic: each packet meets the old rules or the new ones. What is attached stays
/// until `ipt2bpf detach` or the next boot. As when iptables reloads rules, the lists of -m recent, the
/// tables of -m hashlimit and the connections seen so far are kept; limits and quotas begin anew.
#[derive(Debug, Args)]
#[command(mut_group("place", |group| group.required(true)))]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    running: running::Arguments,
}

pub fn run(arguments: &Arguments, reporter: &Reporter) -> Result<()> {
    let Arguments { place, running } = arguments;
    let possible: &[Hook] = match place.cgroup {
        Some(_) => &[Hook::CgroupIngress, Hook::CgroupEgress],
        None => &[Hook::Xdp],
    };
    let mut hooks = running.hooks.named();
    if let Some(hook) = hooks.iter().find(|hook| !possible.contains(hook)) {
        let place = if place.cgroup.is_some() {
            "a cgroup"
        } else {
            "an interface"
        };
        return Err(Usage(format!("--hook {hook} is no hook of {place}")).into());
    }
    if hooks.is_empty() {
        hooks = possible.to_vec();
    }
    // Before the work of loading, so that a missing BPF file system is told at once.
    let registry = Registry::find()?;
    let replaced = replaced(place, &hooks, &registry)?;
    let loaded = running.load(hooks, &replaced, reporter)?;
    if let Some(cgroup) = &place.cgroup {
        registry.attach_cgroup(&loaded, cgroup)?;
    } else {
        let interfaces: Vec<&str> = place.xdp.iter().map(String::as_str).collect();
        let modes = registry.attach_xdp(&loaded, &interfaces)?;
        for (interface, mode) in interfaces.iter().zip(modes) {
            if let XdpMode::Generic { reason } = mode {
                reporter.note(&format!(
                    "the driver of {interface} runs no XDP programs ({reason}); the program runs in the \
                     stack, where it costs more"
                ));
            }
        }
    }
    Ok(())
}

/// The maps of the programs that are replaced at these hooks of a place.
fn replaced(place: &Place, hooks: &[Hook], registry: &Registry) -> Result<Vec<Maps>> {
    let mut attachments = Vec::new();
    if let Some(cgroup) = &place.cgroup {
        attachments = registry.at_cgroup(cgroup)?;
    }
    for interface in &place.xdp {
        attachments.extend(registry.at_interface(interface)?);
    }
    let running = attachments
        .iter()
        .filter(|attachment| attachment.alive && hooks.contains(&attachment.hook));
    Ok(running.map(Attachment::maps).collect::<Result<_, _>>()?)
}
