//! Code: from plans to a module of functions and maps.

mod frame;
pub mod link;
pub mod options;
pub(crate) mod parse;
pub mod program;
pub mod reach;
mod rules;
mod segment;
pub mod states;
mod structures;
pub(crate) mod test;
pub mod weight;
pub mod words;
pub mod worker;

use crate::asm::{Code, FunctionId, MapId, Op};
use crate::field::{Field, layout};
use crate::meaning::reject;
use crate::module::{
    COUNTERS_MAP, DEVICES_MAP, Function, FunctionKind, Hook, Map, MapKind, Module, Parameter,
    RECORD_MAP, RULES_MAP,
};
use crate::options::{DeviceNames, KernelVersion, MAX_VALUE, Options, XdpPath};
use crate::plan::record::{self, Record};
use crate::plan::{PlanError, StagePlan, plan};
use crate::routine::Routine;
use crate::semantic::{FamilyFilter, Filter, Path, Stage, Test};
use frame::Frame;
use ipt2bpf_parser::ruleset::Family;
use link::{Linker, States};
use program::{CompiledFamily, CompiledStage, Settings};
use rules::{Counters, Counting};

/// Conditional branches of a program up to which its functions may be static: the verifier then walks
/// them as one.
const STATIC_BRANCHES: usize = 2500;
/// Interfaces that the devices map has room for.
const MAX_DEVICES: u32 = 4096;

/// A module with what is worth knowing about it.
#[derive(Debug)]
pub struct Emitted {
    /// The module.
    pub module: Module,
    /// The plans of every stage of every program.
    pub plans: Vec<(Hook, Family, StagePlan)>,
    /// The oldest kernel it loads on.
    pub kernel: KernelVersion,
    /// Where matches keep their states.
    pub states: States,
}

/// Writes the programs of simplified filters. `counters` is the number of counters that the map has, `text`
/// the rulesets as iptables-save prints them; `gone` has the rules that are there no more.
pub fn emit(
    filters: &[Filter],
    gone: &[Filter],
    counters: u32,
    text: Vec<u8>,
    options: &Options,
) -> Result<Emitted, PlanError> {
    let mut module = Module::default();
    let counters_map = add_map(
        &mut module,
        COUNTERS_MAP,
        MapKind::Counters {
            entries: counters.max(1),
        },
    );
    let needs_devices = filters
        .iter()
        .any(|filter| needs_devices_map(filter, options));
    let devices = needs_devices.then(|| {
        add_map(
            &mut module,
            DEVICES_MAP,
            MapKind::Devices {
                entries: MAX_DEVICES,
            },
        )
    });
    if !text.is_empty() {
        add_map(&mut module, RULES_MAP, MapKind::Constant { bytes: text });
    }
    let plans = filters
        .iter()
        .map(|filter| plan_filter(filter, gone, options))
        .collect::<Result<Vec<_>, _>>()?;
    let counting = match filters.iter().all(|filter| filter.hook == Hook::Xdp) {
        true => Counting::Plain,
        false => Counting::Atomic,
    };
    // Programs come first; what they call is numbered behind them.
    let mut callees = Callees {
        first: filters.len(),
        functions: Vec::new(),
        keeps_records: options.lasts,
        records: Vec::new(),
    };
    let function = callees.add(
        "count".into(),
        FunctionKind::Static,
        vec![Parameter::Memory(layout::size(0)), Parameter::U32],
        rules::emit_count(counters_map, counting),
    );
    let counters = Counters {
        map: counters_map,
        counting,
        function,
    };
    let families = filters.iter().flat_map(|filter| &filter.families);
    for routine in families.flat_map(FamilyFilter::routines) {
        for constant in routine.work().constants() {
            constant.keep(&mut module.maps);
        }
    }
    let mut states = match &options.before {
        Some(before) => States::onto(&before.states),
        None => States::default(),
    };
    let mut kernel = KernelVersion::BASELINE;
    for (filter, plans) in filters.iter().zip(&plans) {
        let depth = plans
            .iter()
            .flatten()
            .map(|plan| plan.depth)
            .max()
            .unwrap_or(0);
        let frame = Frame::new(depth);
        let linkage = linkage(filter, plans, options);
        kernel = kernel.max(match (depth, linkage) {
            (0, FunctionKind::Static) => KernelVersion::BASELINE,
            (0, _) => KernelVersion::GLOBAL_POINTERS,
            _ => KernelVersion::LOOP,
        });
        let mut families = Vec::new();
        for (family, plans) in filter.families.iter().zip(plans) {
            let needed = family.routines().map(|routine| routine.work().kernel());
            kernel = needed.fold(kernel, KernelVersion::max);
            let mut linker = Linker {
                hook: filter.hook,
                family: family.family,
                options,
                maps: &mut module.maps,
                states: &mut states,
                callees: &mut callees,
                linkage,
                packet_size: frame.packet_size() as u32,
            };
            let calls = linker.link(family);
            let answer = reject::link(&mut linker, family);
            let tracking = family.tracking.map(|_| linker.tracking());
            let stages = plans.iter().map(|plan| {
                let stage = rules::Stage {
                    filter: family,
                    plan,
                    counters,
                    calls: &calls,
                };
                let maps = &mut module.maps;
                let (functions, turn) = callees.stage(filter.hook, &stage, frame, linkage, maps);
                CompiledStage {
                    plan,
                    functions,
                    turn,
                }
            });
            families.push(CompiledFamily {
                filter: family,
                stages: stages.collect(),
                answer,
                tracking,
            });
        }
        let settings = Settings {
            hook: filter.hook,
            xdp_path: options.xdp_path,
            device_names: options.device_names,
            devices,
            frame,
            whole_packet: linkage == FunctionKind::Global,
        };
        let code = program::emit(settings, &families);
        if looks_into_kernel(&code) {
            kernel = kernel.max(KernelVersion::KERNEL_CONTEXT);
        }
        module.functions.push(Function {
            name: filter.hook.program_name().into(),
            kind: FunctionKind::Program(filter.hook),
            parameters: vec![Parameter::Context(filter.hook)],
            code,
        });
    }
    if callees
        .functions
        .iter()
        .any(|it| looks_into_kernel(&it.code))
    {
        kernel = kernel.max(KernelVersion::KERNEL_CONTEXT);
    }
    module.functions.extend(callees.functions);
    if !callees.records.is_empty() {
        let bytes = record::write(callees.records);
        add_map(&mut module, RECORD_MAP, MapKind::Constant { bytes });
    }
    let large =
        |map: &Map| matches!(&map.kind, MapKind::Constant { bytes } if bytes.len() > MAX_VALUE);
    if module.maps.iter().any(large) {
        kernel = kernel.max(KernelVersion::LARGE_VALUES);
    }
    let plans = filters.iter().zip(plans).flat_map(|(filter, plans)| {
        let families = filter.families.iter().zip(plans);
        families.flat_map(|(family, plans)| {
            plans
                .into_iter()
                .map(|plan| (filter.hook, family.family, plan))
        })
    });
    Ok(Emitted {
        plans: plans.collect(),
        module,
        kernel,
        states,
    })
}

