//! `replace`: other rules in the place of those that are attached, which count on.

use anyhow::Result;
use clap::Args;
use ipt2bpf_runtime::{Counter, Maps, Registry, XdpWish};

use crate::attach::{hooks, put, replaced};
use crate::cli::Place;
use crate::messages::Reporter;
use crate::{attachments, census, running};

/// Replaces attached rules, and goes on counting
///
/// As `attach` where something is attached already, but rules and policies that stay in their chains, worded
/// as they were, keep what they have counted, and their limits and quotas; with --counters all begin with the
/// counters of the new rules.
#[derive(Debug, Args)]
#[command(mut_group("place", |group| group.required(true)))]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    running: running::Arguments,
}

pub fn run(arguments: &Arguments, reporter: &Reporter) -> Result<()> {
    let Arguments { place, running } = arguments;
    let hooks = hooks(place, running)?;
    let registry = Registry::find()?;
    let _turn = registry.turn()?;
    attachments::at(place, &registry)?;
    let mut old: Vec<Maps> = Vec::new();
    for maps in replaced(place, &hooks, &registry)? {
        if !old.iter().any(|known| known.same_as(&maps)) {
            old.push(maps);
        }
    }
    let loaded = match (running.seeds_counters(), old.as_slice()) {
        (false, [only]) => running.load_onto(hooks, only, reporter)?,
        _ => running.load(hooks, &old, reporter)?,
    };
    let mut kept = Vec::new();
    if !running.seeds_counters() {
        let (new, layout) = census::rulesets(loaded.maps())?;
        let numbers: Vec<u32> = layout.numbers().collect();
        for maps in old.iter().filter(|maps| !loaded.maps().count_with(maps)) {
            let places = census::staying(&census::rulesets(maps)?, &new).into_iter();
            let pairs = places.filter_map(|(old, new)| Some((old, *numbers.get(new as usize)?)));
            let pairs: Vec<(u32, u32)> = pairs.collect();
            let before = maps.counters()?;
            loaded
                .maps()
                .add_to_counters(&moved(&pairs, &before, &[]))?;
            kept.push((maps, pairs, before));
        }
    }
    loaded.maps().seed_connections()?;
    put(place, XdpWish::Auto, &registry, &loaded, reporter)?;
    // What they have counted until they were replaced.
    for (maps, pairs, before) in kept {
        let after = maps.counters()?;
        let late = moved(&pairs, &after, &before);
        loaded.maps().add_to_counters(&late)?;
    }
    Ok(())
}

/// What has been counted since an earlier look, by the new numbers of the counters.
fn moved(pairs: &[(u32, u32)], now: &[Counter], earlier: &[Counter]) -> Vec<(u32, Counter)> {
    let at = |counters: &[Counter], index: u32| {
        let counter = counters.get(index as usize);
        counter.copied().unwrap_or_default()
    };
    pairs
        .iter()
        .map(|&(old, new)| (new, at(now, old).since(at(earlier, old))))
        .filter(|(_, counter)| *counter != Counter::default())
        .collect()
}
