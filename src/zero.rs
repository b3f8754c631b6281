//! `zero`: counting starts again.

use anyhow::Result;
use clap::Args;

use crate::show::Selection;

/// Sets the counters of rules and policies to zero
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    for object in arguments.selection.objects()? {
        object.maps.zero_counters()?;
    }
    Ok(())
}
