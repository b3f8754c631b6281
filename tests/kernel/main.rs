//! Programs in the kernel, with real connections: each test has namespaces of its own, and is skipped
//! without root.

mod attach;
mod kill;
mod others;
mod places;
mod see;
mod sets;
mod soak;
mod units;
mod watch;
