//! `list`: what is attached, a line for each program, and below it who else runs there.

use anyhow::Result;
use ipt2bpf_runtime::{Attachment, Registry};

use crate::output;

pub fn run() -> Result<()> {
    let attachments = Registry::find()?.list()?;
    let places: Vec<String> = attachments
        .iter()
        .map(|attachment| attachment.site.to_string())
        .collect();
    let width = places
        .iter()
        .map(|place| place.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (attachment, place) in attachments.iter().zip(places) {
        let hook = attachment.hook.section();
        let gone = if attachment.alive {
            ""
        } else {
            "  (its place is gone)"
        };
        text += &format!(
            "{place:width$}  {hook:18}  program {}{gone}\n",
            attachment.program_id
        );
        text += &order(attachment)?;
    }
    output::print(text.as_bytes())
}

/// The programs in effect at a cgroup in their order, when there are more than this one.
fn order(attachment: &Attachment) -> Result<String> {
    let neighbours = attachment.neighbours()?;
    if neighbours.len() < 2 {
        return Ok(String::new());
    }
    let mut text = String::new();
    for (number, neighbour) in (1..).zip(neighbours) {
        let name = match neighbour.name.as_str() {
            "" => "(no name)",
            name => name,
        };
        let cgroup = match &neighbour.cgroup {
            Some(path) => path.display().to_string(),
            None => "a cgroup that is not visible from here".to_owned(),
        };
        let this = match neighbour.id == attachment.program_id {
            true => "  (this one)",
            false => "",
        };
        text += &format!(
            "    {number}. program {} {name} of {cgroup}{this}\n",
            neighbour.id
        );
    }
    Ok(text)
}