fn looks_into_kernel(code: &Code) -> bool {
    let mut ops = code.ops().iter();
    ops.any(|op| matches!(op, Op::CallExtern(_)))
}

fn add_map(module: &mut Module, name: &str, kind: MapKind) -> MapId {
    module.maps.push(Map {
        name: name.into(),
        kind,
    });
    MapId(module.maps.len() as u16 - 1)
}

/// The plans of a filter's stages, per family.
fn plan_filter(
    filter: &Filter,
    gone: &[Filter],
    options: &Options,
) -> Result<Vec<Vec<StagePlan>>, PlanError> {
    let families = filter.families.iter();
    let gone = gone.iter().find(|gone| gone.hook == filter.hook);
    let gone = gone.map_or(&[][..], |gone| &gone.families);
    families
        .map(|family| {
            let stages = family.stages.iter();
            let gone = gone.iter().find(|gone| gone.family == family.family);
            stages
                .map(|&stage| plan(family, stage, gone, options))
                .collect()
        })
        .collect()
}

/// Static functions load on the oldest kernels, global ones are verified once each.
fn linkage(filter: &Filter, plans: &[Vec<StagePlan>], options: &Options) -> FunctionKind {
    let nodes = filter
        .families
        .iter()
        .zip(plans)
        .flat_map(|(family, plans)| {
            plans
                .iter()
                .flat_map(move |plan| plan.straight_nodes().map(move |node| (family, node)))
        });
    let branches: usize = nodes
        .map(|(family, node)| weight::of(family, node).branches)
        .sum();
    let returns = plans.iter().flatten().any(|plan| plan.depth > 0);
    // The tracking of connections is too much to be walked at each call.
    let tracks = filter.families.iter().any(|it| it.tracking.is_some());
    // So is a classifier that is walked anew for each way through a routine in front of it.
    let classifies = plans.iter().flatten().any(|plan| !plan.segments.is_empty());
    let asks = filter
        .families
        .iter()
        .any(|it| it.routines().next().is_some());
    let old = match options.target_kernel {
        None => branches <= STATIC_BRANCHES && !tracks && !(classifies && asks),
        Some(kernel) => kernel < KernelVersion::GLOBAL_POINTERS,
    };
    match old && !returns {
        true => FunctionKind::Static,
        false => FunctionKind::Global,
    }
}

