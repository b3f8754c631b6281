//! The whole way from rulesets to an object.

use std::fmt;
use std::ops::Range;

use ipt2bpf_parser::diagnostic::{Diagnostic, Severity};
use ipt2bpf_parser::ruleset::{Family, Ruleset};
use ipt2bpf_parser::span::Span;
use ipt2bpf_parser::{Counts, heading};
use serde::Serialize;

use crate::before::spacious;
use crate::choices;
use crate::classify::Strategy;
use crate::counters::CounterLayout;
use crate::emit::states::States;
use crate::emit::{Emitted, emit, reach, weight};
use crate::lower::lower;
use crate::module::{Hook, Map, MapKind, Module, RULES_MAP};
use crate::object;
use crate::options::{ConnectionTable, KernelVersion, Options, XdpPath};
use crate::plan::{Segment, StagePlan, straight_nanoseconds};
use crate::semantic::{FamilyFilter, Filter, Tracking, family_name};
use crate::simplify::simplify;
use crate::stale;

/// What became of rulesets.
#[derive(Debug)]
pub struct Compiled {
    /// The ELF object.
    pub object: Vec<u8>,
    /// What is in it, symbolic.
    pub module: Module,
    /// The meaning of the rulesets at each hook, as the programs have it.
    pub filters: Vec<Filter>,
    /// Which counter is whose.
    pub counters: CounterLayout,
    /// How the rules are laid out.
    pub plans: Vec<(Hook, Family, StagePlan)>,
    /// The oldest kernel it loads on.
    pub kernel: KernelVersion,
    /// Where matches keep their states.
    pub states: States,
    /// Warnings.
    pub diagnostics: Vec<Diagnostic>,
}

/// Compiles rulesets, at most one per family. The error holds every diagnostic, warnings among them.
pub fn compile(rulesets: &[Ruleset], options: &Options) -> Result<Compiled, Vec<Diagnostic>> {
    let (filters, counters, mut diagnostics) = translate(rulesets, options);
    diagnostics.extend(half_tracked(&filters, options));
    if diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error)
    {
        return Err(diagnostics);
    }
    let text = rulesets.iter().map(rules_text).collect::<Vec<_>>().concat();
    let emitted = emit(
        &filters,
        &gone(options),
        room(&counters, options),
        text,
        options,
    )
    .map_err(|error| {
        let span = rulesets.first().map_or(Span::default(), first_span);
        vec![too_large(error.to_string(), span)]
    })?;
    let Emitted {
        mut module,
        plans,
        kernel,
        states,
    } = emitted;
    let mut notes = choices::note(options);
    if options.lasts {
        notes = notes + &counters.note() + &states.note();
    }
    put_notes(&mut module, notes);
    reach::check(&module).map_err(|error| {
        let span = rulesets.first().map_or(Span::default(), first_span);
        vec![too_large(error.to_string(), span)]
    })?;
    let object = object::write(&module).map_err(|error| {
        let span = rulesets.first().map_or(Span::default(), first_span);
        vec![too_large(error.to_string(), span)]
    })?;
    diagnostics.sort_by_key(|diagnostic| diagnostic.span);
    Ok(Compiled {
        object,
        module,
        filters,
        counters,
        plans,
        kernel,
        states,
        diagnostics,
    })
}

/// The meaning of the rules that are there no more in what an object goes on from.
fn gone(options: &Options) -> Vec<Filter> {
    let Some(before) = &options.before else {
        return Vec::new();
    };
    let hooks = Hook::ALL.into_iter();
    let hooks = hooks.filter(|hook| options.hooks.is_empty() || options.hooks.contains(hook));
    hooks
        .map(|hook| {
            let (mut filter, _) = lower(&before.gone, &before.gone_layout, hook, options);
            simplify(&mut filter);
            filter
        })
        .collect()
}

/// How many counters the map has.
fn room(counters: &CounterLayout, options: &Options) -> u32 {
    let before = options.before.as_ref().map(|before| before.counters);
    match before {
        Some(before) if counters.room() <= before => before,
        _ if options.lasts => spacious(counters.room()),
        _ => counters.room(),
    }
}

/// Puts comments above the text of the rules.
fn put_notes(module: &mut Module, notes: String) {
    let text = module.maps.iter_mut().find(|map| map.name == RULES_MAP);
    if let Some(Map {
        kind: MapKind::Constant { bytes },
        ..
    }) = text
    {
        bytes.splice(0..0, notes.into_bytes());
    }
}

