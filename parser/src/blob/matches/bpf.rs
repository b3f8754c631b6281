//! `struct xt_bpf_info_v1` (netfilter/xt_bpf.h). The kernel's pointer is zero on the wire.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::blob::layout::{until_nul, with_nul};
use crate::matches::bpf::{Bpf, Instruction, check};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Bpf1 {
    mode: U16,
    count: U16,
    /// The kernel opens the path itself.
    descriptor: U32,
    /// Instructions, or a path.
    program: [u8; 512],
    kernel: [u8; 8],
}

/// `struct sock_filter` (linux/filter.h)
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct WireInstruction {
    code: U16,
    jump_true: u8,
    jump_false: u8,
    k: U32,
}

/// `XT_BPF_MODE_BYTECODE`
const BYTECODE: u16 = 0;
/// `XT_BPF_MODE_PATH_PINNED`
const PINNED: u16 = 1;

impl Wire for Bpf1 {
    type Value = Bpf;
    const NAME: &'static str = "bpf";
    const REVISION: u8 = 1;

    fn read(&self, _: &Context<'_>) -> Result<Option<Bpf>, Refused> {
        match self.mode.get() {
            BYTECODE => {
                let size = usize::from(self.count.get()) * size_of::<WireInstruction>();
                let program = self.program.get(..size);
                let program = program.ok_or(Refused("a program that is too long"))?;
                let program = program.chunks(size_of::<WireInstruction>());
                let program = program
                    .map(WireInstruction::read)
                    .collect::<Option<Vec<_>>>();
                let program = program.unwrap_or_default();
                check(&program).map_err(|_| Refused("no program that the kernel runs"))?;
                Ok(Some(Bpf::Classic(program)))
            }
            PINNED => {
                let path = until_nul(&self.program).ok_or(Refused("a path without an end"))?;
                Ok(Some(Bpf::Pinned(path.into())))
            }
            _ => Ok(None),
        }
    }

    fn write(value: &Bpf, _: &Context<'_>) -> Option<Self> {
        let mut wire = Self::new_zeroed();
        match value {
            Bpf::Classic(program) => {
                wire.mode = BYTECODE.into();
                wire.count = u16::try_from(program.len()).ok()?.into();
                let mut slots = wire.program.chunks_mut(size_of::<WireInstruction>());
                for instruction in program {
                    let instruction = WireInstruction::write(instruction);
                    slots.next()?.copy_from_slice(instruction.as_bytes());
                }
            }
            Bpf::Pinned(path) => {
                wire.mode = PINNED.into();
                wire.program = with_nul(path)?;
            }
        }
        Some(wire)
    }
}

impl WireInstruction {
    fn read(bytes: &[u8]) -> Option<Instruction> {
        let wire = Self::read_from_bytes(bytes).ok()?;
        Some(Instruction {
            code: wire.code.get(),
            jump_true: wire.jump_true,
            jump_false: wire.jump_false,
            k: wire.k.get(),
        })
    }

    fn write(instruction: &Instruction) -> Self {
        Self {
            code: instruction.code.into(),
            jump_true: instruction.jump_true,
            jump_false: instruction.jump_false,
            k: instruction.k.into(),
        }
    }
}
