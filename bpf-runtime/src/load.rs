//! From the bytes of an object to programs and maps in the kernel.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic;

use aya_obj::btf::BtfFeatures;
use aya_obj::generated::{bpf_attach_type, bpf_insn, bpf_prog_type};
use aya_obj::programs::{CgroupSkbAttachType, XdpAttachType};
use aya_obj::{EbpfSectionKind, Object, ProgramSection};
use ipt2bpf_codegen::module::{COUNTERS_MAP, Hook, LASTING_MAPS, NUMBERED_MAPS};

use crate::dispatcher;
use crate::error::{Error, Step};
use crate::kernel;
use crate::maps::Maps;
use crate::sys::{Map, MapSpec, Program, ProgramSpec, Records};

/// How many lines of the verifier's log an error carries. The reason stands at the end, a few lines
/// above it are the state that led there.
const LOG_TAIL_LINES: usize = 30;

/// The programs and maps of one object, in the kernel for as long as this value lives, and longer where
/// they are pinned or attached.
#[derive(Debug)]
pub struct Loaded {
    programs: BTreeMap<Hook, Program>,
    maps: Maps,
    /// What the XDP program is made of, to load it once more where another program is to call it. None of programs
    /// that ran already.
    xdp: Option<Code>,
}

/// The code of a program, whose maps are open.
#[derive(Debug)]
struct Code {
    license: CString,
    instructions: Vec<bpf_insn>,
    btf: Option<OwnedFd>,
    /// Functions and lines, with the sizes of their records.
    functions: (Vec<u8>, usize),
    lines: (Vec<u8>, usize),
}

/// As of all our programs: the kernel keeps some helpers for such.
pub(crate) const LICENSE: &CStr = c"Dual MIT/GPL";

impl Loaded {
    /// The hooks that the object has programs for.
    pub fn hooks(&self) -> impl Iterator<Item = Hook> {
        self.programs.keys().copied()
    }

    /// The maps.
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// The descriptors of the programs.
    pub fn descriptors(&self) -> impl Iterator<Item = (Hook, BorrowedFd<'_>)> {
        self.programs()
            .map(|(hook, program)| (hook, program.as_fd()))
    }

    /// Programs that run already, which hold their maps.
    pub(crate) fn of_programs(programs: BTreeMap<Hook, Program>) -> Result<Loaded, Error> {
        let maps = match programs.values().next() {
            Some(program) => Maps::of_program(program)?,
            None => Maps::new(Vec::new()),
        };
        Ok(Loaded {
            programs,
            maps,
            xdp: None,
        })
    }

    /// Whether there is, or can be made, a form of the XDP program that other programs call.
    pub(crate) fn can_extend(&self) -> bool {
        let is_extension = |program: &Program| program.is_extension;
        self.xdp.is_some() || self.programs.get(&Hook::Xdp).is_some_and(is_extension)
    }

    /// The XDP program in the form that other programs call.
    ///
    /// # Errors
    /// [`Error::NoProgram`], [`Error::Refused`] with the end of the verifier's log.
    pub(crate) fn extension(&self) -> Result<Program, Error> {
        let program = self.program(Hook::Xdp)?;
        if program.is_extension {
            return program.again().map_err(Error::refused(Step::Inspect));
        }
        let code = self
            .xdp
            .as_ref()
            .ok_or(Error::NoProgram { hook: Hook::Xdp })?;
        let (dispatcher, function) = dispatcher::target()?;
        let spec = ProgramSpec {
            kind: bpf_prog_type::BPF_PROG_TYPE_EXT,
            // The kernel wants none, which is zero.
            attach_type: bpf_attach_type::BPF_CGROUP_INET_INGRESS,
            target: Some((&dispatcher, function)),
            ..code.spec(Hook::Xdp)
        };
        let mut program = load_program(Step::LoadDispatched, &spec)?;
        bind_all(&mut program, self.maps.iter())?;
        Ok(program)
    }

    pub(crate) fn program(&self, hook: Hook) -> Result<&Program, Error> {
        self.programs.get(&hook).ok_or(Error::NoProgram { hook })
    }

    pub(crate) fn programs(&self) -> impl Iterator<Item = (Hook, &Program)> {
        self.programs.iter().map(|(&hook, program)| (hook, program))
    }
}

