//! Programs of others where ours run: which are there, and which runs first.

use std::path::PathBuf;

use ipt2bpf_codegen::module::Hook;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};

use crate::attach::{Attachment, Site};
use crate::cgroup::Cgroup;
use crate::error::{Error, Step};
use crate::load::kernel_types;
use crate::netlink::dump;
use crate::sys::{self, Program};

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
    /// (`bpf_prog_run_array_cg`, kernel/bpf/cgroup.c). None at an interface, which has one program.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Io`].
    pub fn neighbours(&self) -> Result<Vec<Neighbour>, Error> {
        let path = match &self.site {
            Site::Cgroup {
                path: Some(path), ..
            } if self.alive => path,
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
                id,
                name: program_name(id),
                cgroup: owner,
            }
        });
        Ok(neighbours.collect())
    }
}

/// The program that runs at an interface of the calling thread's network namespace, in whatever mode.
///
/// # Errors
/// [`Error::Refused`].
pub fn xdp_program(index: u32) -> Result<Option<Neighbour>, Error> {
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
    let id = told.flatten().find_map(|told| match told {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) => Some(id),
        _ => None,
    });
    Ok(id.map(|id| Neighbour {
        id,
        name: program_name(id),
        cgroup: None,
    }))
}

/// The name of a program, or nothing: to name it is a courtesy.
fn program_name(id: u32) -> String {
    Program::from_id(id).map_or_else(|_| String::new(), |program| program.name)
}

impl Neighbour {
    /// Whether the program is named as ours are.
    pub fn is_ours(&self) -> bool {
        Hook::ALL
            .iter()
            .any(|hook| hook.program_name() == self.name)
    }
}
