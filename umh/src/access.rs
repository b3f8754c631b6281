//! Who may do what: the process at the other end of a socket, as the kernel knows it (SO_PEERCRED).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::sockopt::socket_peercred;

use crate::sys;

/// A process that has connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its user, as it was when it connected.
    pub user: u32,
    /// Its groups, then.
    groups: Vec<u32>,
}

impl Peer {
    /// Who is at the other end.
    ///
    /// # Errors
    /// Those of asking.
    pub fn of(socket: impl AsFd) -> io::Result<Peer> {
        let socket: BorrowedFd<'_> = socket.as_fd();
        let credentials = socket_peercred(socket)?;
        let mut groups = sys::peer_groups(socket)?;
        groups.push(credentials.gid.as_raw());
        Ok(Peer {
            user: credentials.uid.as_raw(),
            groups,
        })
    }

    /// Whether it may load and attach: root, who runs the service, and one group, if there is one.
    pub fn is_privileged(&self, group: Option<u32>) -> bool {
        let runs_it = rustix::process::geteuid().as_raw();
        self.user == 0
            || self.user == runs_it
            || group.is_some_and(|group| self.groups.contains(&group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_one_group_are_privileged() {
        let peer = |user, groups: &[u32]| Peer {
            user,
            groups: groups.to_vec(),
        };
        assert!(peer(0, &[]).is_privileged(None));
        assert!(!peer(65533, &[7]).is_privileged(None));
        assert!(!peer(65533, &[7]).is_privileged(Some(8)));
        assert!(peer(65533, &[7, 8]).is_privileged(Some(8)));
    }
}
