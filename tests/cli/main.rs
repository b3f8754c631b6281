//! The command as a user without root meets it: what it prints where, and with which exit code.

mod captures;
mod check;
mod compile;
mod desk;
mod explain;
mod input;
mod messages;
mod pcap;
mod sets;
mod usage;