/// Loads an object: creates its maps, fills and freezes the constant ones, verifies its programs and
/// binds all maps to each of them.
///
/// Nothing is attached and nothing stays when the value is dropped.
///
/// # Errors
/// [`Error::Object`] for bytes that the compiler did not make, [`Error::Refused`] with the end of the
/// verifier's log when the kernel does not take them.
pub fn load(object: &[u8]) -> Result<Loaded, Error> {
    load_keeping(object, &[])
}

/// As [`load`], in the place of objects that were loaded before: a map that outlives a reload of rules
/// ([`LASTING_MAPS`]) is the old one where an old object has one of the same name and shape. Both programs
/// use it as long as both run.
///
/// # Errors
/// As [`load`].
pub fn load_keeping(object: &[u8], replaced: &[Maps]) -> Result<Loaded, Error> {
    load_guarded(
        object,
        Replaced {
            maps: replaced,
            numbered: Numbered::None,
        },
    )
}

/// As [`load_keeping`], for an object whose rules count for themselves, but have their states where they are in
/// the one that it is to replace: it shares these, or has a copy where its map has another size.
///
/// # Errors
/// As [`load`].
pub fn load_remembering(object: &[u8], replaced: &Maps) -> Result<Loaded, Error> {
    let maps = std::slice::from_ref(replaced);
    load_guarded(
        object,
        Replaced {
            maps,
            numbered: Numbered::States,
        },
    )
}

/// As [`load_keeping`], for an object whose rules have the numbers that they have in the one that it is to
/// replace ([`Before`](ipt2bpf_codegen::before::Before)): it shares their counters and states, too
/// ([`NUMBERED_MAPS`]). Where its map has another size, states begin as they are there, and counters with zero
/// ([`Maps::count_with`]).
///
/// # Errors
/// As [`load`].
pub fn load_onto(object: &[u8], replaced: &Maps) -> Result<Loaded, Error> {
    let maps = std::slice::from_ref(replaced);
    load_guarded(
        object,
        Replaced {
            maps,
            numbered: Numbered::All,
        },
    )
}

/// What an object is to replace.
#[derive(Clone, Copy)]
struct Replaced<'a> {
    maps: &'a [Maps],
    /// What it gives besides what lasts.
    numbered: Numbered,
}

/// Which of the maps whose values belong to rules ([`NUMBERED_MAPS`]) are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbered {
    None,
    /// All but the counters.
    States,
    All,
}

impl Numbered {
    fn hold(self, name: &str) -> bool {
        match self {
            Numbered::None => false,
            Numbered::States => NUMBERED_MAPS.contains(&name) && name != COUNTERS_MAP,
            Numbered::All => NUMBERED_MAPS.contains(&name),
        }
    }
}

fn load_guarded(object: &[u8], replaced: Replaced<'_>) -> Result<Loaded, Error> {
    // aya-obj trusts what it reads and panics on damaged files, which is no answer to give to callers.
    // Nothing survives the unwinding: what was loaded by then is closed.
    panic::catch_unwind(|| load_parts(object, replaced))
        .unwrap_or_else(|_| Err(Error::object("it is damaged")))
}

fn load_parts(object: &[u8], replaced: Replaced<'_>) -> Result<Loaded, Error> {
    let mut object = parse(object)?;
    kernel::lift_memory_limit();
    let btf = load_btf(&mut object)?;
    let maps = create_maps(&mut object, btf.as_ref(), replaced)?;
    let mut codes = codes(&object, btf)?;
    let mut programs = BTreeMap::new();
    for (&hook, code) in &codes {
        let mut program = load_program(Step::LoadProgram(hook), &code.spec(hook))?;
        bind_all(&mut program, maps.iter())?;
        programs.insert(hook, program);
    }
    Ok(Loaded {
        programs,
        maps: Maps::new(maps),
        xdp: codes.remove(&Hook::Xdp),
    })
}

/// Makes a program hold maps, whether or not its code refers to them.
fn bind_all<'a>(program: &mut Program, maps: impl Iterator<Item = &'a Map>) -> Result<(), Error> {
    for map in maps {
        program
            .bind(map)
            .map_err(Error::refused(Step::BindMap(map.name.clone())))?;
    }
    Ok(())
}

/// Reads the ELF file from memory that is aligned as its reader demands, which a slice need not be.
fn parse(bytes: &[u8]) -> Result<Object, Error> {
    const ALIGNMENT: usize = 8;
    let mut room = vec![0; bytes.len() + ALIGNMENT];
    let start = room.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    let aligned = &mut room[start..start + bytes.len()];
    aligned.copy_from_slice(bytes);
    Object::parse(aligned).map_err(|error| Error::object(Chain(&error)))
}

