//! Directories of the cgroup v2 hierarchy and their ids.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use ipt2bpf_codegen::options::ControlGroup;

use crate::error::Error;
use crate::mounts::mounts_of;

/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// An open cgroup.
pub struct Cgroup {
    pub dir: fs::File,
    /// The id that links and `bpf_get_current_cgroup_id` tell; the directory's inode number
    /// (fs/kernfs, on 64-bit machines).
    pub id: u64,
}

impl Cgroup {
    /// The root of the hierarchy, which all sockets are in.
    pub fn root() -> Result<Cgroup, Error> {
        match mounts_of("cgroup2")?.first() {
            Some(path) => Cgroup::open(path),
            None => Err(Error::NoCgroups),
        }
    }

    pub fn open(path: &Path) -> Result<Cgroup, Error> {
        let dir = fs::File::open(path).map_err(Error::io(path))?;
        let metadata = dir.metadata().map_err(Error::io(path))?;
        let stat = rustix::fs::fstatfs(&dir).map_err(|error| Error::io(path)(error.into()))?;
        if stat.f_type as u64 != CGROUP2_SUPER_MAGIC || !metadata.is_dir() {
            return Err(Error::NotCgroup {
                path: path.to_owned(),
            });
        }
        Ok(Cgroup {
            dir,
            id: metadata.ino(),
        })
    }
}

/// The group of a path as `-m cgroup --path` writes it, from the root of the hierarchy on; none when there is
/// no such group.
///
/// # Errors
/// [`Error::NoCgroups`] where the whole hierarchy is not to be seen, [`Error::Io`].
pub fn group_of(path: &[u8]) -> Result<Option<ControlGroup>, Error> {
    let mut mounts = mounts_of("cgroup2")?.into_iter();
    let is_root = |dir: &PathBuf| dir.metadata().is_ok_and(|it| it.ino() == ROOT_ID);
    let mut dir = mounts.find(is_root).ok_or(Error::NoCgroups)?;
    let mut level = 0;
    // As `kernfs_walk_ns` (fs/kernfs/dir.c) does: empty names count for nothing, and dots for names.
    for name in path.split(|&byte| byte == b'/').filter(|it| !it.is_empty()) {
        if name == b"." || name == b".." {
            return Ok(None);
        }
        dir.push(OsStr::from_bytes(name));
        level += 1;
    }
    match dir.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(Some(ControlGroup {
            id: metadata.ino(),
            level,
        })),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(&dir)(error)),
    }
}

/// The id of the root of the hierarchy, which no root of a namespace has.
const ROOT_ID: u64 = 1;

/// The directories of all cgroups by id.
pub fn directories() -> Result<BTreeMap<u64, PathBuf>, Error> {
    let mut found = BTreeMap::new();
    let mut open = mounts_of("cgroup2")?;
    while let Some(dir) = open.pop() {
        // Cgroups come and go; one that vanished meanwhile is not there.
        let (Ok(metadata), Ok(entries)) = (dir.metadata(), fs::read_dir(&dir)) else {
            continue;
        };
        open.extend(
            entries
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
        found.entry(metadata.ino()).or_insert(dir);
    }
    Ok(found)
}