/// The meaning of rulesets at each wanted hook, simplified, and what is to be said about it: complete
/// when no diagnostic is an error.
pub fn translate(
    rulesets: &[Ruleset],
    options: &Options,
) -> (Vec<Filter>, CounterLayout, Vec<Diagnostic>) {
    let counters = match &options.before {
        Some(before) => before.layout.clone(),
        None => CounterLayout::new(rulesets),
    };
    let mut diagnostics = Vec::new();
    let mut filters = Vec::new();
    for hook in Hook::ALL {
        if options.hooks.is_empty() || options.hooks.contains(&hook) {
            let (mut filter, said) = lower(rulesets, &counters, hook, options);
            simplify(&mut filter);
            let families = filter.families.iter();
            diagnostics.extend(families.flat_map(|family| stale::diagnostics(family, hook)));
            filters.push(filter);
            diagnostics.extend(said);
        }
    }
    track_where_asked(&mut filters, options.conntrack);
    if options.companion && options.conntrack == ConnectionTable::Own {
        add_companion(&mut filters);
    }
    (filters, counters, diagnostics)
}

/// A family whose rules ask for connections at one hook is tracked at all: a program that sees only one
/// direction knows nothing. The kernel is asked only where rules ask.
fn track_where_asked(filters: &mut [Filter], table: ConnectionTable) {
    if table == ConnectionTable::Kernel {
        for filter in filters {
            let tracking = Tracking::at(filter.hook, table);
            for family in &mut filter.families {
                family.tracking = family.asks_for_connections().map(|_| tracking);
            }
        }
        return;
    }
    let families = filters.iter().flat_map(|filter| &filter.families);
    let asking: Vec<Family> = families
        .filter(|family| family.asks_for_connections().is_some())
        .map(|family| family.family)
        .collect();
    for filter in filters {
        let hook = filter.hook;
        for family in &mut filter.families {
            let asked = asking.contains(&family.family);
            family.tracking = asked.then(|| Tracking::at(hook, table));
        }
    }
}

/// Puts a program that only tracks in front of an XDP program that has none for what leaves.
fn add_companion(filters: &mut Vec<Filter>) {
    let hook = Hook::CgroupEgress;
    if filters.iter().any(|filter| filter.hook == hook) {
        return;
    }
    let xdp = filters.iter().position(|filter| filter.hook == Hook::Xdp);
    let Some(xdp) = xdp else {
        return;
    };
    let tracked = filters[xdp].families.iter();
    let families: Vec<FamilyFilter> = tracked
        .filter(|family| family.tracking.is_some())
        .map(|family| FamilyFilter {
            family: family.family,
            chains: Vec::new(),
            stages: Vec::new(),
            tracking: Some(Tracking::at(hook, ConnectionTable::Own)),
        })
        .collect();
    if !families.is_empty() {
        filters.insert(xdp, Filter { hook, families });
    }
}

/// Says that rules ask for connections of which the object's programs see one direction only.
fn half_tracked(filters: &[Filter], options: &Options) -> Option<Diagnostic> {
    if options.conntrack == ConnectionTable::Kernel {
        return None;
    }
    let has = |hook: Hook| filters.iter().any(|filter| filter.hook == hook);
    let only_forwards = has(Hook::Xdp) && options.xdp_path == XdpPath::Forward;
    let sees_arriving = has(Hook::CgroupIngress) || has(Hook::Xdp);
    if only_forwards || (sees_arriving && has(Hook::CgroupEgress)) {
        return None;
    }
    let mut families = filters.iter().flat_map(|filter| &filter.families);
    let rule = families.find_map(FamilyFilter::asks_for_connections)?;
    let (unseen, help) = if has(Hook::Xdp) {
        (
            "leave",
            "attach with `ipt2bpf attach --xdp`, which tracks them at the root cgroup, or compile with \
             --hook cgroup_skb/egress too and attach that program there",
        )
    } else if sees_arriving {
        (
            "leave",
            "compile with --hook cgroup_skb/egress too, and attach both programs of the object",
        )
    } else {
        (
            "arrive",
            "compile with --hook cgroup_skb/ingress too, and attach both programs of the object",
        )
    };
    let message = format!(
        "the state of connections is asked for, and no program of the object sees the packets that \
         {unseen}"
    );
    let said = match options.approximate {
        true => Diagnostic::warning("half-tracked", rule.span, message),
        false => Diagnostic::error("half-tracked", rule.span, message),
    };
    Some(said.with_help(help))
}

