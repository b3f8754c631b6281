//! The BPF file system, where objects get names that outlive processes.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::error::{Error, Step};
use crate::mounts::mounts_of;
use crate::sys::{self, Object};

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Where systemd and libbpf mount it.
const USUAL_MOUNT: &str = "/sys/fs/bpf";

/// The usual mount point if it is one, else the first.
pub fn mount_point() -> Result<PathBuf, Error> {
    if is_bpffs(Path::new(USUAL_MOUNT)) {
        return Ok(PathBuf::from(USUAL_MOUNT));
    }
    mounts_of("bpf")?.into_iter().next().ok_or(Error::NoBpffs)
}

fn is_bpffs(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type as u64 == BPF_FS_MAGIC)
}

/// Makes a directory and those above it, if that is on a BPF file system.
pub fn create_dir(path: &Path) -> Result<(), Error> {
    let existing = path.ancestors().find(|ancestor| ancestor.exists());
    if !existing.is_some_and(is_bpffs) {
        return Err(Error::NotBpffs {
            path: path.to_owned(),
        });
    }
    fs::create_dir_all(path).map_err(Error::io(path))
}

/// Opens a pin; `None` where nothing is.
pub fn open(path: &Path) -> Result<Option<Object>, Error> {
    match sys::open_pin(path) {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // The kernel's answer for a directory says nothing of what is wrong.
        Err(_) if path.is_dir() => Err(Error::NotOurs {
            path: path.to_owned(),
        }),
        Err(error) => Err(Error::refused(Step::OpenPin(path.to_owned()))(error)),
    }
}

/// Pins an object where nothing is.
pub fn pin(object: impl AsFd, path: &Path) -> Result<(), Error> {
    sys::pin(object, path).map_err(Error::refused(Step::Pin(path.to_owned())))
}

/// What a pin is called before it takes the place of another.
pub fn unnamed(path: &Path) -> PathBuf {
    let mut new = path.as_os_str().to_owned();
    new.push("_new");
    PathBuf::from(new)
}

/// Pins an object in the place of what is there, which is gone at the same moment.
pub fn replace(object: impl AsFd, path: &Path) -> Result<(), Error> {
    let new = unnamed(path);
    remove(&new)?;
    pin(object, &new)?;
    fs::rename(&new, path).map_err(|error| {
        // The pin is of no use under this name; the first error is the one to tell.
        let _ = fs::remove_file(&new);
        Error::io(path)(error)
    })
}

/// Removes a pin if it is there.
pub fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// The entries of a directory in order; none where there is no directory.
pub fn entries(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::io(path))?,
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::io(path))?;
    paths.sort();
    Ok(paths)
}

/// The last part of a path.
pub fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
