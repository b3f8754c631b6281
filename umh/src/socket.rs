//! Where the service listens: a socket that systemd hands over, or one of its own.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::process::umask;
use thiserror::Error;

use crate::sys;

/// Where it is unless somebody says otherwise.
pub const PATH: &str = "/run/ipt2bpf/ipt2bpf.sock";

/// Why the service cannot listen.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Somebody listens there already.
    #[error("{}: somebody listens there already", .0.display())]
    Taken(PathBuf),
    /// The socket cannot be made.
    #[error("{}: {source}", path.display())]
    Bind {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// systemd's socket cannot be used.
    #[error("the socket that LISTEN_FDS names: {0}")]
    Inherited(#[source] io::Error),
    /// One is expected.
    #[error("LISTEN_FDS names {0} sockets, and there is one service")]
    Several(usize),
}

/// The socket of socket activation, if this process was started so (sd_listen_fds(3)).
///
/// # Errors
/// [`SocketError::Inherited`], [`SocketError::Several`].
pub fn activated() -> Result<Option<UnixListener>, SocketError> {
    let mut descriptors = sd_notify::listen_fds().map_err(SocketError::Inherited)?;
    match (descriptors.next(), descriptors.len()) {
        (None, _) => Ok(None),
        (Some(first), 0) => {
            let descriptor: OwnedFd = sys::inherited(first).map_err(SocketError::Inherited)?;
            Ok(Some(descriptor.into()))
        }
        (_, more) => Err(SocketError::Several(1 + more)),
    }
}

/// Listens at a path, for its user and a group, whoever else may look into the directory. A socket that nobody
/// listens at is replaced.
///
/// # Errors
/// [`SocketError::Taken`], [`SocketError::Bind`].
pub fn bind(path: &Path, group: Option<u32>) -> Result<UnixListener, SocketError> {
    let wrong = |source| SocketError::Bind {
        path: path.to_owned(),
        source,
    };
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(wrong)?;
    }
    match UnixStream::connect(path) {
        Ok(_) => return Err(SocketError::Taken(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(wrong)?;
        }
        Err(_) => {}
    }
    // Nobody connects before the group is set.
    let before = umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    let listener = listener.map_err(wrong)?;
    chown(path, None, group).map_err(wrong)?;
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(wrong)?;
    Ok(listener)
}

/// The number of a group, as /etc/group has it (group(5)).
pub fn group(name: &str) -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then_some(())?;
        fields.nth(1)?.parse().ok()
    })
}

/// Tells the service manager that clients may come (sd_notify(3)); without one, nobody.
pub fn ready() {
    // What cannot be told is not missed: the socket is there.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}
