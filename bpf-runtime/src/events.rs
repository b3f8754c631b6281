//! Waiting until interfaces, addresses or routes change (rtnetlink(7)).

use std::io;
use std::thread::sleep;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::error::{Error, Step};

/// The groups of messages about interfaces, addresses and routes (`RTNLGRP_*` of linux/rtnetlink.h): LINK,
/// IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE.
const GROUPS: [u32; 5] = [1, 5, 7, 9, 11];

/// How long changes that come together may take.
const TOGETHER: Duration = Duration::from_millis(50);

/// Changes of the network namespace of the thread that began to listen.
#[derive(Debug)]
pub struct NetworkChanges(Socket);

impl NetworkChanges {
    /// Begins to listen.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn listen() -> Result<NetworkChanges, Error> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            for group in GROUPS {
                socket.add_membership(group)?;
            }
            Ok(socket)
        };
        open()
            .map(NetworkChanges)
            .map_err(Error::refused(Step::ListenToNetwork))
    }

    /// Waits for a change, and for those that come with it. What they are is to be looked up.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn wait(&self) -> Result<(), Error> {
        self.receive(false)?;
        sleep(TOGETHER);
        while self.receive(true)? {}
        Ok(())
    }

    /// Takes a message; false when there is none now.
    fn receive(&self, at_once: bool) -> Result<bool, Error> {
        let refused = Error::refused(Step::ListenToNetwork);
        self.0
            .set_non_blocking(at_once)
            .map_err(Error::refused(Step::ListenToNetwork))?;
        match self.0.recv_from_full() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            // Messages were lost, so there was a change (netlink(7)).
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(refused(error)),
        }
    }
}
