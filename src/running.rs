//! Compiling for the running kernel and loading into it: what `load` and `attach` share.

use anyhow::Result;
use clap::Args;
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{DeviceNames, KernelVersion, Options};
use ipt2bpf_runtime::{Loaded, Maps, kernel};

use crate::addresses;
use crate::cli::{Deciding, Hooks, Leniency, Rules, Sets, Tracking};
use crate::clock;
use crate::counters;
use crate::devices::{self, Filled};
use crate::failure::Told;
use crate::input::Input;
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

    /// Compiles for these hooks (all when there is none) and loads. The programs know the interfaces of
    /// this network namespace and the time, and count from zero or from what the rules say. What outlives a
    /// reload of rules is taken from the maps of what they replace.
    ///
    /// # Errors
    /// [`Told`] when the rules cannot be translated, or what the kernel says.
    pub fn load(&self, hooks: Vec<Hook>, replaced: &[Maps], reporter: &Reporter) -> Result<Loaded> {
        let input = Input::read(&self.rules)?;
        let input = match !self.sets.are_given() && sets::are_asked_for(&input.rulesets) {
            true => input.with_kernel_sets()?,
            false => input.with_sets(&self.sets)?,
        };
        let options = self.tracking.apply(self.leniency.apply(Options {
            // A program at an interface sees only what arrives there.
            companion: hooks == [Hook::Xdp],
            hooks,
            device_names: kernel::device_access().map_or(DeviceNames::Table, DeviceNames::Kernel),
            target_kernel: kernel_version(),
            sets: input.known_sets(),
            tick_rate: kernel::tick_rate(),
            ..self.hooks.options()
        }));
        let options = self.deciding.apply(options);
        let mut said = input.diagnostics.clone();
        let compiled = match input.has_errors() {
            true => None,
            false => compile(&input.rulesets, &options)
                .map_err(|errors| said.extend(errors))
                .ok(),
        };
        if let Some(compiled) = &compiled {
            said.extend(compiled.diagnostics.clone());
            said.extend(devices::warning(
                compiled,
                &options,
                Filled::Now,
                &input.sources,
            ));
            said.extend(addresses::warning(compiled, Filled::Now));
            said.extend(clock::warning(compiled, &options, Filled::Now));
        }
        reporter.conclude(said, &input.sources, self.deny_warnings)?;
        let compiled = compiled.ok_or(Told)?;
        let loaded = ipt2bpf_runtime::load_keeping(&compiled.object, replaced)?;
        loaded.maps().fill_devices()?;
        loaded.maps().fill_addresses()?;
        loaded.maps().fill_clock()?;
        if self.counters {
            let values = counters::of_text(&input.rulesets, &compiled.counters);
            loaded.maps().seed_counters(&values)?;
        }
        Ok(loaded)
    }
}

/// The running kernel; none when its release cannot be read, or is older than the oldest that anything
/// is made for, which then says so itself.
fn kernel_version() -> Option<KernelVersion> {
    let (major, minor) = kernel::version()?;
    let version = KernelVersion::new(major.try_into().ok()?, minor.try_into().ok()?);
    Some(version.max(KernelVersion::BASELINE))
}
