//! Pinning an object without attaching it, for others to attach: systemd's `IPIngressFilterPath=`,
//! bpftool, one's own code.
//!
//! The layout below the directory:
//! ```text
//! DIR/ipt2bpf_ingress   the programs, by Hook::program_name
//! DIR/ipt2bpf_egress
//! DIR/ipt2bpf_xdp
//! DIR/maps/counters     the maps; `.rodata` is `rodata` and `.rodata.rules` is `rules`,
//! DIR/maps/rules        because names in a BPF file system hold no dots
//! ```

use std::path::{Path, PathBuf};

use ipt2bpf_codegen::module::Hook;

use crate::bpffs;
use crate::error::Error;
use crate::load::Loaded;
use crate::maps::Maps;
use crate::sys::Object;

const MAPS_DIR: &str = "maps";

impl Loaded {
    /// Pins the programs and maps below a directory on a BPF file system, which is made if need be.
    /// What an earlier call has pinned there is replaced, pin by pin, each atomically.
    ///
    /// # Errors
    /// [`Error::NotBpffs`]; [`Error::NotOurs`] when another thing has the name of one of our pins, in
    /// which case nothing is changed; [`Error::Refused`].
    pub fn pin(&self, dir: &Path) -> Result<(), Error> {
        let maps_dir = dir.join(MAPS_DIR);
        let programs: Vec<_> = self
            .programs()
            .map(|(hook, program)| (dir.join(hook.program_name()), program))
            .collect();
        let maps: Vec<_> = self
            .maps()
            .iter()
            .map(|map| (maps_dir.join(pin_name(&map.name)), map))
            .collect();
        let wanted: Vec<&PathBuf> = programs
            .iter()
            .map(|(path, _)| path)
            .chain(maps.iter().map(|(path, _)| path))
            .collect();

        bpffs::create_dir(&maps_dir)?;
        let ours = our_pins(dir, &maps_dir)?;
        if let Some(&taken) = wanted
            .iter()
            .find(|path| path.exists() && !ours.contains(path))
        {
            return Err(Error::NotOurs {
                path: taken.clone(),
            });
        }
        // Programs first: a map's pin is known to be ours by the program beside it.
        for (path, program) in &programs {
            bpffs::replace(program, path)?;
        }
        for (path, map) in &maps {
            bpffs::replace(map, path)?;
        }
        for stale in ours.iter().filter(|path| !wanted.contains(path)) {
            bpffs::remove(stale)?;
        }
        Ok(())
    }
}

impl Maps {
    /// Opens the maps that [`Loaded::pin`] has pinned below a directory.
    ///
    /// # Errors
    /// [`Error::Refused`]. A directory without pins gives no maps.
    pub fn open(dir: &Path) -> Result<Maps, Error> {
        let mut maps = Vec::new();
        for path in bpffs::entries(&dir.join(MAPS_DIR))? {
            if let Some(Object::Map(map)) = bpffs::open(&path)? {
                maps.push(map);
            }
        }
        Ok(Maps::new(maps))
    }
}

/// The pins that an earlier call has made, be it that it was killed: programs that bear our names, and the
/// maps beside them that do.
fn our_pins(dir: &Path, maps_dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut pins = Vec::new();
    for hook in Hook::ALL {
        let path = dir.join(hook.program_name());
        for path in [bpffs::unnamed(&path), path] {
            if let Some(Object::Program(program)) = bpffs::open(&path)?
                && program.name == hook.program_name()
            {
                pins.push(path);
            }
        }
    }
    if pins.is_empty() {
        return Ok(pins);
    }
    for path in bpffs::entries(maps_dir)? {
        if let Some(Object::Map(map)) = bpffs::open(&path)? {
            let named = maps_dir.join(pin_name(&map.name));
            if path == named || path == bpffs::unnamed(&named) {
                pins.push(path);
            }
        }
    }
    Ok(pins)
}

/// A map's name without dots.
fn pin_name(map: &str) -> String {
    map.strip_prefix(".rodata.").unwrap_or(map).replace('.', "")
}

#[cfg(test)]
mod tests {
    use super::pin_name;

    #[test]
    fn pins_have_no_dots() {
        assert_eq!(pin_name("counters"), "counters");
        assert_eq!(pin_name(".rodata.rules"), "rules");
        assert_eq!(pin_name(".rodata"), "rodata");
    }
}