/// Whether a program must look up interface names in a map: all without kernel access, and with it the
/// interface that routing will choose, which no structure holds yet.
fn needs_devices_map(filter: &Filter, options: &Options) -> bool {
    let asks = |family: &FamilyFilter, wanted: &[Field]| {
        let mut found = false;
        family.leaves(&mut |leaf| {
            if let Test::Masked { field, .. } | Test::Range { field, .. } = leaf {
                found |= wanted.contains(field);
            }
        });
        let mut routines = family.routines();
        let reads = |routine: &Routine| routine.work().reads();
        found || routines.any(|it| reads(it).iter().any(|field| wanted.contains(field)))
    };
    let by_table = options.device_names == DeviceNames::Table;
    filter.families.iter().any(|family| {
        let routed = filter.hook == Hook::Xdp
            && options.xdp_path != XdpPath::Input
            && family
                .stages
                .iter()
                .any(|stage| stage.path == Path::Transit);
        match filter.hook {
            Hook::CgroupIngress => by_table && asks(family, &[Field::InDevice]),
            Hook::CgroupEgress => by_table && asks(family, &[Field::OutDevice]),
            Hook::Xdp => {
                (by_table && asks(family, &[Field::InDevice]))
                    || (routed && asks(family, &[Field::OutDevice]))
            }
        }
    })
}

/// The functions that programs call, numbered from the first behind the programs.
struct Callees {
    first: usize,
    functions: Vec<Function>,
    /// Whether other rules will take the place of these.
    keeps_records: bool,
    /// Of the segments with many rules.
    records: Vec<Record>,
}

impl Callees {
    /// The functions of a stage, one for each of its plan's, and the callback that finds the function to go
    /// on in.
    fn stage(
        &mut self,
        hook: Hook,
        stage: &rules::Stage<'_>,
        frame: Frame,
        linkage: FunctionKind,
        maps: &mut Vec<Map>,
    ) -> (Vec<FunctionId>, Option<FunctionId>) {
        let plan = stage.plan;
        let memory = Parameter::Memory(frame.packet_size() as u32);
        let prefix = stage_name(hook, stage.filter, plan.stage);
        let mut functions = Vec::new();
        for (number, range) in plan.functions.iter().enumerate() {
            let mut parameters = vec![Parameter::Context(hook), memory];
            if rules::takes_entry(plan, range) {
                parameters.push(Parameter::U32);
            }
            let may_be_null = linkage == FunctionKind::Global;
            let code = match plan.segment(range) {
                Some(segment) => {
                    let (code, record) =
                        segment::emit(stage, segment, may_be_null, self.keeps_records, maps);
                    self.records.extend(record);
                    code
                }
                None => rules::emit(stage, range, may_be_null),
            };
            functions.push(self.add(format!("{prefix}_{number}"), linkage, parameters, code));
        }
        let turn = (plan.depth > 0).then(|| {
            let code = program::emit_turn(plan, &functions);
            let parameters = vec![Parameter::U32, memory];
            self.add(
                format!("{prefix}_turn"),
                FunctionKind::Static,
                parameters,
                code,
            )
        });
        (functions, turn)
    }

    /// A function of this code: one that is there already, or a new one with this name and a number.
    fn share(
        &mut self,
        name: &str,
        kind: FunctionKind,
        parameters: Vec<Parameter>,
        code: crate::asm::Code,
    ) -> FunctionId {
        let same = |it: &Function| {
            it.kind == kind && it.parameters == parameters && it.code.ops() == code.ops()
        };
        match self.functions.iter().position(same) {
            Some(known) => FunctionId((self.first + known) as u16),
            None => {
                let name = format!("{name}_{}", self.functions.len());
                self.add(name, kind, parameters, code)
            }
        }
    }

    fn add(
        &mut self,
        name: String,
        kind: FunctionKind,
        parameters: Vec<Parameter>,
        code: crate::asm::Code,
    ) -> FunctionId {
        self.functions.push(Function {
            name,
            kind,
            parameters,
            code,
        });
        FunctionId((self.first + self.functions.len() - 1) as u16)
    }
}

/// Such as `ingress4_filter_input`.
fn stage_name(hook: Hook, filter: &FamilyFilter, stage: Stage) -> String {
    let hook = match hook {
        Hook::CgroupIngress => "ingress",
        Hook::CgroupEgress => "egress",
        Hook::Xdp => "xdp",
    };
    let family = match filter.family {
        Family::V4 => 4,
        Family::V6 => 6,
    };
    let chain = filter.chain(stage.chain).name.to_lowercase();
    format!("{hook}{family}_{}_{chain}", stage.table)
}

const _: () = assert!(layout::size(crate::plan::MAX_DEPTH) as i16 + Frame::SCRATCH < 512 - 64);
