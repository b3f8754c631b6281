//! `struct xt_cgroup_info_v2` (netfilter/xt_cgroup.h). The kernel's pointer is zero on the wire.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, test};
use crate::blob::layout::{until_nul, with_nul};
use crate::matches::cgroup::Cgroup;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Cgroup2 {
    has_path: u8,
    has_class: u8,
    not_path: u8,
    not_class: u8,
    /// The path, or the class in the first four bytes.
    path: [u8; 512],
    kernel: [u8; 12],
}

impl Wire for Cgroup2 {
    type Value = Cgroup;
    const NAME: &'static str = "cgroup";
    const REVISION: u8 = 2;

    fn read(&self, _: &Context<'_>) -> Result<Option<Cgroup>, Refused> {
        if self.not_path > 1 || self.not_class > 1 {
            return Err(Refused("an unknown inversion"));
        }
        let [a, b, c, d, ..] = self.path;
        match (self.has_path != 0, self.has_class != 0) {
            (true, false) => {
                let path = until_nul(&self.path).map(|path| path.into());
                Ok(path.map(|path| Cgroup::Path(test(self.not_path != 0, path))))
            }
            (false, true) => {
                let class = u32::from_le_bytes([a, b, c, d]);
                Ok(Some(Cgroup::Class(test(self.not_class != 0, class))))
            }
            _ => Err(Refused("not just a path or just a class")),
        }
    }

    fn write(value: &Cgroup, _: &Context<'_>) -> Option<Self> {
        let (path, class, bytes) = match value {
            Cgroup::Path(path) => (Some(path.negated), None, with_nul(&path.value.value)?),
            Cgroup::Class(class) => {
                let mut bytes = [0; 512];
                *bytes.first_chunk_mut()? = class.value.value.to_le_bytes();
                (None, Some(class.negated), bytes)
            }
        };
        Some(Self {
            has_path: path.is_some().into(),
            has_class: class.is_some().into(),
            not_path: path.unwrap_or_default().into(),
            not_class: class.unwrap_or_default().into(),
            path: bytes,
            kernel: [0; 12],
        })
    }
}
