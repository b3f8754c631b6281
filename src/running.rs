//! Compiling for the running kernel and loading into it: what `load` and `attach` share.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use ipt2bpf_codegen::before::Before;
use ipt2bpf_codegen::choices;
use ipt2bpf_codegen::compile::{Compiled, compile};
use ipt2bpf_codegen::counters::CounterLayout;
use ipt2bpf_codegen::emit::states::States;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::needs::{Filled, warnings};
use ipt2bpf_codegen::options::{DeviceNames, Options};
use ipt2bpf_codegen::sets as codegen;
use ipt2bpf_parser::diagnostic::Diagnostic;
use ipt2bpf_parser::input::Input;
use ipt2bpf_parser::matches::Match;
use ipt2bpf_parser::ruleset::{Action, Rule, Ruleset};
use ipt2bpf_runtime::{Counter, Loaded, Maps, counters, kernel, load_keeping, load_onto};

use crate::census;
use crate::cli::{Deciding, Hooks, Leniency, Rules, Sets, Tracking};
use crate::failure::Told;
use crate::groups;
use crate::input;
use crate::messages::Reporter;
use crate::sets;

#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    sets: Sets,
    #[command(flatten)]
    pub hooks: Hooks,
    #[command(flatten)]
    leniency: Leniency,
    #[command(flatten)]
    tracking: Tracking,
    #[command(flatten)]
    deciding: Deciding,
    /// Keep sets where `ipt2bpf set` can change them while packets pass
    ///
    /// A look-up then takes longer. Sets whose elements have two networks or an interface, lists, and
    /// networks with timeouts stay as they are when the rules are loaded. Rules that replace others with
    /// such sets keep them so, and their elements, too, unless --ipset gives others.
    #[arg(long)]
    live_sets: bool,
    /// Begin with the counters of the rules, not with zero
    #[arg(short, long)]
    counters: bool,
    /// Take warnings for errors
    #[arg(long)]
    deny_warnings: bool,
}

impl Arguments {
    /// Whether the rules can be read only once.
    pub fn reads_standard_input(&self) -> bool {
        let files = &self.rules.files;
        files.is_empty() || files.iter().any(|file| file.as_os_str() == "-")
    }

    /// Whether counters begin with those of the rules.
    pub fn seeds_counters(&self) -> bool {
        self.counters
    }

    /// Compiles for these hooks (all when there is none) and loads. The programs know the interfaces of
    /// this network namespace and the time, and count from zero or from what the rules say. What outlives a
    /// reload of rules is taken from the maps of what they replace.
    ///
    /// # Errors
    /// [`Told`] when the rules cannot be translated, or what the kernel says.
    pub fn load(&self, hooks: Vec<Hook>, replaced: &[Maps], reporter: &Reporter) -> Result<Loaded> {
        let input = self.read(replaced)?;
        let (loaded, compiled) = load(&input, hooks, self.choices(), replaced, |said| {
            reporter.conclude(said, &input.sources, self.deny_warnings)
        })?;
        if self.counters {
            let values = counters::of_text(&input.rulesets, &compiled.counters);
            loaded.maps().seed_counters(&values)?;
        }
        Ok(loaded)
    }

    /// As [`Self::load`], in the place of an object whose rules go on with what they have counted and remember
    /// where they stay.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_onto(
        &self,
        hooks: Vec<Hook>,
        replaced: &Maps,
        reporter: &Reporter,
    ) -> Result<Loaded> {
        let maps = std::slice::from_ref(replaced);
        let input = self.read(maps)?;
        let old = census::rulesets(replaced)?;
        let same = census::staying(&old, &input.rulesets);
        let before = Before {
            layout: CounterLayout::onto(&input.rulesets, &old.1, &same),
            counters: replaced.room()?,
            states: States::of_text(&replaced.rules_text()?),
            ..Before::default()
        };
        let staying: HashSet<u32> = same.iter().map(|&(number, _)| number).collect();
        let new = before
            .layout
            .numbers()
            .filter(|number| !staying.contains(number));
        let zero: Vec<(u32, Counter)> = new.map(|number| (number, Counter::default())).collect();
        let choices = Options {
            before: Some(Arc::new(before)),
            ..self.choices()
        };
        let (loaded, _) = load(&input, hooks, choices, maps, |said| {
            reporter.conclude(said, &input.sources, self.deny_warnings)
        })?;
        loaded.maps().set_counters(&zero)?;
        Ok(loaded)
    }

    /// The rules with the sets that they ask for.
    fn read(&self, replaced: &[Maps]) -> Result<Input> {
        let mut input = input::read(&self.rules)?;
        match !self.sets.are_given() && sets::are_asked_for(&input.rulesets) {
            true => input::read_running_sets(&mut input, replaced)?,
            false => input::read_sets(&mut input, &self.sets)?,
        }
        Ok(input)
    }

    fn choices(&self) -> Options {
        let choices = self.leniency.apply(self.hooks.options());
        Options {
            live_sets: self.live_sets,
            ..self.deciding.apply(self.tracking.apply(choices))
        }
    }
}

