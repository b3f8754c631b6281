//! `attach`: programs into the kernel and to where packets pass.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_runtime::{Attachment, Loaded, Maps, Registry, XdpWish};

use crate::cli::{Place, XdpModeName};
use crate::failure::Usage;
use crate::messages::Reporter;
use crate::running;
use crate::sets::Snapshot;

/// Loads programs and attaches them, in the place of what ipt2bpf attached there before
///
/// A replacement is atomic: each packet meets the old rules or the new ones. What is attached stays
/// until `ipt2bpf detach` or the next boot. As when iptables reloads rules, the lists of -m recent, the
/// tables of -m hashlimit and the connections seen so far are kept; limits and quotas begin anew. Where
/// rules ask for connections, those that this network namespace has already are known from the start.
#[derive(Debug, Args)]
#[command(mut_group("place", |group| group.required(true)))]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Where an XDP program runs; one that replaces another runs where that did, and where libxdp's dispatcher runs,
    /// that calls it
    #[arg(
        long,
        value_enum,
        value_name = "MODE",
        default_value = "auto",
        conflicts_with = "cgroup"
    )]
    xdp_mode: XdpModeName,
    #[command(flatten)]
    running: running::Arguments,
    /// Stay, look at the kernel's sets every so many seconds, and attach anew when they have changed
    ///
    /// Counters go on. An error ends this, and what is attached stays.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "10", conflicts_with_all = ["ipset", "live_sets"])]
    follow: Option<u64>,
}

pub fn run(arguments: &Arguments, reporter: &Reporter) -> Result<()> {
    let Arguments {
        place,
        xdp_mode,
        running,
        follow,
    } = arguments;
    let wish = XdpWish::from(*xdp_mode);
    if follow.is_some() && running.reads_standard_input() {
        let message = "--follow reads the rules again, so they must be in files";
        return Err(Usage(message.into()).into());
    }
    let hooks = hooks(place, running)?;
    // Before the work of loading, so that a missing BPF file system is told at once.
    let registry = Registry::find()?;
    let seen = Snapshot::of_kernel_if(follow.is_some())?;
    let load = || {
        let replaced = replaced(place, &hooks, &registry)?;
        running.load(hooks.clone(), &replaced, reporter)
    };
    let turn = registry.turn()?;
    let loaded = load()?;
    if follow.is_some() && !loaded.maps().live_sets()?.is_empty() {
        let message =
            "--follow copies the kernel's sets, and these rules change sets of their own (-j SET)";
        return Err(Usage(message.into()).into());
    }
    loaded.maps().seed_connections()?;
    put(place, wish, &registry, &loaded, reporter)?;
    drop(turn);
    match (follow, seen) {
        (Some(seconds), Some(seen)) => {
            let period = Duration::from_secs((*seconds).max(1));
            let replace = |before: &Loaded| {
                let _turn = registry.turn()?;
                let next = load()?;
                next.maps().seed_counters(&before.maps().counters()?)?;
                put(place, wish, &registry, &next, reporter)?;
                Ok(next)
            };
            keep_up(period, seen, loaded, replace)
        }
        _ => Ok(()),
    }
}

/// The hooks of a place that the user wants, all when none is named.
///
/// # Errors
/// [`Usage`] for those of other places.
pub fn hooks(place: &Place, running: &running::Arguments) -> Result<Vec<Hook>> {
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
    Ok(hooks)
}

/// Replaces what is loaded whenever the kernel's sets have changed; ends with an error only.
fn keep_up(
    period: Duration,
    mut seen: Snapshot,
    mut loaded: Loaded,
    replace: impl Fn(&Loaded) -> Result<Loaded>,
) -> Result<()> {
    loop {
        sleep(period);
        let now = Snapshot::of_kernel()?;
        if now.differs_from(&seen) {
            loaded = replace(&loaded)?;
            seen = now;
        }
    }
}

/// Attaches to a place.
pub fn put(
    place: &Place,
    wish: XdpWish,
    registry: &Registry,
    loaded: &Loaded,
    reporter: &Reporter,
) -> Result<()> {
    if let Some(place) = place.chosen() {
        for note in place.put(registry, loaded, wish)? {
            reporter.note(&note);
        }
    }
    Ok(())
}

/// The maps of the programs that are replaced at these hooks of a place.
pub fn replaced(place: &Place, hooks: &[Hook], registry: &Registry) -> Result<Vec<Maps>> {
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
