//! The BTF types of what a module holds or refers to: map definitions, function prototypes, functions
//! and structures of the kernel.

use crate::asm::{Extern, KernelField, KernelType};
use crate::btf::{Btf, Linkage, Member, SectionEntry, TypeId};
use crate::module::{Function, FunctionKind, HashShape, Hook, Parameter};

/// Numbers of `enum bpf_map_type`.
const BPF_MAP_TYPE_HASH: u32 = 1;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_PERCPU_ARRAY: u32 = 6;
const BPF_MAP_TYPE_LRU_HASH: u32 = 9;
const BPF_MAP_TYPE_LPM_TRIE: u32 = 11;
const BPF_MAP_TYPE_RINGBUF: u32 = 27;

/// A map that takes memory for entries as they come; tries must.
const BPF_F_NO_PREALLOC: u32 = 1;

/// Length of an interface name with its NUL (`IFNAMSIZ`).
const IFNAMSIZ: u32 = 16;

/// The size of one definition in the section `.maps`: five pointers.
pub const DEFINITION_SIZE: u32 = 40;

/// The definition of a per-CPU array of counters in the section `.maps`, as a variable.
pub fn counters(btf: &mut Btf, name: &str, entries: u32) -> TypeId {
    let kind = btf.unsigned("unsigned long long", 8);
    let members = ["packets", "bytes"].map(|name| Member { name, kind });
    let counter = btf.structure("counter", 16, &members);
    let key = btf.unsigned("unsigned int", 4);
    definition(btf, name, BPF_MAP_TYPE_PERCPU_ARRAY, key, counter, entries)
}

/// The definition of a hash from interface index to name in the section `.maps`, as a variable.
pub fn devices(btf: &mut Btf, name: &str, entries: u32) -> TypeId {
    let char_type = btf.signed("char", 1);
    let value = btf.array(char_type, IFNAMSIZ);
    let key = btf.unsigned("unsigned int", 4);
    definition(btf, name, BPF_MAP_TYPE_HASH, key, value, entries)
}

/// The definition of an array of locked states in the section `.maps`, as a variable.
pub fn states(btf: &mut Btf, name: &str, bytes: u32, entries: u32) -> TypeId {
    let key = btf.unsigned("unsigned int", 4);
    let value = locked(btf, "state", bytes);
    definition(btf, name, BPF_MAP_TYPE_ARRAY, key, value, entries)
}

/// The definition of a hash in the section `.maps`, as a variable.
pub fn hash(btf: &mut Btf, name: &str, shape: HashShape) -> TypeId {
    let key = memory(btf, "key", shape.key);
    let value = match shape.locked {
        true => locked(btf, "entry", shape.bytes),
        false => memory(btf, "entry", shape.bytes),
    };
    let kind = match shape.evicts {
        true => BPF_MAP_TYPE_LRU_HASH,
        false => BPF_MAP_TYPE_HASH,
    };
    definition(btf, name, kind, key, value, shape.entries)
}

/// The definition of a trie of prefixes in the section `.maps`, as a variable.
pub fn prefixes(btf: &mut Btf, name: &str, key: u32, bytes: u32, entries: u32) -> TypeId {
    let key = memory(btf, "key", 4 + key);
    let value = memory(btf, "prefix", bytes);
    let members = [
        ("type", number(btf, BPF_MAP_TYPE_LPM_TRIE)),
        ("max_entries", number(btf, entries)),
        ("map_flags", number(btf, BPF_F_NO_PREALLOC)),
        ("key", btf.pointer(key)),
        ("value", btf.pointer(value)),
    ]
    .map(|(name, kind)| Member { name, kind });
    let definition = btf.structure("", DEFINITION_SIZE, &members);
    btf.variable(name, definition, Linkage::Global)
}

/// The definition of a ring of records in the section `.maps`, as a variable.
pub fn ring(btf: &mut Btf, name: &str, bytes: u32) -> TypeId {
    let members = [
        ("type", number(btf, BPF_MAP_TYPE_RINGBUF)),
        ("max_entries", number(btf, bytes)),
    ]
    .map(|(name, kind)| Member { name, kind });
    // As large as the others, so that all definitions lie alike.
    let definition = btf.structure_at("", DEFINITION_SIZE, &members, &[0, 8]);
    btf.variable(name, definition, Linkage::Global)
}

/// A struct with a lock in front and so many bytes behind its first eight.
fn locked(btf: &mut Btf, name: &str, bytes: u32) -> TypeId {
    let word = btf.unsigned("unsigned int", 4);
    let val = Member {
        name: "val",
        kind: word,
    };
    let lock = btf.structure("bpf_spin_lock", 4, &[val]);
    let byte = btf.unsigned("unsigned char", 1);
    let rest = btf.array(byte, bytes);
    let members = [("lock", lock), ("bytes", rest)].map(|(name, kind)| Member { name, kind });
    btf.structure_at(name, 8 + bytes, &members, &[0, 8])
}

/// A struct of so many bytes.
fn memory(btf: &mut Btf, name: &str, size: u32) -> TypeId {
    let byte = btf.unsigned("unsigned char", 1);
    let kind = btf.array(byte, size);
    btf.structure(
        name,
        size,
        &[Member {
            name: "bytes",
            kind,
        }],
    )
}

