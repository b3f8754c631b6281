//! A whole ruleset on trial: read, stripped of nat, and tried in every scene whose hooks it can be
//! translated for.

use std::borrow::Cow;

use anyhow::{Context, Result};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_parser::Counts;
use ipt2bpf_parser::ruleset::{Action, Family, Policy, Ruleset, TableKind};

use crate::compare::Report;
use crate::constants::Constants;
use crate::frame::Frame;
use crate::ipsets::Ipsets;
use crate::packets::Packets;
use crate::reach;
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

/// Matches that ask the clock or draw lots.
const CLOCK_OR_CHANCE: [&str; 5] = ["hashlimit", "limit", "recent", "statistic", "time"];

/// What became of a ruleset, or of a ruleset in a scene.
pub enum Outcome {
    /// What the trial showed.
    Tried(Scene, Report),
    /// It is not for this test, for this reason: it cannot be read, or not translated exactly, or it has
    /// nothing to compare, or iptables does not load it here.
    Skipped(String),
}

/// What becomes of rules that iptables does not take where they stand, or that have no exact meaning at a
/// scene's hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Their ruleset is skipped.
    Skipped,
    /// They are left out, and so are the chains that the scene's packets do not meet.
    LeftOut,
}

/// How a text is tried.
#[derive(Clone, Copy, Debug)]
pub struct Manner<'a> {
    /// What becomes of rules that are refused.
    pub refused: Refused,
    /// Where.
    pub scenes: &'a [Scene],
}

impl Outcome {
    /// Why there was no trial, if there was none.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Outcome::Tried(..) => None,
            Outcome::Skipped(reason) => Some(reason),
        }
    }

    /// What the trial showed, if there was one.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Outcome::Tried(_, report) => Some(report),
            Outcome::Skipped(_) => None,
        }
    }
}

/// Tries a save text, whose rules may ask for sets, on this many frames for each scene, drawn from a seed. There is one outcome for each
/// scene, or one for all when the text is for none.
///
/// # Errors
/// When the host cannot be made, a program does not load, or a subject cannot be asked.
pub fn run(
    name: &str,
    family: Family,
    text: &str,
    sets: &Ipsets,
    frames: usize,
    seed: u64,
) -> Result<Vec<Outcome>> {
    let manner = Manner {
        refused: Refused::Skipped,
        scenes: &Scene::ALL,
    };
    run_in(manner, name, family, text, sets, frames, seed)
}

/// The same in some scenes, with a choice of what becomes of rules that are refused.
///
/// # Errors
/// When [`run`] has them.
pub fn run_in(
    manner: Manner<'_>,
    name: &str,
    family: Family,
    text: &str,
    sets: &Ipsets,
    frames: usize,
    seed: u64,
) -> Result<Vec<Outcome>> {
    let Manner { refused, scenes } = manner;
    let skipped = |reason: String| Ok(vec![Outcome::Skipped(format!("{name}: {reason}"))]);
    let read = match refused {
        Refused::Skipped => subjects::ruleset(family, text),
        Refused::LeftOut => subjects::without_refused(family, text, &[])
            .and_then(|text| subjects::ruleset(family, &text)),
    };
    let mut ruleset = match read {
        Ok(ruleset) => ruleset,
        Err(reason) => return skipped(format!("{reason:#}")),
    };
    // Translated addresses are the system's affair: they come translated to our hooks.
    ruleset.tables.retain(|table| table.kind != TableKind::Nat);
    if ruleset.tables.is_empty() {
        return skipped("only nat".to_owned());
    }
    let tried = scenes
        .iter()
        .map(|&scene| run_scene(scene, refused, name, &ruleset, sets, frames, seed));
    tried.collect()
}

fn run_scene(
    scene: Scene,
    refused: Refused,
    name: &str,
    ruleset: &Ruleset,
    sets: &Ipsets,
    frames: usize,
    seed: u64,
) -> Result<Outcome> {
    let name = format!("{name} ({scene:?})");
    let skipped = |reason: &str| Ok(Outcome::Skipped(format!("{name}: {reason}")));
    let mut ruleset = scene.stage(ruleset);
    let met = reach::within(&ruleset, scene.chains());
    if accepts_everything(&met) {
        return skipped("no chain that its packets meet has a rule or drops");
    }
    if tracks_connections(&met) {
        return skipped("a rule switches connection tracking on, which reassembles fragments");
    }
    if asks_clock_or_chance(&met) {
        return skipped("a rule depends on the time or on chance");
    }
    if refused == Refused::LeftOut || tracks_connections(&ruleset) {
        ruleset = Cow::Owned(met);
    }
    let mut text = String::from_utf8_lossy(&ruleset.print(Counts::Chains)).into_owned();
    if refused == Refused::LeftOut {
        text = match subjects::without_refused(ruleset.family, &text, scene.hooks()) {
            Ok(text) => text,
            Err(reason) => return skipped(&format!("{reason:#}")),
        };
    }
    let ruleset = match loadable(ruleset.family, &text, sets, scene.hooks()) {
        Ok(ruleset) => ruleset,
        Err(reason) => return skipped(&format!("{reason:#}")),
    };
    let constants = Constants::with_sets(&ruleset, &sets.sets, scene.direction());
    let frames: Vec<Frame> = Packets::new(&constants, seed).take(frames).collect();
    let report = scene
        .run(&name, &text, &constants, &frames, || {
            sets.restore()?;
            subjects::with_sets(&ruleset, scene.hooks(), &sets.known)
        })
        .context(name)?;
    Ok(Outcome::Tried(scene, report))
}

/// What a text says to iptables: `-p all`, which means something in IPv6, stands in none. An error when
/// that has no meaning at some hook, or iptables does not load it here.
///
/// # Errors
/// With the reason.
pub fn loadable(family: Family, text: &str, sets: &Ipsets, hooks: &[Hook]) -> Result<Ruleset> {
    let ruleset = subjects::ruleset(family, text)?;
    for &hook in hooks {
        subjects::reference::Reference::new(&ruleset, hook, &sets.known)?;
    }
    netns::isolated(|| {
        sets.restore()?;
        netfilter::load(family, text)
    })?;
    Ok(ruleset)
}

/// Whether all chains are empty and accept.
fn accepts_everything(ruleset: &Ruleset) -> bool {
    let mut chains = ruleset.tables.iter().flat_map(|table| &table.chains);
    chains.all(|chain| {
        let policy = chain.builtin.map(|builtin| builtin.policy);
        chain.rules.is_empty() && policy != Some(Policy::Drop)
    })
}

/// Whether a rule's answer depends on when it is asked, or on chance: sequences compare such rules.
fn asks_clock_or_chance(ruleset: &Ruleset) -> bool {
    let chains = ruleset.tables.iter().flat_map(|table| &table.chains);
    let rules = chains.flat_map(|chain| &chain.rules);
    let mut matches = rules.flat_map(|rule| &rule.matches);
    matches.any(|found| CLOCK_OR_CHANCE.contains(&found.value.name()))
}

/// Whether a rule makes the kernel track connections. A rule that no packet can reach does so too.
pub fn tracks_connections(ruleset: &Ruleset) -> bool {
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
