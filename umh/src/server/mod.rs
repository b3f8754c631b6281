//! The listening side: a thread for each client, and bounds that keep clients from harming others.
//!
//! - There are at most so many connections. When another comes, the one that has waited longest without a
//!   whole request ends, so that connections that say nothing, or half of something, keep nobody out.
//! - A request that has begun must be whole, and a reply read, within some seconds.
//! - What is large is counted against a [budget] that all share.

pub mod budget;
mod connection;

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::access::Peer;
use crate::service::Service;
use budget::Budget;
use connection::Connection;

/// The stack of a client's thread, of which memory is only what is used.
const STACK: usize = 2 << 20;

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many clients there are at most.
    pub connections: usize,
    /// How long a request may take to arrive, and a reply to be read.
    pub patience: Duration,
    /// How many bytes of large requests and replies there are at most.
    pub memory: usize,
}

/// The listening side.
#[derive(Debug)]
pub struct Server {
    service: Service,
    bounds: Bounds,
    budget: Budget,
    clients: Mutex<HashMap<u64, Client>>,
}

/// A client, for those who decide which one ends.
#[derive(Debug)]
struct Client {
    stream: UnixStream,
    user: u32,
    /// Since when it has given nothing to do; none while something is done for it.
    waits: Option<Instant>,
}

impl Server {
    /// A server with these bounds.
    pub fn new(service: Service, bounds: Bounds) -> Arc<Server> {
        Arc::new(Server {
            service,
            bounds,
            budget: Budget::new(bounds.memory),
            clients: Mutex::default(),
        })
    }

    /// Serves all who connect, for ever.
    ///
    /// # Errors
    /// The listener's, when it is of no more use.
    pub fn serve(self: &Arc<Server>, listener: &UnixListener) -> io::Result<()> {
        for number in 0.. {
            match listener.accept() {
                Ok((stream, _)) => self.welcome(number, stream),
                Err(error) => match error.raw_os_error() {
                    // The client has gone already.
                    Some(libc::ECONNABORTED | libc::EINTR) => {}
                    // Too many files or too little memory, for now.
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        self.make_room(0);
                        thread::sleep(Duration::from_millis(20));
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Gives a client its thread. One for which there is no room finds its connection closed.
    fn welcome(self: &Arc<Server>, number: u64, stream: UnixStream) {
        let (Ok(peer), Ok(handle)) = (Peer::of(&stream), stream.try_clone()) else {
            return;
        };
        if !self.make_room(self.bounds.connections - 1) {
            return;
        }
        let client = Client {
            stream: handle,
            user: peer.user,
            waits: Some(Instant::now()),
        };
        self.clients().insert(number, client);
        let server = Arc::clone(self);
        let thread = thread::Builder::new().stack_size(STACK).spawn(move || {
            Connection::new(&server, number, &peer, &stream).serve();
            server.clients().remove(&number);
        });
        if thread.is_err() {
            self.clients().remove(&number);
        }
    }

    /// Ends connections until there are at most so many: of the user who has most, the one that has waited
    /// longest. Says whether that was possible; one that is being served does not end.
    fn make_room(&self, most: usize) -> bool {
        let mut clients = self.clients();
        if clients.len() <= most {
            return true;
        }
        let mut numbers: HashMap<u32, usize> = HashMap::new();
        for client in clients.values().filter(|client| client.waits.is_some()) {
            *numbers.entry(client.user).or_default() += 1;
        }
        let greedy = numbers.iter().max_by_key(|(_, number)| **number);
        let Some((&greedy, _)) = greedy else {
            return false;
        };
        let waiting = clients.iter().filter(|(_, client)| client.user == greedy);
        let waiting = waiting.filter_map(|(&number, client)| Some((client.waits?, number)));
        let Some((_, oldest)) = waiting.min() else {
            return false;
        };
        if let Some(client) = clients.remove(&oldest) {
            // Its thread finds the end of the stream.
            let _ = client.stream.shutdown(Shutdown::Both);
        }
        true
    }

    /// Notes whether a client waits or is served. Says whether it is still among the clients.
    fn note(&self, number: u64, waits: bool) -> bool {
        let mut clients = self.clients();
        let client = clients.get_mut(&number);
        let known = client.is_some();
        if let Some(client) = client {
            client.waits = waits.then(Instant::now);
        }
        known
    }

    /// Nothing that holds the lock panics.
    fn clients(&self) -> MutexGuard<'_, HashMap<u64, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
