//! Whatever stands in a module, nothing panics: it is encoded, listed, written and run, or refused.

mod common;

use common::operations::{ALUS, CONDS};
use ipt2bpf_codegen::asm::{
    Code, Extern, FunctionId, Helper, Imm64, KernelField, KfuncId, Label, MapId, Op, Operand, Reg,
    Size, Width,
};
use ipt2bpf_codegen::listing::listing;
use ipt2bpf_codegen::module::{
    COUNTERS_MAP, DEVICES_MAP, Function, FunctionKind, Hook, Map, MapKind, Module, Parameter,
};
use ipt2bpf_codegen::object;
use ipt2bpf_codegen::vm::{Context, Machine};
use proptest::prelude::*;
use proptest::sample::select;

const REGS: [Reg; 11] = [
    Reg::R0,
    Reg::R1,
    Reg::R2,
    Reg::R3,
    Reg::R4,
    Reg::R5,
    Reg::R6,
    Reg::R7,
    Reg::R8,
    Reg::R9,
    Reg::R10,
];
const WIDTHS: [Width; 2] = [Width::W32, Width::W64];
const SIZES: [Size; 4] = [Size::B, Size::H, Size::W, Size::D];
const HELPERS: [Helper; 6] = [
    Helper::MapLookupElem,
    Helper::SkbLoadBytes,
    Helper::FibLookup,
    Helper::ProbeReadKernel,
    Helper::Loop,
    Helper::ForEachMapElem,
];

fn reg() -> impl Strategy<Value = Reg> {
    select(&REGS[..])
}

fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![
        reg().prop_map(Operand::Reg),
        (-600..600).prop_map(Operand::Imm),
        any::<i32>().prop_map(Operand::Imm),
    ]
}

fn offset() -> impl Strategy<Value = i16> {
    prop_oneof![-64..64_i16, any::<i16>()]
}

fn label() -> impl Strategy<Value = Label> {
    prop_oneof![99 => (0..6_u32).prop_map(Label), 1 => any::<u32>().prop_map(Label)]
}

fn imm64() -> impl Strategy<Value = Imm64> {
    prop_oneof![
        any::<u64>().prop_map(Imm64::Number),
        (0..4_u16).prop_map(|id| Imm64::Map(MapId(id))),
        (0..4_u16, 0..8_u32).prop_map(|(id, at)| Imm64::MapValue(MapId(id), at)),
        (0..4_u16).prop_map(|id| Imm64::Function(FunctionId(id))),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let size = || select(&SIZES[..]);
    let width = || select(&WIDTHS[..]);
    prop_oneof![
        (width(), select(&ALUS[..]), reg(), operand()).prop_map(|(a, b, c, d)| Op::Alu(a, b, c, d)),
        (width(), reg()).prop_map(|(a, b)| Op::Neg(a, b)),
        (
            reg(),
            prop_oneof![99 => select(&[16, 32, 64][..]), 1 => any::<u8>()]
        )
            .prop_map(|(a, b)| Op::ToBigEndian(a, b)),
        (size(), reg(), reg(), offset()).prop_map(|(a, b, c, d)| Op::Load(a, b, c, d)),
        (size(), reg(), offset(), operand()).prop_map(|(a, b, c, d)| Op::Store(a, b, c, d)),
        (reg(), offset(), reg()).prop_map(|(a, b, c)| Op::AtomicAdd(a, b, c)),
        (reg(), imm64()).prop_map(|(a, b)| Op::LoadImm64(a, b)),
        label().prop_map(Op::Jump),
        (width(), select(&CONDS[..]), reg(), operand(), label())
            .prop_map(|(a, b, c, d, e)| Op::Branch(a, b, c, d, e)),
        select(&HELPERS[..]).prop_map(Op::CallHelper),
        (0..4_u16).prop_map(|id| Op::CallFunction(FunctionId(id))),
        any::<u32>().prop_map(|id| Op::CallKfunc(KfuncId(id))),
        Just(Op::CallExtern(Extern::CastToKernCtx)),
        (reg(), reg(), select(&KernelField::ALL[..])).prop_map(|(a, b, c)| Op::LoadField(a, b, c)),
        (reg(), select(&KernelField::ALL[..])).prop_map(|(a, b)| Op::AddOffset(a, b)),
        Just(Op::Exit),
    ]
}

/// Operations with texts between them; most of the time every likely label is bound.
fn code() -> impl Strategy<Value = Code> {
    let ops = prop::collection::vec((op(), any::<Option<String>>()), 0..24);
    let places = prop::collection::vec(0..24_usize, 6);
    (ops, places, prop::bool::weighted(0.9)).prop_map(|(ops, places, bound)| {
        let mut code = Code::default();
        let labels: Vec<Label> = places.iter().map(|_| code.label()).collect();
        for (index, (op, text)) in ops.iter().enumerate() {
            if let Some(text) = text {
                code.line(text.as_str());
            }
            for (&label, &place) in labels.iter().zip(&places) {
                if bound && place.min(ops.len() - 1) == index {
                    code.bind(label);
                }
            }
            code.push(*op);
        }
        code
    })
}

fn module() -> impl Strategy<Value = Module> {
    let kinds = [
        FunctionKind::Program(Hook::Xdp),
        FunctionKind::Program(Hook::CgroupIngress),
        FunctionKind::Static,
        FunctionKind::Global,
    ];
    let codes = prop::collection::vec(code(), kinds.len());
    (codes, prop::collection::vec(any::<u8>(), 0..8)).prop_map(move |(codes, bytes)| Module {
        functions: kinds
            .into_iter()
            .zip(codes)
            .enumerate()
            .map(|(index, (kind, code))| Function {
                name: format!("function_{index}"),
                kind,
                parameters: vec![Parameter::U32, Parameter::Memory(index as u32)],
                code,
            })
            .collect(),
        maps: [
            (COUNTERS_MAP, MapKind::Counters { entries: 2 }),
            (DEVICES_MAP, MapKind::Devices { entries: 2 }),
            (".rodata.table", MapKind::Constant { bytes }),
        ]
        .map(|(name, kind)| Map {
            name: name.to_owned(),
            kind,
        })
        .into(),
    })
}

proptest! {
    #[test]
    fn every_module_is_written_and_run_or_refused(module in module()) {
        let encodes = Machine::new(&module).map(|mut machine| {
            machine.set_device(1, "eth0");
            for hook in [Hook::Xdp, Hook::CgroupIngress] {
                // A fault is as good as a result.
                drop(machine.run(hook, &Context::new(&[0x45; 40])));
            }
        });
        let written = object::write(&module);
        if encodes.is_err() {
            prop_assert!(written.is_err());
        }
        if let Ok(bytes) = written {
            prop_assert_eq!(object::write(&module).unwrap(), bytes);
        }
        for function in &module.functions {
            prop_assert!(listing(&module).contains(&function.name));
        }
    }
}
