//! ipsets: rules of the binary form name them by the kernel's index.

use std::collections::BTreeMap;

/// The ipsets of a network namespace by their index (`ip_set_id_t`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetNames(BTreeMap<u16, String>);

impl SetNames {
    /// The name of a set.
    pub fn name(&self, index: u16) -> Option<&str> {
        self.0.get(&index).map(String::as_str)
    }

    /// The index of a set.
    pub fn index(&self, name: &str) -> Option<u16> {
        let found = self.0.iter().find(|row| row.1 == name);
        found.map(|row| *row.0)
    }
}

impl FromIterator<(u16, String)> for SetNames {
    fn from_iter<I: IntoIterator<Item = (u16, String)>>(rows: I) -> Self {
        Self(rows.into_iter().collect())
    }
}
