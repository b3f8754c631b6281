//! A running filter as it is now, for who asks what it would do with a packet: its rules, the elements of its
//! sets and its connections. What else it remembers is not read, and said.

use std::slice;

use anyhow::{Result, bail};
use ipt2bpf_codegen::choices;
use ipt2bpf_codegen::explain::story::Bench;
use ipt2bpf_codegen::messages::enumerate;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::Options;
use ipt2bpf_codegen::sets as codegen;
use ipt2bpf_parser::ParseOptions;
use ipt2bpf_parser::input::Input;
use ipt2bpf_runtime::{Maps, kernel};

use crate::failure::Usage;
use crate::show::{InForce, Selection};
use crate::{groups, input, sets};

/// Matches whose memory is not read.
const UNREAD: [&str; 5] = ["hashlimit", "limit", "quota", "recent", "statistic"];

/// A filter and what was read of it.
pub struct Live {
    /// Its rules and sets.
    pub input: Input,
    place: String,
    hooks: Vec<Hook>,
    maps: Maps,
    choices: Options,
}

impl Live {
    /// Reads the filter of a place, or the only one.
    ///
    /// # Errors
    /// When there is none, or more than one and none is chosen, and what the kernel says.
    pub fn read(selection: &Selection) -> Result<Live> {
        let mut objects = selection.objects()?.into_iter();
        let (Some(InForce { place, hooks, maps }), None) = (objects.next(), objects.next()) else {
            bail!(
                "the hooks of this place have rules of their own each, which cannot be asked at once"
            );
        };
        let text = maps.rules_text()?;
        let choices = choices::of_text(&text);
        let mut input = Input::default();
        input.add(place.clone(), text, &ParseOptions::default());
        if sets::are_asked_for(&input.rulesets) {
            input::read_running_sets(&mut input, slice::from_ref(&maps))?;
        }
        Ok(Live {
            input,
            place,
            hooks,
            maps,
            choices,
        })
    }

    /// The choices that the filter was compiled with, for some hooks.
    ///
    /// # Errors
    /// [`Usage`] for a hook at which it does not run.
    pub fn options(&self, hooks: Vec<Hook>) -> Result<Options> {
        // What is pinned runs where others attach it.
        let elsewhere = |hook: &&Hook| !self.hooks.is_empty() && !self.hooks.contains(hook);
        if let Some(hook) = hooks.iter().find(elsewhere) {
            let message = format!("{} has no program at {hook}", self.place);
            return Err(Usage(message).into());
        }
        Ok(Options {
            hooks,
            sets: codegen::Sets::new(&self.input.sets),
            groups: groups::asked_for(&self.input.rulesets)?,
            tick_rate: kernel::tick_rate(),
            ..self.choices.clone()
        })
    }

    /// Tells rules of the connections that there are.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn tell(&self, bench: &mut Bench<'_>) -> Result<()> {
        if self.maps.tracks_connections() {
            for connection in self.maps.connections()? {
                let mut flow = connection.flow;
                // Who describes a packet in words gives no sequence numbers.
                flow.tcp.take_liberally();
                bench.remember(connection.key, flow, connection.seconds_left);
            }
        }
        Ok(())
    }

    /// What was not read, and what was read elsewhere, in sentences.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn caveats(&self) -> Result<Vec<String>> {
        let mut caveats = Vec::new();
        let tables = self.input.rulesets.iter().flat_map(|it| &it.tables);
        let chains = tables.flat_map(|it| &it.chains);
        let rules = chains.flat_map(|it| &it.rules);
        let used: Vec<&str> = rules
            .flat_map(|rule| &rule.matches)
            .map(|extension| extension.value.name())
            .collect();
        let unread: Vec<String> = UNREAD
            .iter()
            .filter(|name| used.contains(name))
            .map(|name| format!("-m {name}"))
            .collect();
        if !unread.is_empty() {
            caveats.push(format!(
                "what {} remembers in the running filter is not read: it begins anew here",
                enumerate(&unread)
            ));
        }
        if self.maps.tracks_connections() {
            caveats.push(
                "segments of TCP are taken to be within the window of their connection".into(),
            );
        }
        let live = self.maps.live_sets()?;
        let mut copies = sets::names(&self.input.rulesets);
        copies.retain(|name| live.iter().all(|set| set.name() != *name));
        copies.sort_unstable();
        copies.dedup();
        if !copies.is_empty() {
            caveats.push(format!(
                "the running filter has copies of {} from when it was loaded, which cannot be read: they are \
                 taken as the kernel has them now",
                enumerate(&copies)
            ));
        }
        Ok(caveats)
    }
}