/// libbpf reads a definition from types alone: a number is the length of an array behind a pointer,
/// a key or value is what a pointer points to.
fn definition(
    btf: &mut Btf,
    name: &str,
    kind: u32,
    key: TypeId,
    value: TypeId,
    entries: u32,
) -> TypeId {
    let members = [
        ("type", number(btf, kind)),
        ("max_entries", number(btf, entries)),
        ("key", btf.pointer(key)),
        ("value", btf.pointer(value)),
    ]
    .map(|(name, kind)| Member { name, kind });
    // As large as the others, so that all definitions lie alike.
    let definition = btf.structure_at("", DEFINITION_SIZE, &members, &[0, 8, 16, 24]);
    btf.variable(name, definition, Linkage::Global)
}

fn number(btf: &mut Btf, number: u32) -> TypeId {
    let int = btf.signed("int", 4);
    let array = btf.array(int, number);
    btf.pointer(array)
}

/// The name of the variable in a section of constant bytes: `rules` for `.rodata.rules`.
pub fn constant_variable(section: &str) -> &str {
    section.rsplit('.').next().unwrap_or(section)
}

/// A section of constant bytes with its one variable.
pub fn constant_section(btf: &mut Btf, section: &str, size: u32) {
    let char_type = btf.signed("char", 1);
    let bytes = btf.array(char_type, size);
    let variable = btf.variable(constant_variable(section), bytes, Linkage::Static);
    let entry = SectionEntry {
        variable,
        offset: 0,
        size,
    };
    btf.data_section(section, size, &[entry]);
}

/// A function with its prototype; the result is always `int`.
pub fn function(btf: &mut Btf, function: &Function) -> TypeId {
    // The kernel wants a name for every parameter.
    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    let members: Vec<Member> = NAMES
        .into_iter()
        .zip(&function.parameters)
        .map(|(name, &kind)| Member {
            name,
            kind: parameter(btf, kind),
        })
        .collect();
    let linkage = match function.kind {
        FunctionKind::Program(_) | FunctionKind::Global => Linkage::Global,
        FunctionKind::Static => Linkage::Static,
    };
    let int = btf.signed("int", 4);
    btf.function(&function.name, int, &members, linkage)
}

/// The section `.ksyms` with the functions of the kernel that a module calls.
pub fn externs(btf: &mut Btf, externs: impl Iterator<Item = Extern>) {
    let entries: Vec<SectionEntry> = externs
        .map(|function| SectionEntry {
            variable: extern_function(btf, function),
            offset: 0,
            size: 0,
        })
        .collect();
    btf.data_section(".ksyms", 0, &entries);
}

/// libbpf compares the prototype with that of the kernel.
fn extern_function(btf: &mut Btf, function: Extern) -> TypeId {
    let name = function.name();
    match function {
        Extern::CastToKernCtx => {
            let kind = btf.pointer(TypeId::VOID);
            let object = Member { name: "obj", kind };
            btf.function(name, kind, &[object], Linkage::Extern)
        }
        Extern::XdpCtLookup => {
            let mut structure = |structure: &str| {
                let structure = btf.structure(structure, 0, &[]);
                btf.pointer(structure)
            };
            let (connection, context) = (structure("nf_conn"), structure("xdp_md"));
            let (tuple, options) = (structure("bpf_sock_tuple"), structure("bpf_ct_opts"));
            let size = btf.unsigned("unsigned int", 4);
            let members = [
                ("xdp_ctx", context),
                ("bpf_tuple", tuple),
                ("tuple__sz", size),
                ("opts", options),
                ("opts__sz", size),
            ]
            .map(|(name, kind)| Member { name, kind });
            btf.function(name, connection, &members, Linkage::Extern)
        }
        Extern::CtRelease => {
            let connection = btf.structure("nf_conn", 0, &[]);
            let kind = btf.pointer(connection);
            let released = Member { name: "nfct", kind };
            btf.function(name, TypeId::VOID, &[released], Linkage::Extern)
        }
    }
}

/// The way to the only field of a [`structure`].
pub const ONLY_FIELD: &str = "0:0";

/// The structure of a field with nothing in it but the field. Loaders look for what has the names.
pub fn structure(btf: &mut Btf, field: KernelField) -> TypeId {
    let (size, kind) = match field.kind() {
        KernelType::Pointer => (8, btf.pointer(TypeId::VOID)),
        KernelType::Unsigned(size) => {
            let name = match size {
                1 => "unsigned char",
                2 => "unsigned short",
                4 => "unsigned int",
                _ => "unsigned long",
            };
            (size.into(), btf.unsigned(name, size))
        }
        KernelType::Int => (4, btf.signed("int", 4)),
        KernelType::Text(size) => {
            let char_type = btf.signed("char", 1);
            (size, btf.array(char_type, size))
        }
        KernelType::Structure => (4, btf.structure("", 4, &[])),
        KernelType::Structures => {
            let element = btf.structure("", 4, &[]);
            (4, btf.array(element, 1))
        }
    };
    let name = field.member();
    btf.structure(field.structure(), size, &[Member { name, kind }])
}

fn parameter(btf: &mut Btf, parameter: Parameter) -> TypeId {
    let target = match parameter {
        Parameter::U32 => return btf.unsigned("unsigned int", 4),
        Parameter::U64 => return btf.unsigned("unsigned long long", 8),
        // The verifier knows a context by the name of the struct; what is in it does not matter.
        Parameter::Context(hook) => btf.structure(context_name(hook), 0, &[]),
        Parameter::Memory(size) => memory(btf, "packet", size),
    };
    btf.pointer(target)
}

fn context_name(hook: Hook) -> &'static str {
    match hook {
        Hook::CgroupIngress | Hook::CgroupEgress => "__sk_buff",
        Hook::Xdp => "xdp_md",
    }
}