/// What the object keeps of a ruleset: enough to read it again, with its family.
fn rules_text(ruleset: &Ruleset) -> Vec<u8> {
    [
        heading(ruleset.family).as_bytes(),
        &ruleset.print(Counts::All),
    ]
    .concat()
}

fn first_span(ruleset: &Ruleset) -> Span {
    let chains = ruleset.tables.iter().flat_map(|table| &table.chains);
    chains.map(|chain| chain.span).min().unwrap_or_default()
}

fn too_large(message: String, span: Span) -> Diagnostic {
    Diagnostic::error("too-large", span, message)
        .with_help("make fewer rules jump to the same chains, or split the ruleset")
}

/// Figures about an object.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// Bytes of the object.
    pub object_bytes: usize,
    /// The oldest kernel it loads on.
    pub kernel: String,
    /// One per stage.
    pub stages: Vec<StageStats>,
}

/// Figures about a stage of a program.
#[derive(Clone, Debug, Serialize)]
pub struct StageStats {
    /// The hook.
    pub hook: Hook,
    /// The family.
    pub family: &'static str,
    /// `table:CHAIN`.
    pub stage: String,
    /// How its rules are decided, in their order.
    pub segments: Vec<SegmentStats>,
    /// Copies of rules in the program, the policy among them.
    pub nodes: usize,
    /// Functions of rules.
    pub functions: usize,
    /// Conditional branches.
    pub branches: usize,
    /// Return places a packet may need.
    pub depth: usize,
}

/// Figures about a run of rules that are decided together.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SegmentStats {
    /// Copies of rules, the policy among them.
    pub nodes: usize,
    /// How they are decided.
    pub strategy: Strategy,
    /// Bytes of arrays.
    pub bytes: usize,
    /// About how long it takes for a packet that gets to the last rule, in nanoseconds.
    pub nanoseconds: f64,
}

impl SegmentStats {
    fn of(plan: &StagePlan, function: &Range<usize>) -> Self {
        let nodes = &plan.nodes[function.clone()];
        match plan.segment(function) {
            Some(Segment { decider, .. }) => SegmentStats {
                nodes: nodes.len(),
                strategy: decider.strategy(),
                bytes: decider.bytes(),
                nanoseconds: decider.nanoseconds(),
            },
            None => SegmentStats {
                nodes: nodes.len(),
                strategy: Strategy::Straight,
                bytes: 0,
                nanoseconds: straight_nanoseconds(nodes),
            },
        }
    }
}

impl fmt::Display for SegmentStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SegmentStats {
            nodes,
            strategy,
            bytes,
            nanoseconds,
        } = self;
        write!(
            f,
            "{nodes} rules by {strategy}, {bytes} bytes, about {nanoseconds:.0} ns"
        )
    }
}

impl fmt::Display for StageStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} {} {}: {} rules laid out, {} branches, {} functions, return stack {}",
            self.hook,
            self.family,
            self.stage,
            self.nodes,
            self.branches,
            self.functions,
            self.depth
        )?;
        for segment in &self.segments {
            writeln!(f, "  {segment}")?;
        }
        Ok(())
    }
}

impl Compiled {
    /// Figures about the object.
    pub fn stats(&self) -> Stats {
        let stages = self.plans.iter().filter_map(|(hook, family, plan)| {
            let filter = self.filters.iter().find(|filter| filter.hook == *hook)?;
            let filter = filter
                .families
                .iter()
                .find(|known| known.family == *family)?;
            let branches = plan
                .straight_nodes()
                .map(|node| weight::of(filter, node).branches);
            Some(StageStats {
                hook: *hook,
                family: family_name(*family),
                stage: format!(
                    "{}:{}",
                    plan.stage.table,
                    filter.chain(plan.stage.chain).name
                ),
                segments: plan
                    .functions
                    .iter()
                    .map(|function| SegmentStats::of(plan, function))
                    .collect(),
                nodes: plan.nodes.len(),
                functions: plan.functions.len(),
                branches: branches.sum(),
                depth: plan.depth,
            })
        });
        Stats {
            object_bytes: self.object.len(),
            kernel: self.kernel.to_string(),
            stages: stages.collect(),
        }
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "object: {} bytes, for kernels from {}",
            self.object_bytes, self.kernel
        )?;
        for stage in &self.stages {
            write!(f, "{stage}")?;
        }
        Ok(())
    }
}
