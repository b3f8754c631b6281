//! Names that this machine adds to those everyone knows.

use std::fs;

use ipt2bpf_parser::Names;

/// The names of protocols, services, users, groups and networks that this machine adds to those everyone
/// knows. A file that is not there adds none.
pub fn system_names() -> Names {
    let mut names = Names::default();
    let text = |file: &str| fs::read(file).unwrap_or_default();
    names.add_protocols(&text("/etc/protocols"));
    names.add_services(&text("/etc/services"));
    names.add_users(&text("/etc/passwd"));
    names.add_groups(&text("/etc/group"));
    names.add_networks(&text("/etc/networks"));
    names
}
