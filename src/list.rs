//! `list`: what is attached, a line for each program, and below it who else runs there.

use anyhow::Result;
use ipt2bpf_runtime::{Attachment, Registry, Site};

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

/// The programs in effect at a cgroup, or called at an interface, in their order, when there are more than this one.
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
        let whose = match (&attachment.site, &neighbour.cgroup) {
            (Site::Interface { .. }, _) => String::new(),
            (_, Some(path)) => format!(" of {}", path.display()),
            (_, None) => " of a cgroup that is not visible from here".to_owned(),
        };
        let this = match neighbour.id == attachment.program_id {
            true => "  (this one)",
            false => "",
        };
        text += &format!(
            "    {number}. program {} {name}{whose}{this}\n",
            neighbour.id
        );
    }
    Ok(text)
}
