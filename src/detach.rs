//! `detach`: packets pass again.

use anyhow::Result;
use clap::Args;
use ipt2bpf_runtime::{Attachment, Registry};

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
    let _turn = registry.turn()?;
    registry.sweep()?;
    let mut attachments = attachments::at(&arguments.place, &registry)?;
    // Who tracks for a program goes behind it.
    attachments.sort_by_key(Attachment::is_companion);
    for attachment in attachments {
        registry.detach(&attachment)?;
    }
    Ok(())
}
