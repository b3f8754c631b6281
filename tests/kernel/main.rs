//! Programs in the kernel, with real connections: each test has namespaces of its own, and is skipped
//! without root.

mod attach;
mod changes;
mod dispatcher;
mod iptables;
mod kill;
mod options;
mod others;
mod places;
mod run;
mod see;
mod serve;
mod sets;
mod soak;
mod talk;
mod transfers;
mod units;
mod watch;
