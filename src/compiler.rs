//! `compiler`: the compiling process of the helper, which is started by it and by nobody else; and how it is
//! started.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use ipt2bpf_umh::compiler;
use ipt2bpf_umh::compiler::pool::{Launch, Pool};

/// Compiles for the helper, on standard input
#[derive(Debug, Args)]
pub struct Arguments {
    /// The most memory that it may use, in bytes of address space
    #[arg(long, value_name = "BYTES")]
    memory: u64,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    Ok(compiler::run(arguments.memory)?)
}

/// The bounds of the compiling processes.
#[derive(Clone, Copy, Debug, Args)]
pub struct Bounds {
    /// Seconds that one compilation may take
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    time: u64,
    /// Megabytes of address space that one compilation may take
    #[arg(long, value_name = "MB", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(64..=1_048_576))]
    memory: u64,
}

impl Bounds {
    /// Processes with these bounds, as many as there are processors, and at least two.
    pub fn pool(self) -> Arc<Pool> {
        let memory = self.memory << 20;
        let launch = Launch {
            // This very program, also when its file was replaced meanwhile.
            program: "/proc/self/exe".into(),
            arguments: ["compiler", "--memory", &memory.to_string()]
                .map(Into::into)
                .to_vec(),
        };
        let size = available_parallelism().map_or(2, NonZero::get).max(2);
        Arc::new(Pool::new(launch, size, Duration::from_secs(self.time)))
    }
}
