//! `nfacct_mt` of net/netfilter/xt_nfacct.c: counts packets by a name, whichever rules they meet.
//!
//! The kernel's own objects cannot be reached; these are in a map of the programs, which outlives a reload of
//! rules as they do. An object of nfacct(8) without a quota matches always. Of one with a quota, which only
//! nfacct(8) gives, rules do not tell.

use std::fmt;

use ipt2bpf_parser::matches::nfacct::Nfacct;

use super::{Context, MatchMeaning, Refusal};
use crate::asm::{Helper, Imm64, Reg, Size};
use crate::emit::link::{Call, Linker, PACKET};
use crate::field::layout;
use crate::module::{HashShape, MapKind};
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::Step;

/// The map: the name with zeros behind it, and packets and bytes as `u64` in the machine's byte order.
pub const ACCOUNTS_MAP: &str = "nfacct";
/// Bytes of a name with the zero that ends it (`NFACCT_NAME_MAX`).
pub const NAME: usize = 32;
/// Bytes of a value.
pub const VALUE: usize = 16;
/// How many names a map has room for, those of rules before a reload among them.
const ACCOUNTS: u32 = 4096;

impl MatchMeaning for Nfacct {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let mut name = [0; NAME];
        for (place, byte) in name.iter_mut().zip(self.name.iter().take(NAME - 1)) {
            *place = *byte;
        }
        Ok(vec![Step::Ask(CountUnder { name }.into())])
    }

    fn note(&self, _: Context<'_>) -> Option<String> {
        Some(
            "it counts in a map that `ipt2bpf show --accounts` prints, not in the kernel's object, whose \
             quota it does not know"
                .into(),
        )
    }
}

/// Counts the packet under a name; answers 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CountUnder {
    name: [u8; NAME],
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    packets: u64,
    bytes: u64,
}

/// On the stack: the key, and the value of a name that has none yet.
const KEY: i16 = -(NAME as i16);
const NEW: i16 = KEY - VALUE as i16;

impl Perform for CountUnder {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        let account: &mut Account = world.named(&self.to_string());
        account.packets += 1;
        account.bytes += packet.len();
        1
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let shape = HashShape {
            key: NAME as u32,
            bytes: VALUE as u32,
            entries: ACCOUNTS,
            evicts: false,
            locked: false,
        };
        let map = linker.map(ACCOUNTS_MAP, MapKind::Hash(shape));
        let function = linker.function("account", 0, |body| {
            let [first, done] = [(); 2].map(|()| body.code.label());
            let (words, _) = self.name.as_chunks::<4>();
            for (word, at) in words.iter().zip((KEY..).step_by(4)) {
                let word = i32::from_le_bytes(*word);
                body.code.store(Size::W, Reg::R10, at, word);
            }
            for attempt in 0..2 {
                let missing = if attempt == 0 { first } else { done };
                body.look_up(map, KEY, missing);
                let code = &mut body.code;
                code.mov(Reg::R1, 1);
                code.atomic_add(Reg::R0, 0, Reg::R1);
                code.load(Size::W, Reg::R1, PACKET, layout::LENGTH);
                code.atomic_add(Reg::R0, 8, Reg::R1);
                code.jump(done);
                if attempt == 0 {
                    // The first packet; another processor may have had one at the same time.
                    code.bind(first);
                    code.store(Size::D, Reg::R10, NEW, 0);
                    code.store(Size::D, Reg::R10, NEW + 8, 0);
                    code.load_imm64(Reg::R1, Imm64::Map(map));
                    body.stack(Reg::R2, KEY);
                    body.stack(Reg::R3, NEW);
                    body.code.mov(Reg::R4, BPF_NOEXIST);
                    body.code.call(Helper::MapUpdateElem);
                }
            }
            body.code.bind(done);
            body.answer(1);
        });
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn counts_packets(&self) -> bool {
        true
    }

    fn only_tells(&self) -> bool {
        true
    }
}

/// Leaves a value that is there as it is (include/uapi/linux/bpf.h).
const BPF_NOEXIST: i32 = 1;

impl fmt::Display for CountUnder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.split(|&byte| byte == 0).next();
        write!(
            f,
            "count under {}",
            String::from_utf8_lossy(name.unwrap_or_default())
        )
    }
}
