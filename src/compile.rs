//! The default: rules to an object, or to another form of what the compiler made.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use ipt2bpf_codegen::compile::{compile, translate};
use ipt2bpf_codegen::listing::listing;
use ipt2bpf_codegen::needs::{Filled, warnings};
use ipt2bpf_codegen::options::{DeviceNames, KernelVersion};
use ipt2bpf_codegen::sets as codegen;
use ipt2bpf_parser::diagnostic::Diagnostic;
use ipt2bpf_parser::input::{Input, has_errors};

use crate::cli::{Clock, Deciding, Hooks, Leniency, MessageFormat, Rules, Sets, Tracking};
use crate::failure::Usage;
use crate::input;
use crate::messages::Reporter;
use crate::output;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    sets: Sets,
    /// Write to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What to write; without it the object, or on a terminal the listing
    #[arg(long, value_enum, value_name = "FORM")]
    emit: Option<Form>,
    #[command(flatten)]
    hooks: Hooks,
    #[command(flatten)]
    leniency: Leniency,
    #[command(flatten)]
    tracking: Tracking,
    #[command(flatten)]
    clock: Clock,
    #[command(flatten)]
    deciding: Deciding,
    /// The oldest kernel the object must load on, such as 5.10; without it the oldest that the rules
    /// allow
    ///
    /// From 6.2 on, programs read the names of interfaces from the kernel's own structures. The loader
    /// must then know .ksyms, as libbpf and bpftool do.
    #[arg(long, value_name = "X.Y")]
    target_kernel: Option<KernelVersion>,
    /// With --emit rules, print counters before rules, as iptables-save -c
    #[arg(short, long)]
    counters: bool,
    /// Take warnings for errors
    #[arg(long)]
    deny_warnings: bool,
}

/// The forms that rules take on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// The BPF object, an ELF file
    Object,
    /// The rules as iptables-save prints them
    Rules,
    /// What the rules mean at each hook
    Ir,
    /// A listing: rules beside the code made from them
    Asm,
    /// The rules as JSON
    Json,
    /// Figures about the object
    Stats,
}

pub fn run(arguments: &Arguments, reporter: &Reporter) -> Result<()> {
    let form = arguments.form();
    if arguments.counters && form != Form::Rules {
        return Err(Usage("--counters goes with --emit rules".into()).into());
    }
    let input = input::read_all(&arguments.rules, &arguments.sets)?;
    let written = match input.has_errors() {
        true => Err(Vec::new()),
        false => arguments.translate(&input, form, reporter.format)?,
    };
    let mut said = input.diagnostics;
    let written = match written {
        Ok((written, warnings)) => {
            said.extend(warnings);
            written
        }
        Err(errors) => {
            said.extend(errors);
            Vec::new()
        }
    };
    reporter.conclude(said, &input.sources, arguments.deny_warnings)?;
    output::write(arguments.output.as_deref(), &written)
}

/// The bytes to write and what there is to say about them, or only what there is to say.
type Written = Result<(Vec<u8>, Vec<Diagnostic>), Vec<Diagnostic>>;

impl Arguments {
    fn form(&self) -> Form {
        let to_terminal = self.output.is_none() && io::stdout().is_terminal();
        match self.emit {
            Some(form) => form,
            None if to_terminal => Form::Asm,
            None => Form::Object,
        }
    }

    fn translate(&self, input: &Input, form: Form, format: MessageFormat) -> Result<Written> {
        let rulesets = &input.rulesets;
        let options = self.clock.apply(self.hooks.options());
        let options = self.tracking.apply(self.leniency.apply(options));
        let mut options = self.deciding.apply(options);
        options.target_kernel = self.target_kernel;
        options.sets = codegen::Sets::new(&input.sets);
        if self.target_kernel >= Some(KernelVersion::KERNEL_CONTEXT) {
            options.device_names = DeviceNames::Relocated;
        }
        let made = match form {
            Form::Rules => return Ok(Ok((output::save_text(rulesets, self.counters), Vec::new()))),
            Form::Json => return Ok(Ok((json(rulesets)?, Vec::new()))),
            Form::Ir => {
                let (filters, _, said) = translate(rulesets, &options);
                let text: String = filters.iter().map(ToString::to_string).collect();
                return Ok(match has_errors(&said) {
                    true => Err(said),
                    false => Ok((text.into_bytes(), said)),
                });
            }
            Form::Object | Form::Asm | Form::Stats => compile(rulesets, &options),
        };
        let compiled = match made {
            Ok(compiled) => compiled,
            Err(said) => return Ok(Err(said)),
        };
        let mut said = compiled.diagnostics.clone();
        let bytes = match form {
            Form::Asm => listing(&compiled.module).into_bytes(),
            Form::Stats if format == MessageFormat::Json => json(&compiled.stats())?,
            Form::Stats => compiled.stats().to_string().into_bytes(),
            _ => {
                said.extend(warnings(&compiled, &options, Filled::Later, &input.sources));
                compiled.object
            }
        };
        Ok(Ok((bytes, said)))
    }
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value).context("the JSON form")?;
    text.push(b'\n');
    Ok(text)
}