fn load_btf(object: &mut Object) -> Result<Option<OwnedFd>, Error> {
    // What the kernel knows since 5.10. Kinds that came later only describe; they are replaced.
    let features = BtfFeatures::new(true, true, true, true, false, false, false, false);
    let Some(btf) = object
        .fixup_and_sanitize_btf(&features)
        .map_err(|error| Error::object(Chain(&error)))?
    else {
        return Ok(None);
    };
    crate::sys::load_btf(&btf.to_bytes())
        .map(Some)
        .map_err(|(source, log)| Error::Refused {
            step: Step::LoadBtf,
            source,
            log: tail(&log),
        })
}

/// Creates the maps, or takes those that last, and writes their addresses into the code.
fn create_maps(
    object: &mut Object,
    btf: Option<&OwnedFd>,
    replaced: Replaced<'_>,
) -> Result<Vec<Map>, Error> {
    let mut parts: Vec<(String, aya_obj::Map)> = object.maps.drain().collect();
    parts.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut maps = Vec::with_capacity(parts.len());
    for (name, part) in &parts {
        maps.push(match kept_map(name, part, replaced)? {
            Some(map) => map,
            None => {
                let map = create_map(name, part, btf)?;
                if replaced.numbered.hold(name) && name != COUNTERS_MAP {
                    copy_values(&map, replaced.maps)?;
                }
                map
            }
        });
    }
    let text_sections: HashSet<usize> = object
        .functions
        .keys()
        .map(|&(section, _)| section)
        .collect();
    object
        .relocate_maps(
            parts
                .iter()
                .zip(&maps)
                .map(|((name, part), map)| (name.as_str(), map.as_fd().as_raw_fd(), part)),
            &text_sections,
        )
        .map_err(|error| Error::object(Chain(&error)))?;
    object
        .relocate_calls(&text_sections)
        .map_err(|error| Error::object(Chain(&error)))?;
    Ok(maps)
}

/// The map of an object that is replaced, if it is to last and looks the same.
fn kept_map(name: &str, part: &aya_obj::Map, replaced: Replaced<'_>) -> Result<Option<Map>, Error> {
    let lasts = LASTING_MAPS.iter().any(|prefix| name.starts_with(prefix));
    if !lasts && !replaced.numbered.hold(name) {
        return Ok(None);
    }
    let same_shape = |map: &&Map| {
        map.kind == part.map_type()
            && map.key_size == part.key_size() as usize
            && map.value_size == part.value_size() as usize
            && map.max_entries == part.max_entries()
    };
    let mut old = replaced.maps.iter().flat_map(Maps::iter);
    let kept = old.find(|map| map.name == name && same_shape(map));
    kept.map(|map| Map::from_id(map.id))
        .transpose()
        .map_err(Error::refused(Step::Inspect))
}

/// Gives an array the values of those of its name, as far as it has room.
fn copy_values(map: &Map, replaced: &[Maps]) -> Result<(), Error> {
    let mut old = replaced.iter().flat_map(Maps::iter);
    let same = |old: &&Map| {
        old.name == map.name && old.kind == map.kind && old.value_size == map.value_size
    };
    let Some(old) = old.find(same) else {
        return Ok(());
    };
    let mut value = old.value_buffer();
    for index in 0..map.max_entries.min(old.max_entries) {
        let key = index.to_ne_bytes();
        old.lookup(&key, &mut value)
            .map_err(Error::refused(Step::ReadMap(old.name.clone())))?;
        map.update(&key, &value)
            .map_err(Error::refused(Step::WriteMap(map.name.clone())))?;
    }
    Ok(())
}

fn create_map(name: &str, part: &aya_obj::Map, btf: Option<&OwnedFd>) -> Result<Map, Error> {
    let btf = match (part, btf) {
        (aya_obj::Map::Btf(map), Some(btf)) => Some((
            btf.as_fd(),
            map.def.btf_key_type_id,
            map.def.btf_value_type_id,
        )),
        _ => None,
    };
    let map = Map::create(&MapSpec {
        name,
        kind: part.map_type(),
        key_size: part.key_size(),
        value_size: part.value_size(),
        max_entries: part.max_entries(),
        flags: part.map_flags(),
        btf,
    })
    .map_err(Error::refused(Step::CreateMap(name.to_owned())))?;
    if !part.data().is_empty() {
        map.update(&0u32.to_ne_bytes(), part.data())
            .map_err(Error::refused(Step::WriteMap(name.to_owned())))?;
    }
    if part.section_kind() == EbpfSectionKind::Rodata {
        map.freeze()
            .map_err(Error::refused(Step::WriteMap(name.to_owned())))?;
    }
    Ok(map)
}

