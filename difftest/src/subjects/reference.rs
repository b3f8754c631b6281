//! The reference evaluator.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use ipt2bpf_codegen::compile::translate;
use ipt2bpf_codegen::evaluate::{Route as Destination, evaluate};
use ipt2bpf_codegen::frame::metadata;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::packet::{Devices, Packet};
use ipt2bpf_codegen::routine::World;
use ipt2bpf_codegen::semantic::{self, FamilyFilter};
use ipt2bpf_codegen::sets::Sets;
use ipt2bpf_parser::ruleset::{Counters, Ruleset};
use ipt2bpf_runtime::{addresses, interfaces, kernel};

use crate::compare::Subject;
use crate::frame::Frame;
use crate::netfilter::{CounterKey, Route, Verdict};

/// The number of an interface that is not the loopback interface.
const ANY_DEVICE: u32 = 2;

/// A ruleset's meaning at a hook, with counters.
pub struct Reference {
    name: String,
    filter: FamilyFilter,
    keys: Vec<CounterKey>,
    counters: Vec<Counters>,
    world: World,
    interfaces: HashMap<String, u32>,
}

impl Reference {
    /// Translates a ruleset, for the calling thread's network namespace.
    ///
    /// # Errors
    /// When it cannot be translated exactly.
    pub fn new(ruleset: &Ruleset, hook: Hook, sets: &Sets) -> Result<Self> {
        let rulesets = std::slice::from_ref(ruleset);
        let (filters, layout, diagnostics) = translate(rulesets, &super::options(hook, sets));
        super::refuse(&diagnostics)?;
        let filter = filters
            .into_iter()
            .filter(|filter| filter.hook == hook)
            .flat_map(|filter| filter.families)
            .next()
            .context("no filter for the ruleset")?;
        let mut world = World::default();
        world.addresses = addresses()?;
        world.tick_rate = kernel::tick_rate();
        Ok(Reference {
            name: format!("the reference at {hook}"),
            filter,
            keys: super::counter_keys(ruleset),
            counters: vec![Counters::default(); layout.len() as usize],
            world,
            interfaces: interfaces()?
                .into_iter()
                .map(|interface| (interface.name, interface.index))
                .collect(),
        })
    }
}

impl Subject for Reference {
    fn name(&self) -> &str {
        &self.name
    }

    fn sees_all_frames(&self) -> bool {
        false
    }

    fn verdict(&mut self, frame: &Frame, route: &Route) -> Result<Verdict> {
        let destination = match route {
            Route::Local => Destination::Local,
            Route::Via(interface) => Destination::Transit(interface),
            // Nothing asks where a packet from this host goes.
            Route::Out(_) | Route::Unseen | Route::Refused | Route::Unrouted | Route::Held => {
                Destination::Nowhere
            }
        };
        let devices = match route {
            Route::Out(interface) => Devices {
                output: interface.clone(),
                ..Devices::default()
            },
            _ => Devices {
                input: frame.interface.clone(),
                ..Devices::default()
            },
        };
        let interface = match route {
            Route::Out(interface) => interface,
            _ => &frame.interface,
        };
        let index = self.interfaces.get(interface).copied();
        let index = index.unwrap_or(ANY_DEVICE);
        let packet = Packet::new(frame.family, frame.packet(), &devices)
            .context("a packet without a header cannot reach a table")?
            .with(metadata(&frame.bytes, index));
        self.world.jiffies = kernel::jiffies().into();
        let outcome = evaluate(&self.filter, &packet, destination, &mut self.world);
        for (counter, bytes) in outcome.counters(&self.filter) {
            let counters = self
                .counters
                .get_mut(counter.0 as usize)
                .context("a counter outside the layout")?;
            counters.packets += 1;
            counters.bytes += bytes;
        }
        Ok(match outcome.verdict {
            semantic::Verdict::Accept => Verdict::Accept,
            semantic::Verdict::Drop => Verdict::Drop,
        })
    }

    fn counters(&mut self) -> Result<BTreeMap<CounterKey, Counters>> {
        Ok(super::keyed(&self.keys, self.counters.iter().copied()))
    }
}
