//! Programs of others where ours run: which are there, and which runs first.

use std::path::PathBuf;

use ipt2bpf_codegen::module::Hook;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};

use crate::attach::{Attachment, Site};
use crate::cgroup::Cgroup;
use crate::dispatcher::Dispatcher;
use crate::error::{Error, Step};
use crate::load::kernel_types;
use crate::netlink::dump;
use crate::sys::{self, Program};

/// `XDP_FLAGS_SKB_MODE`, `XDP_FLAGS_DRV_MODE` and `XDP_FLAGS_HW_MODE` of linux/if_link.h.
pub(crate) const XDP_GENERIC: u32 = 1 << 1;
pub(crate) const XDP_NATIVE: u32 = 1 << 2;
const XDP_OFFLOADED: u32 = 1 << 3;

/// A program that is attached somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its id.
    pub id: u32,
    /// Its name in the kernel; empty when it has none or is gone meanwhile.
    pub name: String,
    /// The cgroup that it is attached to; none when that is not visible from here.
    pub cgroup: Option<PathBuf>,
}

impl Attachment {
    /// The programs that packets of the cgroup meet at the hook, in the kernel's order, this one and those
    /// of the cgroups above among them. A packet that one drops is dropped, and all are run
    /// (`bpf_prog_run_array_cg`, kernel/bpf/cgroup.c). At an interface those that libxdp's dispatcher calls,
    /// each as far as the one before passes the packet on; none where there is no dispatcher.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Io`].
    pub fn neighbours(&self) -> Result<Vec<Neighbour>, Error> {
        let path = match &self.site {
            Site::Cgroup {
                path: Some(path), ..
            } if self.alive => path,
            Site::Interface { name: Some(_), .. } if self.alive => return self.called_with(),
            _ => return Ok(Vec::new()),
        };
        let attach_type = kernel_types(self.hook).1;
        let ask = |cgroup: &Cgroup, effective| {
            sys::cgroup_programs(&cgroup.dir, attach_type, effective)
                .map_err(Error::refused(Step::Inspect))
        };
        // Whose each of them is: those above may not be visible from here, or no cgroups.
        let mut owners = Vec::new();
        for path in path.ancestors() {
            let Ok(cgroup) = Cgroup::open(path) else {
                break;
            };
            owners.push((path.to_owned(), ask(&cgroup, false)?));
        }
        let effective = ask(&Cgroup::open(path)?, true)?;
        let neighbours = effective.into_iter().map(|id| {
            // One program may be attached at several cgroups; each is told once, from here upwards.
            let owner = owners.iter_mut().find_map(|(path, ids)| {
                let at = ids.iter().position(|&other| other == id)?;
                ids.remove(at);
                Some(path.clone())
            });
            Neighbour {
                cgroup: owner,
                ..Neighbour::new(id)
            }
        });
        Ok(neighbours.collect())
    }

    /// The programs that the dispatcher of an interface calls.
    fn called_with(&self) -> Result<Vec<Neighbour>, Error> {
        let root = self.pin.ancestors().nth(3);
        let Some(dispatchers) = root.and_then(|root| self.dispatchers(root)) else {
            return Ok(Vec::new());
        };
        let running = dispatchers.running()?;
        let programs = running.iter().flat_map(Dispatcher::programs);
        Ok(programs.map(Neighbour::new).collect())
    }
}

/// The program that runs at an interface of the calling thread's network namespace, in whatever mode.
///
/// # Errors
/// [`Error::Refused`].
pub fn xdp_program(index: u32) -> Result<Option<Neighbour>, Error> {
    Ok(running_xdp(index)?.map(|program| Neighbour::new(program.id)))
}

/// What runs at an interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct XdpProgram {
    pub id: u32,
    /// The flag of its mode (`XDP_FLAGS_*` of linux/if_link.h).
    pub mode: u32,
}

/// As [`xdp_program`], with the mode.
pub(crate) fn running_xdp(index: u32) -> Result<Option<XdpProgram>, Error> {
    let found = dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))
        .map_err(Error::refused(Step::Inspect))?;
    let links = found.into_iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewLink(link) if link.header.index == index => Some(link),
        _ => None,
    });
    let attributes = links.flat_map(|link| link.attributes);
    let told = attributes.filter_map(|attribute| match attribute {
        LinkAttribute::Xdp(told) => Some(told),
        _ => None,
    });
    Ok(told.flatten().find_map(|told| match told {
        LinkXdp::DrvProgId(id) => Some(XdpProgram {
            id,
            mode: XDP_NATIVE,
        }),
        LinkXdp::SkbProgId(id) => Some(XdpProgram {
            id,
            mode: XDP_GENERIC,
        }),
        LinkXdp::HwProgId(id) => Some(XdpProgram {
            id,
            mode: XDP_OFFLOADED,
        }),
        _ => None,
    }))
}

/// The name of a program, or nothing: to name it is a courtesy.
fn program_name(id: u32) -> String {
    Program::from_id(id).map_or_else(|_| String::new(), |program| program.name)
}

impl Neighbour {
    fn new(id: u32) -> Neighbour {
        Neighbour {
            id,
            name: program_name(id),
            cgroup: None,
        }
    }

    /// Whether the program is named as ours are.
    pub fn is_ours(&self) -> bool {
        Hook::ALL
            .iter()
            .any(|hook| hook.program_name() == self.name)
    }
}