/// The code of each program of an object.
fn codes(object: &Object, btf: Option<OwnedFd>) -> Result<BTreeMap<Hook, Code>, Error> {
    let mut codes = BTreeMap::new();
    for (name, part) in &object.programs {
        let hook = hook_of(&part.section)
            .ok_or_else(|| Error::object(format_args!("`{name}` is a program for another hook")))?;
        let function = object
            .functions
            .get(&part.function_key())
            .ok_or_else(|| Error::object(format_args!("`{name}` has no code")))?;
        let btf = btf.as_ref().map(OwnedFd::try_clone).transpose();
        let code = Code {
            license: part.license.clone(),
            instructions: function.instructions.clone(),
            btf: btf.map_err(Error::refused(Step::LoadBtf))?,
            functions: (
                function.func_info.func_info_bytes(),
                function.func_info_rec_size,
            ),
            lines: (
                function.line_info.line_info_bytes(),
                function.line_info_rec_size,
            ),
        };
        if codes.insert(hook, code).is_some() {
            return Err(Error::object(format_args!("two programs for {hook}")));
        }
    }
    if codes.is_empty() {
        return Err(Error::object("it holds no program"));
    }
    Ok(codes)
}

impl Code {
    /// As a program for a hook.
    fn spec(&self, hook: Hook) -> ProgramSpec<'_> {
        let (kind, attach_type) = kernel_types(hook);
        ProgramSpec {
            name: hook.program_name(),
            kind,
            attach_type,
            license: &self.license,
            instructions: &self.instructions,
            btf: self
                .btf
                .as_ref()
                .map(|btf| (btf.as_fd(), records(&self.functions), records(&self.lines))),
            flags: 0,
            target: None,
        }
    }
}

fn records((bytes, record_size): &(Vec<u8>, usize)) -> Records<'_> {
    Records {
        bytes,
        record_size: *record_size,
    }
}

/// Verifies a program and loads it; the error carries the end of the verifier's log.
pub(crate) fn load_program(step: Step, spec: &ProgramSpec<'_>) -> Result<Program, Error> {
    Program::load(spec).map_err(|(source, log)| Error::Refused {
        step,
        source,
        log: tail(&log),
    })
}

fn hook_of(section: &ProgramSection) -> Option<Hook> {
    match section {
        ProgramSection::CgroupSkb {
            attach_type: Some(CgroupSkbAttachType::Ingress),
        } => Some(Hook::CgroupIngress),
        ProgramSection::CgroupSkb {
            attach_type: Some(CgroupSkbAttachType::Egress),
        } => Some(Hook::CgroupEgress),
        ProgramSection::Xdp {
            frags: false,
            attach_type: XdpAttachType::Interface,
        } => Some(Hook::Xdp),
        _ => None,
    }
}

/// The program type and the expected attach type of a hook.
pub(crate) fn kernel_types(hook: Hook) -> (bpf_prog_type, bpf_attach_type) {
    match hook {
        Hook::CgroupIngress => (
            bpf_prog_type::BPF_PROG_TYPE_CGROUP_SKB,
            bpf_attach_type::BPF_CGROUP_INET_INGRESS,
        ),
        Hook::CgroupEgress => (
            bpf_prog_type::BPF_PROG_TYPE_CGROUP_SKB,
            bpf_attach_type::BPF_CGROUP_INET_EGRESS,
        ),
        Hook::Xdp => (bpf_prog_type::BPF_PROG_TYPE_XDP, bpf_attach_type::BPF_XDP),
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.trim_end().lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

/// An error with all its causes on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_object_are_refused_with_the_reason() {
        let error = load(b"not an object").unwrap_err();
        assert!(matches!(error, Error::Object { .. }), "{error}");
        assert!(!error.kernel_refused());
    }

    #[test]
    fn the_tail_of_a_log_is_its_end() {
        let log: String = (0..100).map(|i| format!("line {i}\n")).collect();
        let tail = tail(&log);
        assert_eq!(tail.lines().count(), LOG_TAIL_LINES);
        assert!(tail.starts_with("line 70\n") && tail.ends_with("line 99"));
    }
}
