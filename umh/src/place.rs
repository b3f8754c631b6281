//! Where programs are attached.

use std::path::PathBuf;

use ipt2bpf_codegen::module::Hook;
use ipt2bpf_runtime::{Attachment, Error, Loaded, Maps, Registry, XdpMode, XdpWish};
use serde::Deserialize;

/// A cgroup, or interfaces: one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Fields")]
pub enum Place {
    /// A directory of the cgroup v2 hierarchy.
    Cgroup(PathBuf),
    /// Names of interfaces in the network namespace of the service.
    Interfaces(Vec<String>),
}

/// As Varlink has it, which knows no choice between types.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default)]
    cgroup: Option<PathBuf>,
    #[serde(default)]
    interfaces: Option<Vec<String>>,
}

impl TryFrom<Fields> for Place {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Place, &'static str> {
        match (fields.cgroup, fields.interfaces) {
            (Some(path), None) => Ok(Place::Cgroup(path)),
            (None, Some(names)) if !names.is_empty() => Ok(Place::Interfaces(names)),
            _ => Err("`place` is either a cgroup or interfaces"),
        }
    }
}

impl Place {
    /// The hooks that it has.
    pub fn hooks(&self) -> Vec<Hook> {
        match self {
            Place::Cgroup(_) => vec![Hook::CgroupIngress, Hook::CgroupEgress],
            Place::Interfaces(_) => vec![Hook::Xdp],
        }
    }

    /// What is attached there and runs.
    ///
    /// # Errors
    /// Those of looking.
    pub fn attachments(&self, registry: &Registry) -> Result<Vec<Attachment>, Error> {
        let mut found = Vec::new();
        match self {
            Place::Cgroup(path) => found = registry.at_cgroup(path)?,
            Place::Interfaces(names) => {
                for name in names {
                    found.extend(registry.at_interface(name)?);
                }
            }
        }
        found.retain(|attachment| attachment.alive);
        Ok(found)
    }

    /// The maps of what is attached there: those of one object are one.
    ///
    /// # Errors
    /// Those of looking.
    pub fn objects(&self, registry: &Registry) -> Result<Vec<Maps>, Error> {
        let mut objects: Vec<Maps> = Vec::new();
        for attachment in self.attachments(registry)? {
            let maps = attachment.maps()?;
            if !objects.iter().any(|known| known.same_as(&maps)) {
                objects.push(maps);
            }
        }
        Ok(objects)
    }

    /// Attaches programs in the place of what is there, in one step; those of interfaces run where they are wished.
    /// Returns what is good to know.
    ///
    /// # Errors
    /// What the kernel says; then nothing has changed.
    pub fn put(
        &self,
        registry: &Registry,
        loaded: &Loaded,
        wish: XdpWish,
    ) -> Result<Vec<String>, Error> {
        let names = match self {
            Place::Cgroup(path) => {
                registry.attach_cgroup(loaded, path)?;
                return Ok(Vec::new());
            }
            Place::Interfaces(names) => names,
        };
        let interfaces: Vec<&str> = names.iter().map(String::as_str).collect();
        let tracks_leaving = loaded.hooks().any(|hook| hook == Hook::CgroupEgress);
        let mut notes = Vec::new();
        let modes = match tracks_leaving {
            true => registry.attach_xdp_with_companion(loaded, &interfaces, wish)?,
            false => registry.attach_xdp(loaded, &interfaces, wish)?,
        };
        if tracks_leaving {
            notes.push(
                "rules ask for connections: a program at the root cgroup tracks what this host sends"
                    .to_owned(),
            );
        }
        for (interface, mode) in interfaces.iter().zip(modes) {
            if let XdpMode::Refused { reason } = mode {
                notes.push(format!(
                    "the driver of {interface} runs no XDP programs ({reason}); the program runs in the \
                     stack, where it costs more"
                ));
            }
        }
        Ok(notes)
    }
}
