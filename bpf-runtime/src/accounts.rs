//! What `-m nfacct` has counted under names.

use std::collections::HashSet;

use aya_obj::generated::bpf_map_type;
use ipt2bpf_codegen::meaning::nfacct::{ACCOUNTS_MAP, NAME, VALUE};

use crate::error::{Error, Step};
use crate::maps::{Counter, Maps};

impl Maps {
    /// The names with what was counted under them, by name; empty where no rule has such a match.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn accounts(&self) -> Result<Vec<(Vec<u8>, Counter)>, Error> {
        let Ok(map) = self.get(ACCOUNTS_MAP) else {
            return Ok(Vec::new());
        };
        let right = map.is_kind(bpf_map_type::BPF_MAP_TYPE_HASH)
            && (map.key_size, map.value_size) == (NAME, VALUE);
        if !right {
            return Ok(Vec::new());
        }
        let refused = || Error::refused(Step::ReadMap(ACCOUNTS_MAP.to_owned()));
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let mut last: Option<Vec<u8>> = None;
        // Behind a key that is gone the kernel begins anew.
        while let Some(key) = map.next_key(last.as_deref()).map_err(refused())? {
            if !seen.insert(key.clone()) {
                break;
            }
            let mut value = [0; VALUE];
            if map.lookup(&key, &mut value).map_err(refused())? {
                let name = key.split(|&byte| byte == 0).next().unwrap_or_default();
                found.push((name.to_vec(), Counter::from_bytes(&value)));
            }
            last = Some(key);
        }
        found.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        Ok(found)
    }
}