/// Compiles rules for these hooks of the running kernel with the user's choices, and loads them in the place
/// of others, or, when the choices say what they go on from, of the only other. What is to be said of the rules
/// is told before anything is loaded.
///
/// # Errors
/// [`Told`] when the rules cannot be translated, what the teller makes of what is said, and what the kernel
/// says.
pub fn load(
    input: &Input,
    hooks: Vec<Hook>,
    choices: Options,
    replaced: &[Maps],
    tell: impl FnOnce(Vec<Diagnostic>) -> Result<()>,
) -> Result<(Loaded, Compiled)> {
    let mut live_sets = choices.live_sets;
    for maps in replaced {
        // Sets are also live where rules change them.
        live_sets |=
            !maps.live_sets()?.is_empty() && choices::of_text(&maps.rules_text()?).live_sets;
    }
    let options = Options {
        live_sets,
        // A program at an interface sees only what arrives there.
        companion: hooks == [Hook::Xdp],
        hooks,
        device_names: device_names(&input.rulesets),
        target_kernel: kernel::target(),
        sets: codegen::Sets::new(&input.sets),
        groups: groups::asked_for(&input.rulesets)?,
        tick_rate: kernel::tick_rate(),
        lasts: true,
        ..choices
    };
    let mut said = input.diagnostics.clone();
    let compiled = match input.has_errors() {
        true => None,
        false => compile(&input.rulesets, &options)
            .map_err(|errors| said.extend(errors))
            .ok(),
    };
    if let Some(compiled) = &compiled {
        said.extend(compiled.diagnostics.clone());
        said.extend(warnings(compiled, &options, Filled::Now, &input.sources));
    }
    tell(said)?;
    let compiled = compiled.ok_or(Told)?;
    let loaded = match (&options.before, replaced) {
        (Some(_), [only]) => {
            let loaded = load_onto(&compiled.object, only)?;
            loaded.maps().clear_states(compiled.states.fresh())?;
            loaded
        }
        _ => load_keeping(&compiled.object, replaced)?,
    };
    loaded.maps().fill()?;
    for set in loaded.maps().live_sets()? {
        let given = input.sets.iter().find(|it| it.name.value == set.name());
        set.fill(given.map_or(&[], |given| &given.entries))?;
    }
    Ok((loaded, compiled))
}

/// How programs of these rules find names of interfaces, and what else the kernel's structures tell. Where those
/// lie stands in megabytes of type information, which is not read for rules that ask for nothing of the kind.
fn device_names(rulesets: &[Ruleset]) -> DeviceNames {
    let tables = rulesets.iter().flat_map(|ruleset| &ruleset.tables);
    let mut rules = tables
        .flat_map(|table| &table.chains)
        .flat_map(|chain| &chain.rules);
    match rules.all(asks_headers_only) {
        true => DeviceNames::Table,
        false => kernel::device_access().map_or(DeviceNames::Table, DeviceNames::Kernel),
    }
}

/// Whether it is sure that a rule looks at nothing but headers and does nothing but decide.
fn asks_headers_only(rule: &Rule) -> bool {
    let mut matches = rule.matches.iter();
    let of_headers = matches.all(|it| {
        matches!(
            it.value,
            Match::Comment(_)
                | Match::Icmp(_)
                | Match::Icmp6(_)
                | Match::Multiport(_)
                | Match::Tcp(_)
                | Match::Udp(_)
        )
    });
    of_headers
        && rule.base.in_interface.is_none()
        && rule.base.out_interface.is_none()
        && !matches!(rule.action, Action::Target(_))
}
