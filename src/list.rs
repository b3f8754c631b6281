//! `list`: what is attached, a line for each program.

use anyhow::Result;
use ipt2bpf_runtime::Registry;

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
    }
    output::print(text.as_bytes())
}
