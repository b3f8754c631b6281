//! Connections: who listens, and who gets through.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// Long for a connection over a virtual wire, short for a test.
pub const PATIENCE: Duration = Duration::from_millis(400);

pub const LOOPBACKS: [&str; 2] = ["127.0.0.1", "[::1]"];

pub fn address(host: &str, port: u16) -> SocketAddr {
    format!("{host}:{port}").parse().unwrap()
}

pub fn listen(hosts: &[&str], ports: &[u16]) -> Result<Vec<TcpListener>> {
    let addresses = hosts
        .iter()
        .flat_map(|host| ports.iter().map(move |&port| address(host, port)));
    addresses
        .map(|address| TcpListener::bind(address).with_context(|| address.to_string()))
        .collect()
}

pub fn connects(host: &str, port: u16) -> bool {
    TcpStream::connect_timeout(&address(host, port), PATIENCE).is_ok()
}
