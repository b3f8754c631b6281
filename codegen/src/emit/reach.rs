//! What of a module a program takes along when it is loaded, and whether the kernel takes that much.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::asm::{FunctionId, Imm64, MapId, Op};
use crate::module::{FunctionKind, Hook, Module};

/// Functions that a program may consist of (`BPF_MAX_SUBPROGS`, include/linux/bpf_verifier.h).
const MAX_FUNCTIONS: usize = 256;
/// Maps that a program may refer to (`MAX_USED_MAPS`, include/linux/bpf_verifier.h).
const MAX_MAPS: usize = 64;

/// More than the kernel takes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReachError {
    /// Too many functions.
    #[error(
        "the program at {hook} would have {functions} functions, and the kernel takes {MAX_FUNCTIONS}"
    )]
    Functions {
        /// The program's hook.
        hook: Hook,
        /// How many it would have.
        functions: usize,
    },
    /// Too many maps: each list of `-m recent` and each table of `-m hashlimit` is one.
    #[error("the program at {hook} would have {maps} maps, and the kernel takes {MAX_MAPS}")]
    Maps {
        /// The program's hook.
        hook: Hook,
        /// How many it would have.
        maps: usize,
    },
}

/// Finds what each program refers to.
///
/// # Errors
/// When that is more than the kernel takes.
pub fn check(module: &Module) -> Result<(), ReachError> {
    for (index, function) in module.functions.iter().enumerate() {
        let FunctionKind::Program(hook) = function.kind else {
            continue;
        };
        let (functions, maps) = reach(module, FunctionId(index as u16));
        if functions.len() > MAX_FUNCTIONS {
            let functions = functions.len();
            return Err(ReachError::Functions { hook, functions });
        }
        if maps.len() > MAX_MAPS {
            let maps = maps.len();
            return Err(ReachError::Maps { hook, maps });
        }
    }
    Ok(())
}

/// The functions and maps that a function leads to, itself among them.
fn reach(module: &Module, from: FunctionId) -> (BTreeSet<FunctionId>, BTreeSet<MapId>) {
    let mut functions = BTreeSet::from([from]);
    let mut maps = BTreeSet::new();
    let mut pending = vec![from];
    while let Some(id) = pending.pop() {
        let Some(function) = module.functions.get(usize::from(id.0)) else {
            continue;
        };
        for op in function.code.ops() {
            match *op {
                Op::CallFunction(callee) | Op::LoadImm64(_, Imm64::Function(callee))
                    if functions.insert(callee) =>
                {
                    pending.push(callee);
                }
                Op::LoadImm64(_, Imm64::Map(map) | Imm64::MapValue(map, _)) => {
                    maps.insert(map);
                }
                _ => {}
            }
        }
    }
    (functions, maps)
}
