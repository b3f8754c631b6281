//! The compiled program in the kernel, under `BPF_PROG_TEST_RUN`.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, anyhow, bail};
use ipt2bpf_codegen::classify::Strategy;
use ipt2bpf_codegen::compile::{Compiled, compile};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::Options;
use ipt2bpf_codegen::sets::Sets;
use ipt2bpf_parser::ruleset::{Counters, Ruleset};
use ipt2bpf_runtime::{Loaded, TestPacket, interfaces, load};

use crate::compare::Subject;
use crate::frame::{Direction, Frame};
use crate::netfilter::{CounterKey, Route, Verdict};

/// A loaded program, or the two of an object that see both directions.
pub struct Program {
    name: String,
    /// Where frames that arrive are for.
    hook: Hook,
    /// Where the object has a program. What goes elsewhere is not filtered.
    hooks: Vec<Hook>,
    loaded: Loaded,
    keys: Vec<CounterKey>,
    interfaces: HashMap<String, u32>,
}

impl Program {
    /// Compiles a ruleset and loads it for the calling thread's network namespace.
    ///
    /// # Errors
    /// When it cannot be translated exactly, or the kernel refuses it.
    pub fn new(ruleset: &Ruleset, hook: Hook, sets: &Sets) -> Result<Self> {
        Self::load(
            ruleset,
            hook,
            &compiled(ruleset, &super::options(hook, sets))?,
        )
    }

    /// The same for every way of deciding the rules that makes a difference.
    ///
    /// # Errors
    /// As [`Program::new`].
    pub fn of_every_strategy(ruleset: &Ruleset, hook: Hook, sets: &Sets) -> Result<Vec<Self>> {
        let mut objects: Vec<Vec<u8>> = Vec::new();
        let mut programs = Vec::new();
        let forced = Strategy::CLASSIFIERS.map(Some);
        for strategy in [None, Some(Strategy::Straight)].into_iter().chain(forced) {
            let options = Options {
                strategy,
                ..super::options(hook, sets)
            };
            let compiled = compiled(ruleset, &options)?;
            if objects.contains(&compiled.object) {
                continue;
            }
            let mut program = Self::load(ruleset, hook, &compiled)?;
            if let Some(strategy) = strategy {
                program.name += &format!(" by {strategy}");
            }
            programs.push(program);
            objects.push(compiled.object);
        }
        Ok(programs)
    }

    /// The same of both directions: what arrives is for this hook; what is sent, for the program at
    /// cgroup_skb/egress.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_both_directions(ruleset: &Ruleset, hook: Hook) -> Result<Self> {
        let mut options = super::options(hook, &Sets::default());
        if hook == Hook::CgroupIngress {
            options.hooks.push(Hook::CgroupEgress);
        }
        Self::load(ruleset, hook, &compiled(ruleset, &options)?)
    }

    fn load(ruleset: &Ruleset, hook: Hook, compiled: &Compiled) -> Result<Self> {
        let loaded = load(&compiled.object).context("the kernel refuses the program")?;
        loaded.maps().fill_devices()?;
        loaded.maps().fill_addresses()?;
        loaded.maps().fill_clock()?;
        Ok(Program {
            name: format!("the program at {hook}"),
            hook,
            hooks: compiled.filters.iter().map(|filter| filter.hook).collect(),
            loaded,
            keys: super::counter_keys(ruleset),
            interfaces: interfaces()?
                .into_iter()
                .map(|interface| (interface.name, interface.index))
                .collect(),
        })
    }
}

/// What a ruleset is compiled to.
fn compiled(ruleset: &Ruleset, options: &Options) -> Result<Compiled> {
    let compiled = compile(std::slice::from_ref(ruleset), options);
    compiled.map_err(|diagnostics| match super::refuse(&diagnostics) {
        Err(error) => error,
        Ok(()) => anyhow!("refused without an error"),
    })
}

impl Subject for Program {
    fn name(&self) -> &str {
        &self.name
    }

    fn sees_all_frames(&self) -> bool {
        self.hook == Hook::Xdp
    }

    fn verdict(&mut self, frame: &Frame, route: &Route) -> Result<Verdict> {
        let interface = match route {
            Route::Out(interface) => interface,
            _ => &frame.interface,
        };
        // Behind the IP layer, tags and padding are gone; what is sent never had them. The kernel tells
        // the packet type from the station's address.
        let hook = match frame.direction {
            Direction::Received => self.hook,
            Direction::Sent => Hook::CgroupEgress,
        };
        if !self.hooks.contains(&hook) {
            return Ok(Verdict::Accept);
        }
        let mut trimmed;
        let bytes = match hook {
            Hook::Xdp => &frame.bytes,
            Hook::CgroupIngress | Hook::CgroupEgress => {
                trimmed = Frame::received(frame.family, &frame.interface, frame.packet()).bytes;
                let station = trimmed.iter_mut().zip(&frame.bytes).take(6);
                station.for_each(|(byte, wanted)| *byte = *wanted);
                &trimmed
            }
        };
        let run = self.loaded.test_run(
            hook,
            &TestPacket {
                frame: bytes,
                ifindex: self.interfaces.get(interface).copied(),
                repeat: 1,
            },
        )?;
        Ok(match (hook, run.retval) {
            // 3 sends an answer in place of the packet.
            (Hook::Xdp, 1 | 3) | (Hook::CgroupIngress | Hook::CgroupEgress, 0) => Verdict::Drop,
            (Hook::Xdp, 2) | (Hook::CgroupIngress | Hook::CgroupEgress, 1) => Verdict::Accept,
            (hook, value) => bail!("{value} is no verdict at {hook}"),
        })
    }

    fn counters(&mut self) -> Result<BTreeMap<CounterKey, Counters>> {
        let counters = self.loaded.maps().counters()?;
        let counters = counters.into_iter().map(|counter| Counters {
            packets: counter.packets,
            bytes: counter.bytes,
        });
        Ok(super::keyed(&self.keys, counters))
    }
}
