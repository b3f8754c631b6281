//! Everything that talks to the kernel: loading what the compiler made, running it on test packets,
//! pinning, attaching, and reading what it counted.
//!
//! ```no_run
//! # fn main() -> Result<(), ipt2bpf_runtime::Error> {
//! # let object: Vec<u8> = Vec::new();
//! use ipt2bpf_runtime::{Registry, load};
//!
//! let loaded = load(&object)?;
//! loaded.maps().fill_devices()?;
//! loaded.maps().fill_addresses()?;
//! let registry = Registry::find()?;
//! registry.attach_cgroup(&loaded, "/sys/fs/cgroup/system.slice".as_ref())?;
//! for attachment in registry.list()? {
//!     println!("{attachment:?}: {:?}", attachment.maps()?.counters()?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What the kernel keeps
//! A program holds its maps, a link holds its program, and a pin in a BPF file system (bpffs) holds a
//! link, a program or a map. All maps of an object are bound to each of its programs
//! (`BPF_PROG_BIND_MAP`), also those that no instruction names, so whoever has a link has the counters
//! and the text of the rules as well. Attachments therefore pin nothing but their links, and replacing
//! the program of a link replaces everything in one step. See [`attach`] for where the pins are.
//!
//! # Requirements
//! Linux 5.10, and the capabilities `CAP_BPF` and `CAP_NET_ADMIN`. Replacing what is attached and
//! [`Attachment::maps`] also need `CAP_SYS_ADMIN`, because they look objects up by id.

mod accounts;
mod addresses;
pub mod attach;
mod bpffs;
mod btf;
mod cgroup;
mod clock;
mod connections;
pub mod counters;
mod devices;
mod dispatcher;
mod error;
mod events;
mod flows;
mod hand_over;
pub mod kernel;
mod load;
mod log;
mod maps;
mod mounts;
mod names;
mod netlink;
mod others;
mod pin;
mod ring;
mod sets;
mod sys;
mod test_run;
mod traffic;
mod turn;

pub use addresses::addresses;
pub use attach::{Attachment, Registry, Site, XdpMode, XdpWish};
pub use cgroup::group_of;
pub use devices::{Interface, LinkLayer, interfaces, link_layer};
pub use error::{Error, Step};
pub use events::NetworkChanges;
pub use flows::{TableStatistics, TrackedConnection};
pub use load::{Loaded, load, load_keeping, load_onto, load_remembering};
pub use log::{Log, LogNames};
pub use maps::{Counter, Maps};
pub use names::system_names;
pub use others::{Neighbour, xdp_program};
pub use ring::{Enough, Ring, since_epoch};
pub use sets::{Changed, LiveSet};
pub use test_run::{TestPacket, TestRun};
pub use traffic::Traffic;
pub use turn::{Turn, Wait};
