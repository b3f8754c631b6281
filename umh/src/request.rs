//! The parameters of the methods that need only the compiler. Their meaning stands in the interface
//! description, `io.ipt2bpf.varlink`.

use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{Options, XdpPath};
use ipt2bpf_parser::ruleset::Family;
use serde::{Deserialize, Serialize};

/// Rules with what they ask for.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// As iptables-save prints them.
    pub texts: Vec<String>,
    /// As ipset save prints them.
    #[serde(default)]
    pub sets: Option<Vec<String>>,
    /// The family, where the texts do not show it.
    #[serde(default)]
    pub family: Option<Family>,
    /// Whether each text changes what those before it say.
    #[serde(default)]
    pub noflush: Option<bool>,
}

/// How they are to be translated.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Choices {
    /// All when there is none.
    pub hooks: Option<Vec<Hook>>,
    /// Which of INPUT and FORWARD an XDP program runs.
    pub xdp_path: Option<XdpPath>,
    /// Whether rules may err towards dropping.
    pub approximate: Option<bool>,
    /// Whether nat rules are left out everywhere.
    pub ignore_nat: Option<bool>,
    /// How many connections are remembered at most.
    pub connections: Option<u32>,
    /// Ticks of the clock of the kernel that runs the programs.
    pub tick_rate: Option<u32>,
    /// The oldest kernel that runs them, such as `6.1`.
    pub target_kernel: Option<String>,
}

/// The least and the most connections that a table is made for, as on the command line.
const CONNECTIONS: std::ops::RangeInclusive<u32> = 1024..=16_777_216;
/// The rates that a kernel's clock may tick at.
const TICK_RATES: std::ops::RangeInclusive<u32> = 24..=10_000;

impl Choices {
    /// The options; those that are not chosen are as they were.
    ///
    /// # Errors
    /// The name of the choice that cannot be.
    pub fn apply(&self, options: Options) -> Result<Options, &'static str> {
        let within = |value: Option<u32>, range: std::ops::RangeInclusive<u32>, name| match value {
            Some(value) if !range.contains(&value) => Err(name),
            other => Ok(other),
        };
        let connections = within(self.connections, CONNECTIONS, "connections")?;
        let tick_rate = within(self.tick_rate, TICK_RATES, "tickRate")?;
        let target_kernel = self.target_kernel.as_deref().map(str::parse).transpose();
        Ok(Options {
            hooks: self.hooks.clone().unwrap_or(options.hooks),
            xdp_path: self.xdp_path.unwrap_or(options.xdp_path),
            approximate: self.approximate.unwrap_or(options.approximate),
            ignore_nat: self.ignore_nat.unwrap_or(options.ignore_nat),
            connections: connections.unwrap_or(options.connections),
            tick_rate: tick_rate.unwrap_or(options.tick_rate),
            target_kernel: target_kernel
                .map_err(|_| "targetKernel")?
                .or(options.target_kernel),
            ..options
        })
    }
}

/// `Compile`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Compile {
    /// What is compiled.
    pub rules: Rules,
    /// How.
    #[serde(default)]
    pub choices: Option<Choices>,
    /// Whether the object is wanted as a file in memory.
    #[serde(default)]
    pub memfd: Option<bool>,
}

/// `Check`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What is checked.
    pub rules: Rules,
    /// For which translation.
    #[serde(default)]
    pub choices: Option<Choices>,
}

/// `Explain`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// What the packets meet.
    pub rules: Rules,
    /// How it is translated.
    #[serde(default)]
    pub choices: Option<Choices>,
    /// Packets in words or in hexadecimal.
    pub packets: Vec<String>,
    /// Where they are.
    #[serde(default)]
    pub hook: Option<Hook>,
    /// Whether to tell of what did not match, too.
    #[serde(default)]
    pub verbose: Option<bool>,
}

/// `Decode`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Decode {
    /// Of which socket level the blob is.
    pub family: Family,
    /// `struct ipt_replace` or `struct ip6t_replace`, as base64.
    pub blob: String,
    /// Whether to print the counters of rules, too.
    #[serde(default)]
    pub counters: Option<bool>,
}
