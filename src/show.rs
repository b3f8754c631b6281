//! `show`: the rules that are in force, as iptables-save prints them, with what they have counted.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_runtime::{Attachment, Counter, Maps, Registry, counters};

use crate::cli::Place;
use crate::{attachments, census, output};

/// Prints the rules in force as iptables-save does
///
/// Without a place: those of the only place that has some. The chains' counters are live.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print the counters of rules, too, as iptables-save -c
    #[arg(short, long)]
    counters: bool,
    /// Print what nfacct matches have counted, as nfacct list, in place of the rules
    #[arg(long, conflicts_with = "counters")]
    accounts: bool,
    #[command(flatten)]
    selection: Selection,
}

/// Which programs are meant.
#[derive(Debug, Default, Args)]
pub struct Selection {
    #[command(flatten)]
    pub place: Place,
    /// A directory that `ipt2bpf load` has pinned to
    #[arg(long, value_name = "DIR", conflicts_with = "place")]
    pub pin: Option<PathBuf>,
}

/// The maps of one object, and where it is used.
pub struct InForce {
    pub place: String,
    /// The hooks; none are known of what is pinned.
    pub hooks: Vec<Hook>,
    pub maps: Maps,
}

impl Selection {
    /// Whether the user says nothing.
    pub fn is_empty(&self) -> bool {
        self.pin.is_none() && self.place.cgroup.is_none() && self.place.xdp.is_empty()
    }

    /// The objects in force. Programs of one object are one.
    ///
    /// # Errors
    /// When there is none, or more than one place and none is chosen.
    pub fn objects(&self) -> Result<Vec<InForce>> {
        self.objects_or(attachments::only)
    }

    /// The objects in force, all when no place is chosen.
    ///
    /// # Errors
    /// When there is none at a place that is chosen.
    pub fn all_objects(&self) -> Result<Vec<InForce>> {
        self.objects_or(|registry| Ok(registry.list()?))
    }

    fn objects_or(
        &self,
        others: impl Fn(&Registry) -> Result<Vec<Attachment>>,
    ) -> Result<Vec<InForce>> {
        if let Some(dir) = &self.pin {
            let place = dir.display().to_string();
            ensure!(dir.is_dir(), "{place} is no directory");
            let maps = Maps::open(dir)?;
            return Ok(vec![InForce {
                place,
                hooks: Vec::new(),
                maps,
            }]);
        }
        let registry = Registry::find()?;
        let chosen = self.place.cgroup.is_some() || !self.place.xdp.is_empty();
        let attachments = match chosen {
            true => attachments::at(&self.place, &registry)?,
            false => others(&registry)?,
        };
        let objects = census::objects(&attachments)?;
        let objects = objects.into_iter().map(|object| {
            let hooks: Vec<&str> = object.hooks.iter().map(|hook| hook.section()).collect();
            InForce {
                place: format!("{} {}", object.places.join(" "), hooks.join(" ")),
                hooks: object.hooks,
                maps: object.maps,
            }
        });
        Ok(objects.collect())
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let objects = arguments.selection.objects()?;
    let several = objects.len() > 1;
    let mut text = Vec::new();
    for InForce { place, maps, .. } in objects {
        if several {
            text.extend_from_slice(format!("# {place}\n").as_bytes());
        }
        let more = match arguments.accounts {
            true => accounts(&maps),
            false => save_text(&maps, arguments.counters),
        };
        text.extend(more.context(place)?);
    }
    output::print(&text)
}

/// The accounts of an object, a line each.
fn accounts(maps: &Maps) -> Result<Vec<u8>, ipt2bpf_runtime::Error> {
    let mut text = Vec::new();
    for (name, Counter { packets, bytes }) in maps.accounts()? {
        text.extend(format!("{{ pkts = {packets:020}, bytes = {bytes:020} }} = ").into_bytes());
        text.extend(name);
        text.extend(b";\n");
    }
    Ok(text)
}

/// The rules of an object with what they have counted.
fn save_text(maps: &Maps, with_counters: bool) -> Result<Vec<u8>, ipt2bpf_runtime::Error> {
    let (mut rulesets, layout) = census::rulesets(maps)?;
    counters::into_text(&mut rulesets, &layout, &maps.counters()?);
    Ok(output::save_text(&rulesets, with_counters))
}
