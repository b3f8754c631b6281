//! The parser against iptables itself: what iptables-legacy-restore takes must print back as
//! iptables-legacy-save printed it, and what it refuses must be refused. The texts lie beside the
//! repository; without them the tests say so and pass.

mod canonical;
mod files;
mod refused;
mod support;
mod upstream;
