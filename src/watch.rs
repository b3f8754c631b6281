//! `watch`: what is attached follows the interfaces of the machine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_runtime::{
    Attachment, Loaded, Maps, NetworkChanges, Registry, Site, XdpMode, XdpWish, interfaces,
};

use crate::messages::Reporter;

/// Stays, and tells programs of interfaces and addresses that come, go and get other names
///
/// An interface that comes back under its name gets the program again that it had when this began, or that
/// was attached to it since. Names that programs read from the kernel themselves need no telling. What is
/// attached is followed in this network namespace; an error that concerns one place is said and the others
/// are followed on.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A directory that `ipt2bpf load` has pinned to, to be told, too; may be repeated
    #[arg(long, value_name = "DIR")]
    pin: Vec<PathBuf>,
}

/// A program at an interface, to be attached again.
struct Kept {
    index: u32,
    /// The id of the program.
    program: u32,
    loaded: Loaded,
}

pub fn run(arguments: &Arguments, reporter: &Reporter) -> Result<()> {
    let registry = Registry::find()?;
    // What changes while this looks is told then.
    let changes = NetworkChanges::listen()?;
    let mut kept = BTreeMap::new();
    loop {
        follow(&registry, arguments, &mut kept, reporter)?;
        changes.wait()?;
    }
}

/// Makes programs know what there is, and attaches them where they are missing.
fn follow(
    registry: &Registry,
    arguments: &Arguments,
    kept: &mut BTreeMap<String, Kept>,
    reporter: &Reporter,
) -> Result<()> {
    let _turn = registry.turn()?;
    let attachments = registry.list()?;
    keep(registry, &attachments, kept)?;
    let there = interfaces()?;
    for (name, kept) in kept.iter_mut() {
        let back = there
            .iter()
            .find(|it| it.name == *name && it.index != kept.index);
        if let Some(interface) = back {
            match attach_again(registry, &kept.loaded, name) {
                Ok(_) => {
                    kept.index = interface.index;
                    reporter.note(&format!("{name} is back and has its program again"));
                }
                Err(error) => reporter.note(&format!("{name} is back without program: {error}")),
            }
        }
    }
    // An interface that went and did not come back is kept; one that has another name is known by that.
    let tell = |what: &str, maps: Result<Maps, ipt2bpf_runtime::Error>| {
        if let Err(error) = maps.and_then(|maps| maps.fill()) {
            reporter.note(&format!("{what} was not told: {error}"));
        }
    };
    for attachment in registry.list()?.iter().filter(|it| it.alive) {
        tell(&attachment.site.to_string(), attachment.maps());
    }
    for dir in &arguments.pin {
        tell(&dir.display().to_string(), Maps::open(dir));
    }
    Ok(())
}

/// Keeps the programs of interfaces, by the names that they have now.
fn keep(
    registry: &Registry,
    attachments: &[Attachment],
    kept: &mut BTreeMap<String, Kept>,
) -> Result<()> {
    let there = interfaces()?;
    let running = attachments.iter().filter_map(|it| match &it.site {
        Site::Interface {
            name: Some(name),
            index,
            ..
        } if it.alive && it.hook == Hook::Xdp => Some((name, *index, it)),
        _ => None,
    });
    let running: Vec<_> = running.collect();
    // What is there without a program has another name, or somebody has detached its program.
    kept.retain(|name, it| {
        let is_there = there.iter().any(|interface| interface.index == it.index);
        let runs =
            |&(other, index, _): &(&String, u32, &Attachment)| other == name && index == it.index;
        !is_there || running.iter().any(runs)
    });
    for (name, index, attachment) in running {
        let program = attachment.program_id;
        let is_known = kept
            .get(name)
            .is_some_and(|it| (it.index, it.program) == (index, program));
        if !is_known {
            let loaded = registry.running_at(&attachment.site)?;
            kept.insert(
                name.clone(),
                Kept {
                    index,
                    program,
                    loaded,
                },
            );
        }
    }
    Ok(())
}

fn attach_again(
    registry: &Registry,
    loaded: &Loaded,
    name: &str,
) -> Result<Vec<XdpMode>, ipt2bpf_runtime::Error> {
    let wish = XdpWish::Auto;
    match loaded.hooks().any(|hook| hook == Hook::CgroupEgress) {
        true => registry.attach_xdp_with_companion(loaded, &[name], wish),
        false => registry.attach_xdp(loaded, &[name], wish),
    }
}
