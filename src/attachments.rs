//! Choosing among what is attached.

use anyhow::{Result, bail};
use ipt2bpf_runtime::{Attachment, Registry, Site};

use crate::cli::Place;

/// What is attached to a place.
///
/// # Errors
/// When nothing is.
pub fn at(place: &Place, registry: &Registry) -> Result<Vec<Attachment>> {
    let mut found = Vec::new();
    if let Some(cgroup) = &place.cgroup {
        found = registry.at_cgroup(cgroup)?;
        if found.is_empty() {
            bail!("ipt2bpf has attached nothing to {}", cgroup.display());
        }
    }
    for interface in &place.xdp {
        let here = registry.at_interface(interface)?;
        if here.is_empty() {
            bail!("ipt2bpf has attached nothing to {interface}");
        }
        found.extend(here);
    }
    Ok(found)
}

/// What is attached to the only place that has something.
///
/// # Errors
/// When there is none, or more than one.
pub fn only(registry: &Registry) -> Result<Vec<Attachment>> {
    let all = registry.list()?;
    let Some(first) = all.first() else {
        bail!("ipt2bpf has attached nothing");
    };
    if all.iter().any(|other| other.site != first.site) {
        let mut places: Vec<String> = all
            .iter()
            .map(|attachment| option(&attachment.site))
            .collect();
        places.dedup();
        bail!(
            "there are several places; choose one of: {}",
            places.join(", ")
        );
    }
    Ok(all)
}

/// A place as it is chosen on the command line.
pub fn option(site: &Site) -> String {
    match site {
        Site::Cgroup { .. } => format!("--cgroup {site}"),
        Site::Interface { .. } => format!("--xdp {site}"),
    }
}
