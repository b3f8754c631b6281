//! The kernel's ipsets, for rules that name them.

use std::collections::BTreeMap;
use std::process::Command;

/// The sets of this network namespace.
#[derive(Clone, Debug, Default)]
pub struct KernelSets {
    /// Their names by the kernel's index, which blobs have.
    pub names: BTreeMap<u16, String>,
    /// As ipset save prints them.
    pub text: String,
}

impl KernelSets {
    /// The sets, if something in these bytes can ask for one: a text or a blob with the match or the target. Without
    /// the tool there are none, and rules that ask for one are refused.
    pub fn asked_for(bytes: &[u8]) -> KernelSets {
        let is_there = |needle: &[u8]| bytes.windows(needle.len()).any(|it| it == needle);
        let is_named = [&b"--match-set "[..], b"-j SET ", b"set\0", b"SET\0"];
        if !is_named.into_iter().any(is_there) {
            return KernelSets::default();
        }
        let output = Command::new("ipset").arg("save").output();
        let text = output
            .ok()
            .filter(|output| output.status.success())
            .and_then(|output| String::from_utf8(output.stdout).ok())
            .unwrap_or_default();
        let created = text.lines().filter_map(|line| line.strip_prefix("create "));
        let created = created.filter_map(|line| line.split(' ').next());
        let names =
            created.filter_map(|name| Some((crate::sys::set_index(name)?, name.to_owned())));
        KernelSets {
            names: names.collect(),
            text,
        }
    }
}
