//! The kernel differential test: the same packets through netfilter and through what we compile.
//!
//! [`netns`] gives a thread a network namespace of its own, [`host`] makes a router, an end host or a
//! [`sender`] of it, [`netfilter`] loads a ruleset there and says what became of each frame, [`packets`]
//! draws frames around a ruleset's [`constants`], [`compare`] sets a [`Subject`](compare::Subject) beside
//! netfilter and tells the first difference in [`words`], [`scene`] puts it all together:
//!
//! ```no_run
//! use ipt2bpf_difftest::constants::Constants;
//! use ipt2bpf_difftest::packets::{self, Packets};
//! use ipt2bpf_difftest::scene::Scene;
//! # use ipt2bpf_difftest::compare::Subject;
//! # use ipt2bpf_parser::{Counts, ruleset::Ruleset};
//! # fn compile(text: &str) -> anyhow::Result<Vec<Box<dyn Subject>>> {
//! #     anyhow::bail!("{text}")
//! # }
//! # fn run(ruleset: &Ruleset) -> anyhow::Result<()> {
//! let seed = packets::seed()?;
//! for scene in Scene::ALL {
//!     let ruleset = scene.stage(ruleset);
//!     let text = String::from_utf8_lossy(&ruleset.print(Counts::Chains)).into_owned();
//!     let constants = Constants::of(&ruleset, scene.direction());
//!     let frames: Vec<_> = Packets::new(&constants, seed).take(5000).collect();
//!     let report = scene.run("rules.v4", &text, &constants, &frames, || compile(&text))?;
//!     assert!(report.is_clean(), "seed {seed}: {report}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Accepted packets end at the last tap: they are delivered to no socket and leave by no device. So
//! nothing answers, no connection is ever confirmed, and every packet meets the same kernel state.
//! Packets that no table decides about, such as those that the kernel refuses to send, are left out, and
//! the [`Report`](compare::Report) says how many and why.
//!
//! [`stateful`] is for rules on the state of connections: there everything is delivered, and packets come in
//! conversations.
//! What depends on time (`limit`) or chance (`statistic`) cannot be compared this way.

pub mod checksum;
pub mod compare;
pub mod constants;
pub mod exceptions;
pub mod extension_header;
pub mod flood;
pub mod forms;
pub mod frame;
pub mod host;
pub mod ipsets;
pub mod log;
pub mod mirror;
pub mod netfilter;
pub mod netns;
pub mod packets;
pub mod random;
pub mod reach;
pub mod scene;
pub mod sender;
pub mod stateful;
pub mod subjects;
pub mod tally;
pub mod tool;
pub mod trials;
pub mod words;
