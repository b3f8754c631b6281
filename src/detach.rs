//! `detach`: packets pass again.

use anyhow::Result;
use clap::Args;
use ipt2bpf_runtime::Registry;

use crate::attachments;
use crate::cli::Place;

/// Detaches what ipt2bpf has attached to a place
#[derive(Debug, Args)]
#[command(mut_group("place", |group| group.required(true)))]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let registry = Registry::find()?;
    for attachment in attachments::at(&arguments.place, &registry)? {
        registry.detach(&attachment)?;
    }
    Ok(())
}
