//! The kernel differential test: the same packets through netfilter and through what we compile.
//!
//! [`netns`] gives a thread a network namespace of its own, [`host`] makes a router or an end host of
//! it, [`netfilter`] loads a ruleset there and says what became of each frame, [`packets`] draws
//! frames around a ruleset's [`constants`], [`compare`] sets a [`Subject`](compare::Subject) beside
//! netfilter and tells the first difference in [`words`], [`scene`] puts it all together:
//!
//! ```no_run
//! use ipt2bpf_difftest::constants::Constants;
//! use ipt2bpf_difftest::packets::{self, Packets};
//! use ipt2bpf_difftest::scene::Scene;
//! # fn compile(text: &str) -> anyhow::Result<Vec<Box<dyn ipt2bpf_difftest::compare::Subject>>> {
//! #     anyhow::bail!("{text}")
//! # }
//! # fn run(ruleset: &ipt2bpf_parser::ruleset::Ruleset, text: &str) -> anyhow::Result<()> {
//! let constants = Constants::of(ruleset);
//! let seed = packets::seed()?;
//! let frames: Vec<_> = Packets::new(&constants, seed).take(5000).collect();
//! for scene in Scene::ALL {
//!     let report = scene.run("rules.v4", text, &constants, &frames, |text| compile(text))?;
//!     assert!(report.is_clean(), "seed {seed}: {report}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Accepted packets end at the last tap: they are delivered to no socket and leave by no device. So
//! nothing answers, no connection is ever confirmed, and every packet meets the same kernel state.
//! What depends on time (`limit`) or chance (`statistic`) cannot be compared this way.

pub mod checksum;
pub mod compare;
pub mod constants;
pub mod exceptions;
pub mod extension_header;
pub mod frame;
pub mod host;
pub mod mirror;
pub mod netfilter;
pub mod netns;
pub mod packets;
pub mod scene;
pub mod subjects;
mod tool;
pub mod trials;
pub mod words;
