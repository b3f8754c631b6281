//! How much is measured.

use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::Options;

use crate::rules::Kind;

/// The size of a run.
#[derive(Clone, Debug)]
pub struct Effort {
    /// Which sets.
    pub kinds: Vec<Kind>,
    /// How many rules they have.
    pub rules: Vec<usize>,
    /// How often everything takes its turn.
    pub rounds: usize,
    /// Packets for a program in one round.
    pub packets: u32,
    /// Different packets, a power of two.
    pub different: usize,
    /// How many of them are held to the expectation, for each set and mix.
    pub checked: usize,
    /// How long one round of frames through an interface may take, in milliseconds.
    pub wire_ms: f64,
    /// How many rules the sets have that frames meet behind an interface.
    pub wire_rules: Vec<usize>,
    /// How sets are compiled.
    pub options: Options,
}

impl Effort {
    /// Everything, in some minutes.
    pub fn full() -> Effort {
        let rules = vec![1, 10, 100, 1000, 10_000, 100_000];
        Effort {
            kinds: Kind::ALL.into(),
            rules: rules.clone(),
            rounds: 9,
            packets: 1 << 17,
            different: 1 << 16,
            checked: 1000,
            wire_ms: 40.0,
            wire_rules: rules,
            options: at_xdp(),
        }
    }

    /// Whether everything works, in some seconds. The figures mean nothing.
    pub fn quick() -> Effort {
        Effort {
            kinds: Kind::ALL.into(),
            rules: vec![1, 10, 100],
            rounds: 1,
            packets: 1 << 12,
            different: 1 << 8,
            checked: 200,
            wire_ms: 1.0,
            wire_rules: vec![10],
            options: at_xdp(),
        }
    }
}

/// Only XDP: it is where frames are dropped.
fn at_xdp() -> Options {
    Options {
        hooks: vec![Hook::Xdp],
        ..Options::default()
    }
}
