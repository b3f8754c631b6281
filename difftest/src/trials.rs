//! A whole ruleset on trial: read, stripped of nat, and tried in every scene at every hook that it
//! can be translated for.

use anyhow::{Context, Result};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_parser::Counts;
use ipt2bpf_parser::ruleset::{Action, Family, Ruleset, TableKind};

use crate::compare::Report;
use crate::constants::Constants;
use crate::frame::Frame;
use crate::packets::Packets;
use crate::scene::Scene;
use crate::subjects;
use crate::{netfilter, netns};

/// Matches that switch connection tracking on where a rule has them (`nf_ct_netns_get`).
const TRACKING_MATCHES: [&str; 8] = [
    "cluster",
    "connbytes",
    "connlabel",
    "connlimit",
    "connmark",
    "conntrack",
    "helper",
    "state",
];
/// Targets that do.
const TRACKING_TARGETS: [&str; 4] = ["CONNMARK", "CONNSECMARK", "CT", "SYNPROXY"];

/// What became of a ruleset.
pub enum Outcome {
    /// One report for each scene.
    Tried(Vec<Report>),
    /// It is not for this test, for this reason: it cannot be read, or not translated exactly, or
    /// iptables does not load it here.
    Skipped(String),
}

/// Tries a save text on this many frames drawn from a seed.
///
/// # Errors
/// When the host cannot be made, a program does not load, or a subject cannot be asked.
pub fn run(name: &str, family: Family, text: &str, frames: usize, seed: u64) -> Result<Outcome> {
    let mut ruleset = match subjects::ruleset(family, text) {
        Ok(ruleset) => ruleset,
        Err(reason) => return Ok(Outcome::Skipped(format!("{reason:#}"))),
    };
    // Translated addresses are the system's affair: they come translated to our hooks.
    ruleset.tables.retain(|table| table.kind != TableKind::Nat);
    if ruleset.tables.is_empty() {
        return Ok(Outcome::Skipped("only nat".to_owned()));
    }
    if tracks_connections(&ruleset) {
        let reason = "a rule switches connection tracking on, which reassembles fragments";
        return Ok(Outcome::Skipped(reason.to_owned()));
    }
    for hook in [Hook::CgroupIngress, Hook::Xdp] {
        if let Err(reason) = subjects::reference::Reference::new(&ruleset, hook) {
            return Ok(Outcome::Skipped(format!("{reason:#}")));
        }
    }
    let text = String::from_utf8_lossy(&ruleset.print(Counts::Chains)).into_owned();
    if let Err(reason) = netns::isolated(|| netfilter::load(family, &text)) {
        return Ok(Outcome::Skipped(format!("{reason:#}")));
    }
    let constants = Constants::of(&ruleset);
    let frames: Vec<Frame> = Packets::new(&constants, seed).take(frames).collect();
    let mut reports = Vec::new();
    for scene in Scene::ALL {
        let hooks: &[Hook] = match scene {
            Scene::EndHost => &[Hook::CgroupIngress, Hook::Xdp],
            Scene::Router | Scene::Mirror => &[Hook::Xdp],
        };
        let report = scene
            .run(name, &text, &constants, &frames, |text| {
                subjects::all(&subjects::ruleset(family, text)?, hooks)
            })
            .with_context(|| format!("{name} ({scene:?})"))?;
        reports.push(report);
    }
    Ok(Outcome::Tried(reports))
}

/// Whether a rule makes the kernel track connections. A rule that no packet can reach does so too.
fn tracks_connections(ruleset: &Ruleset) -> bool {
    let chains = ruleset.tables.iter().flat_map(|table| &table.chains);
    let mut rules = chains.flat_map(|chain| &chain.rules);
    rules.any(|rule| {
        let mut matches = rule.matches.iter();
        let target = match &rule.action {
            Action::Target(target) => target.value.name(),
            _ => "",
        };
        matches.any(|found| TRACKING_MATCHES.contains(&found.value.name()))
            || TRACKING_TARGETS.contains(&target)
    })
}
