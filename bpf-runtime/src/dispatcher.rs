//! Programs of several owners at one interface: the dispatcher that libxdp agrees on.
//!
//! An interface runs one XDP program. By the convention of libxdp (lib/libxdp/protocol.org of xdp-tools, versions
//! 2 and 3) that is a dispatcher, which calls up to ten others by their priorities as long as each says that the
//! next may have the packet. The others replace its functions `prog0`, `prog1` and so on (`BPF_PROG_TYPE_EXT`), for
//! as long as their links are pinned:
//! ```text
//! BPFFS/xdp/dispatch-INDEX-ID/prog0-prog       interface, and the id of the dispatcher's program
//! BPFFS/xdp/dispatch-INDEX-ID/prog0-link
//! ```
//! What the dispatcher calls never changes. Whoever comes or goes makes another with the same links, and puts it in
//! the place of the first in one step, holding the lock of flock(2) on `BPFFS/xdp`.
//!
//! Ours is known by the pin of its program where links are pinned otherwise, and beside it are those of dispatchers
//! that this process has made or replaced, so that the next finds what it did not clean up:
//! ```text
//! ROOT/xdp/NETNS_INDEX/ipt2bpf_xdp
//! ROOT/xdp/NETNS_INDEX/dispatcher_ID
//! ```

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya_obj::generated::{bpf_attach_type, bpf_insn, bpf_map_type, bpf_prog_type};
use ipt2bpf_codegen::btf::{Btf, Linkage, Member, SectionEntry, TypeId};
use ipt2bpf_codegen::module::Hook;
use rustix::fs::{FlockOperation, flock};

use crate::bpffs;
use crate::error::{Error, Step};
use crate::load::{LICENSE, load_program};
use crate::netlink::set_xdp;
use crate::others::{XdpProgram, running_xdp};
use crate::sys::{self, Link, Map, MapSpec, Object, Program, ProgramSpec, Records};

/// The name of the dispatcher's program, by which it is known.
pub const PROGRAM_NAME: &str = "xdp_dispatcher";
/// `XDP_DISPATCHER_MAGIC`, which its configuration begins with.
const MAGIC: u8 = 236;
/// The versions that we know. The first is made where there is none, because libxdp adds to no later one than its
/// own.
const VERSIONS: [u8; 2] = [2, 3];
/// `MAX_DISPATCHER_ACTIONS`: how many programs it calls at most.
const MOST: usize = 10;
/// `XDP_DISPATCHER_RETVAL`: what a function returns that no program has replaced. It counts among the actions
/// behind which the next is called.
const NOT_REPLACED: u32 = 31;
/// `XDP_PASS` (include/uapi/linux/bpf.h).
const XDP_PASS: u32 = 2;
/// `BPF_F_XDP_HAS_FRAGS`
const HAS_FRAGS: u32 = 1 << 5;
/// `BPF_F_RDONLY_PROG`
const RDONLY_PROG: u32 = 1 << 7;

/// When ours runs: before those that do not say when, which have 50, and as early as xdp-filter of xdp-tools.
const PRIORITY: u32 = 10;

/// The dispatchers of one interface.
#[derive(Clone, Debug)]
pub struct Dispatchers {
    /// The interface in the network namespace of the calling thread.
    index: u32,
    /// Where our program is pinned.
    home: PathBuf,
    /// Where libxdp pins.
    dir: PathBuf,
}

/// One that runs.
#[derive(Debug)]
pub struct Dispatcher {
    program: Program,
    version: u8,
    /// The flags of rtnetlink for the mode that it runs in.
    mode: u32,
    components: Vec<Component>,
}

/// One of the programs that it calls.
#[derive(Debug)]
struct Component {
    program: Program,
    /// The actions behind which the next program is called, a bit for each.
    actions: u32,
    /// The least runs first.
    priority: u32,
    /// What the program was loaded with, as far as it concerns the dispatcher.
    flags: u32,
}

impl Dispatcher {
    /// The ids of the programs that it calls, in their order.
    pub fn programs(&self) -> impl Iterator<Item = u32> {
        self.components.iter().map(|it| it.program.id)
    }
}

impl Dispatchers {
    /// Those of an interface, of whose programs ours is pinned in a directory below a root.
    pub fn of(index: u32, home: &Path, root: &Path) -> Dispatchers {
        Dispatchers {
            index,
            home: home.to_owned(),
            dir: root.parent().unwrap_or(root).join("xdp"),
        }
    }

    /// The one that runs, if one does that we know how to change.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn running(&self) -> Result<Option<Dispatcher>, Error> {
        match running_xdp(self.index)? {
            Some(running) => self.read(running),
            None => Ok(None),
        }
    }

    fn read(&self, running: XdpProgram) -> Result<Option<Dispatcher>, Error> {
        let refused = || Error::refused(Step::Inspect);
        let Ok(program) = Program::from_id(running.id) else {
            // It went meanwhile.
            return Ok(None);
        };
        let (PROGRAM_NAME, [map]) = (program.name.as_str(), program.map_ids.as_slice()) else {
            return Ok(None);
        };
        let map = Map::from_id(*map).map_err(refused())?;
        let mut value = map.value_buffer();
        map.lookup(&0u32.to_ne_bytes(), &mut value)
            .map_err(refused())?;
        let Some(config) = Config::read(&value) else {
            return Ok(None);
        };
        let dir = self.pins(running.id);
        let mut components = Vec::new();
        for (number, slot) in config.slots.into_iter().enumerate() {
            let pin = dir.join(format!("prog{number}-prog"));
            let Some(Object::Program(program)) = bpffs::open(&pin)? else {
                return Ok(None);
            };
            let [actions, priority, flags] = slot;
            components.push(Component {
                program,
                actions,
                priority,
                flags,
            });
        }
        Ok(Some(Dispatcher {
            program,
            version: config.version,
            mode: running.mode,
            components,
        }))
    }

    /// The link by which a program is called, as far as it is pinned.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Io`].
    pub fn link_of(&self, program: u32) -> Result<Option<Link>, Error> {
        let prefix = format!("dispatch-{}-", self.index);
        for dir in bpffs::entries(&self.dir)? {
            if !bpffs::file_name(&dir).starts_with(&prefix) {
                continue;
            }
            for pin in bpffs::entries(&dir)? {
                if let Some(Object::Link(link)) = bpffs::open(&pin)?
                    && link.program_id == program
                {
                    return Ok(Some(link));
                }
            }
        }
        Ok(None)
    }

    /// Has our program called, in the place of the one before if there is one, which is given back. The program
    /// is an extension ([`Loaded::extension`](crate::load::Loaded)).
    ///
    /// # Errors
    /// [`Error::NotOurs`], [`Error::NotBpffs`], [`Error::DispatcherFull`], [`Error::Refused`] also where a program
    /// runs that is no dispatcher.
    pub fn put(&self, program: &Program) -> Result<Option<Program>, Error> {
        let pin = self.pin();
        let before = match bpffs::open(&pin)? {
            Some(Object::Program(before)) => Some(before),
            Some(_) => return Err(Error::NotOurs { path: pin }),
            None => None,
        };
        bpffs::create_dir(&self.home)?;
        let unnamed = bpffs::unnamed(&pin);
        bpffs::remove(&unnamed)?;
        bpffs::pin(program, &unnamed)?;
        let changed = self.change(|components| {
            let program = program.again().map_err(Error::refused(Step::Inspect))?;
            let ours = |it: &&mut Component| Some(it.program.id) == before.as_ref().map(|it| it.id);
            match components.iter_mut().find(ours) {
                Some(ours) => ours.program = program,
                None => components.push(Component {
                    program,
                    actions: 1 << XDP_PASS,
                    priority: PRIORITY,
                    flags: 0,
                }),
            }
            Ok(())
        });
        let named = changed.and_then(|()| fs::rename(&unnamed, &pin).map_err(Error::io(&pin)));
        named.inspect_err(|_| {
            // The error that led here is the one to tell.
            let _ = self.sweep();
        })?;
        Ok(before)
    }

    /// Has our program called no more, and removes its pin. The last takes the dispatcher with it.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Io`].
    pub fn remove(&self) -> Result<(), Error> {
        let pin = self.pin();
        let Some(Object::Program(ours)) = bpffs::open(&pin)? else {
            return Ok(());
        };
        let runs = self
            .running()?
            .is_some_and(|it| it.programs().any(|id| id == ours.id));
        if runs {
            self.change(|components| {
                components.retain(|it| it.program.id != ours.id);
                Ok(())
            })?;
        }
        bpffs::remove(&pin)?;
        self.sweep()
    }

    /// Puts right what a process has left that was killed, and removes what is ours and runs no more.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Io`].
    pub fn sweep(&self) -> Result<(), Error> {
        let pin = self.pin();
        let unnamed = bpffs::unnamed(&pin);
        let (next, ours) = (bpffs::open(&unnamed)?, bpffs::open(&pin)?);
        let markers: Vec<(PathBuf, u32)> = bpffs::entries(&self.home)?
            .into_iter()
            .filter_map(|path| Some((marked(&path)?, path)))
            .map(|(id, path)| (path, id))
            .collect();
        if markers.is_empty() && next.is_none() && !matches!(ours, Some(Object::Program(_))) {
            return Ok(());
        }
        let running = self.running()?;
        let runs = |object: &Option<Object>| match (object, &running) {
            (Some(Object::Program(program)), Some(running)) => {
                running.programs().any(|id| id == program.id)
            }
            _ => false,
        };
        let is_alive = match (runs(&next), &ours) {
            // Whoever was killed came that far.
            (true, _) => {
                fs::rename(&unnamed, &pin).map_err(Error::io(&pin))?;
                true
            }
            (false, Some(Object::Program(_))) => {
                bpffs::remove(&unnamed)?;
                let is_alive = runs(&ours);
                if !is_alive {
                    bpffs::remove(&pin)?;
                }
                is_alive
            }
            (false, _) => {
                bpffs::remove(&unnamed)?;
                false
            }
        };
        let current = running.map(|it| it.program.id);
        for (path, id) in markers {
            if current != Some(id) {
                self.unpin(id)?;
            }
            if current != Some(id) || !is_alive {
                bpffs::remove(&path)?;
            }
        }
        Ok(())
    }

    /// Puts a dispatcher with other components in the place of the one that runs, or of none.
    fn change(
        &self,
        edit: impl FnOnce(&mut Vec<Component>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let refused = || Error::refused(Step::Attach(Hook::Xdp));
        bpffs::create_dir(&self.dir)?;
        // The kernel lets go of the lock when the file is closed.
        let directory = File::open(&self.dir).map_err(Error::io(&self.dir))?;
        flock(&directory, FlockOperation::LockExclusive)
            .map_err(|error| Error::io(&self.dir)(error.into()))?;
        let old = self.running()?;
        let (old, version, mode, mut components) = match old {
            Some(it) => (Some(it.program), it.version, it.mode, it.components),
            None => (None, VERSIONS[0], 0, Vec::new()),
        };
        edit(&mut components)?;
        if components.len() > MOST {
            return Err(Error::DispatcherFull { index: self.index });
        }
        // The order of libxdp; of two that are alike, the one that was there first.
        components
            .sort_by(|a, b| (a.priority, &a.program.name).cmp(&(b.priority, &b.program.name)));
        if let Some(old) = &old {
            self.mark(old)?;
        }
        match components.is_empty() {
            true => set_xdp(self.index, None, old.as_ref(), mode).map_err(refused())?,
            false => {
                let new = Made::new(version, &components)?;
                self.mark(&new.program)?;
                let swapped = self.pin_all(&new, &components).and_then(|()| {
                    set_xdp(self.index, Some(&new.program), old.as_ref(), mode).map_err(refused())
                });
                if let Err(error) = swapped {
                    // The error that led here is the one to tell; the marker goes with the next sweep.
                    let _ = self.unpin(new.program.id);
                    return Err(error);
                }
            }
        }
        if let Some(old) = old
            && self.unpin(old.id).is_ok()
        {
            // What could not be removed is marked, and nothing that runs.
            let _ = bpffs::remove(&self.marker(old.id));
        }
        Ok(())
    }

    fn pin(&self) -> PathBuf {
        self.home.join(Hook::Xdp.program_name())
    }

    fn marker(&self, id: u32) -> PathBuf {
        self.home.join(format!("{MARKER}{id}"))
    }

    /// Notes that a dispatcher is made or replaced.
    fn mark(&self, program: &Program) -> Result<(), Error> {
        let marker = self.marker(program.id);
        bpffs::remove(&marker)?;
        bpffs::create_dir(&self.home)?;
        bpffs::pin(program, &marker)
    }

    /// Where the parts of a dispatcher are pinned.
    fn pins(&self, id: u32) -> PathBuf {
        self.dir.join(format!("dispatch-{}-{id}", self.index))
    }

    fn pin_all(&self, new: &Made, components: &[Component]) -> Result<(), Error> {
        let dir = self.pins(new.program.id);
        bpffs::create_dir(&dir)?;
        for (number, (link, component)) in new.links.iter().zip(components).enumerate() {
            bpffs::pin(link, &dir.join(format!("prog{number}-link")))?;
            bpffs::pin(&component.program, &dir.join(format!("prog{number}-prog")))?;
        }
        Ok(())
    }

    fn unpin(&self, id: u32) -> Result<(), Error> {
        let dir = self.pins(id);
        for pin in bpffs::entries(&dir)? {
            bpffs::remove(&pin)?;
        }
        match fs::remove_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(dir)(error)),
            _ => Ok(()),
        }
    }
}

/// What the names of the pins of dispatchers begin with.
const MARKER: &str = "dispatcher_";

/// The id in the name of the pin of a dispatcher.
fn marked(path: &Path) -> Option<u32> {
    bpffs::file_name(path).strip_prefix(MARKER)?.parse().ok()
}

/// `struct xdp_dispatcher_config`: the value of the dispatcher's only map.
struct Config {
    version: u8,
    /// The actions, the priority and the flags of each program.
    slots: Vec<[u32; 3]>,
}

impl Config {
    /// Its size in version 2; version 3 has a byte more, and is padded.
    const SIZE: usize = 4 + 3 * 4 * MOST;
    const LARGER_SIZE: usize = Self::SIZE + 4;

    /// One of a version that we know, of a dispatcher that is not bound to a device.
    fn read(value: &[u8]) -> Option<Config> {
        let (&[magic, version, number, _], lists) = value.split_first_chunk()?;
        let is_bound = version == VERSIONS[1] && value.get(Self::SIZE).is_none_or(|&it| it != 0);
        if magic != MAGIC || !VERSIONS.contains(&version) || is_bound {
            return None;
        }
        let word = |list: usize, slot: usize| {
            let at = (list * MOST + slot) * 4;
            let bytes = lists.get(at..)?.first_chunk()?;
            Some(u32::from_ne_bytes(*bytes))
        };
        let number = usize::from(number);
        if number > MOST {
            return None;
        }
        let slots = (0..number).map(|slot| Some([word(0, slot)?, word(1, slot)?, word(2, slot)?]));
        Some(Config {
            version,
            slots: slots.collect::<Option<_>>()?,
        })
    }

    fn bytes(&self, has_frags: bool) -> Vec<u8> {
        let number = self.slots.len() as u8;
        let mut bytes = vec![MAGIC, self.version, number, has_frags.into()];
        for list in 0..3 {
            for slot in 0..MOST {
                let value = self.slots.get(slot).map_or(0, |it| it[list]);
                bytes.extend(value.to_ne_bytes());
            }
        }
        if self.version == VERSIONS[1] {
            bytes.resize(Self::LARGER_SIZE, 0);
        }
        bytes
    }
}

/// A dispatcher that runs nowhere yet, with links to its components in their order.
struct Made {
    program: Program,
    links: Vec<Link>,
}

impl Made {
    fn new(version: u8, components: &[Component]) -> Result<Made, Error> {
        let slot = |it: &Component| {
            let actions = it.actions | 1 << NOT_REPLACED;
            [actions, it.priority, it.flags]
        };
        let config = Config {
            version,
            slots: components.iter().map(slot).collect(),
        };
        let has_frags = components.iter().all(|it| it.flags & HAS_FRAGS != 0);
        let (program, functions) = load(&config, has_frags)?;
        let links = components.iter().zip(functions);
        let links = links.map(|(component, function)| {
            Link::extension(&component.program, &program, function)
                .map_err(Error::refused(Step::Attach(Hook::Xdp)))
        });
        Ok(Made {
            links: links.collect::<Result<_, _>>()?,
            program,
        })
    }
}

/// A dispatcher that calls one program and runs nowhere, and that function of its: what an extension is verified
/// against. It may then replace functions of others.
pub fn target() -> Result<(Program, u32), Error> {
    let config = Config {
        version: VERSIONS[0],
        slots: vec![[1 << NOT_REPLACED, 0, 0]],
    };
    let (program, functions) = load(&config, false)?;
    let [function] = functions.as_slice() else {
        return Err(Error::object("a dispatcher calls a program"));
    };
    Ok((program, *function))
}

/// Loads a dispatcher. Gives the BTF ids of the functions that programs may replace, too.
fn load(config: &Config, has_frags: bool) -> Result<(Program, Vec<u32>), Error> {
    let types = Types::new(config.slots.len(), config.version);
    let btf = sys::load_btf(&types.bytes).map_err(|(source, log)| Error::Refused {
        step: Step::LoadBtf,
        source,
        log,
    })?;
    let actions: Vec<u32> = config.slots.iter().map(|it| it[0]).collect();
    let (instructions, starts) = code(&actions);
    let functions = starts.iter().zip(types.functions.iter());
    let functions: Vec<u8> = functions
        .flat_map(|(start, function)| [*start, *function].map(u32::to_ne_bytes))
        .flatten()
        .collect();
    let flags = if has_frags { HAS_FRAGS } else { 0 };
    let spec = ProgramSpec {
        name: PROGRAM_NAME,
        kind: bpf_prog_type::BPF_PROG_TYPE_XDP,
        attach_type: bpf_attach_type::BPF_XDP,
        license: LICENSE,
        instructions: &instructions,
        btf: Some((
            btf.as_fd(),
            Records {
                bytes: &functions,
                record_size: 8,
            },
            Records {
                bytes: &[],
                record_size: 0,
            },
        )),
        flags,
        target: None,
    };
    let mut program = load_program(Step::LoadDispatched, &spec)?;
    let map = config_map(&config.bytes(has_frags))
        .map_err(Error::refused(Step::CreateMap(CONFIG_MAP.to_owned())))?;
    program
        .bind(&map)
        .map_err(Error::refused(Step::BindMap(CONFIG_MAP.to_owned())))?;
    Ok((program, types.functions[1..].to_vec()))
}

/// The map of the configuration as libbpf names it. Only those who change the dispatcher read it: the code has its
/// values.
const CONFIG_MAP: &str = "xdp_disp.rodata";

fn config_map(value: &[u8]) -> io::Result<Map> {
    let map = Map::create(&MapSpec {
        name: CONFIG_MAP,
        kind: bpf_map_type::BPF_MAP_TYPE_ARRAY as u32,
        key_size: 4,
        value_size: value.len() as u32,
        max_entries: 1,
        flags: RDONLY_PROG,
        btf: None,
    })?;
    map.update(&0u32.to_ne_bytes(), value)?;
    map.freeze()?;
    Ok(map)
}

/// The type information of a dispatcher: programs are to replace its functions, which are therefore global and
/// have types, and older versions of libxdp look for the version there.
struct Types {
    bytes: Vec<u8>,
    /// The dispatcher's own function, and those that it calls.
    functions: Vec<u32>,
}

impl Types {
    fn new(number: usize, version: u8) -> Types {
        let mut btf = Btf::default();
        let integer = btf.signed("int", 4);
        let context = btf.structure("xdp_md", 0, &[]);
        let context = btf.pointer(context);
        let parameter = Member {
            name: "ctx",
            kind: context,
        };
        let mut function = |name: &str| btf.function(name, integer, &[parameter], Linkage::Global);
        let mut functions = vec![function(PROGRAM_NAME)];
        functions.extend((0..number).map(|number| function(&format!("prog{number}"))));
        let version = btf.array(integer, version.into());
        let version = btf.pointer(version);
        let variable = btf.variable("dispatcher_version", version, Linkage::Global);
        const POINTER_SIZE: u32 = 8;
        let entry = SectionEntry {
            variable,
            offset: 0,
            size: POINTER_SIZE,
        };
        btf.data_section("xdp_metadata", POINTER_SIZE, &[entry]);
        Types {
            bytes: btf.bytes(),
            functions: functions.into_iter().map(TypeId::number).collect(),
        }
    }
}

/// The code of a dispatcher, by the actions behind which each next program is called, and where its functions
/// begin.
fn code(actions: &[u32]) -> (Vec<bpf_insn>, Vec<u32>) {
    /// Instructions for each call, and of each function that is called.
    const CALL: usize = 6;
    const STUB: usize = 4;
    /// `BPF_PSEUDO_CALL`, and the helper `bpf_xdp_adjust_tail`.
    const PSEUDO_CALL: u8 = 1;
    const ADJUST_TAIL: i32 = 65;
    let end = 1 + actions.len() * CALL + 1;
    let stub = |number: usize| end + 1 + number * STUB;
    // r6 = ctx
    let mut code = vec![instruction(0xbf, 6, 1, 0, 0)];
    for (number, &actions) in actions.iter().enumerate() {
        // r0 = progN(r1 = r6)
        code.push(instruction(0xbf, 1, 6, 0, 0));
        let distance = stub(number) as i32 - code.len() as i32 - 1;
        code.push(instruction(0x85, 0, PSEUDO_CALL, 0, distance));
        // if ((1 << r0) & actions) == 0: return r0, by 32 bits
        code.push(instruction(0xb4, 1, 0, 0, 1));
        code.push(instruction(0x6c, 1, 0, 0, 0));
        code.push(instruction(0x54, 1, 0, 0, actions.cast_signed()));
        let distance = (end - code.len() - 1) as i16;
        code.push(instruction(0x16, 1, 0, distance, 0));
    }
    code.push(instruction(0xb4, 0, 0, 0, XDP_PASS.cast_signed()));
    code.push(instruction(0x95, 0, 0, 0, 0));
    let mut starts = vec![0];
    for _ in actions {
        starts.push(code.len() as u32);
        // A program that changes the size of packets may replace only a function that does, too.
        code.push(instruction(0xb7, 2, 0, 0, 0));
        code.push(instruction(0x85, 0, 0, 0, ADJUST_TAIL));
        code.push(instruction(0xb4, 0, 0, 0, NOT_REPLACED.cast_signed()));
        code.push(instruction(0x95, 0, 0, 0, 0));
    }
    (code, starts)
}

fn instruction(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(dst, src),
        off,
        imm,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_come_back_in_the_layout_of_their_version() {
        for (version, size) in [(2, 124), (3, 128)] {
            let config = Config {
                version,
                slots: vec![[1 << 31 | 4, 10, 0], [1 << 31 | 6, 50, HAS_FRAGS]],
            };
            let bytes = config.bytes(false);
            assert_eq!(bytes.len(), size);
            assert_eq!(bytes[..4], [236, version, 2, 0]);
            // The second priority.
            assert_eq!(bytes[4 + 40 + 4], 50);
            let back = Config::read(&bytes).unwrap();
            assert_eq!((back.version, back.slots), (version, config.slots));
        }
    }

    #[test]
    fn configurations_that_we_do_not_know_are_left_alone() {
        let config = Config {
            version: 3,
            slots: Vec::new(),
        };
        let bytes = config.bytes(false);
        assert!(Config::read(&bytes).is_some());
        for (at, value) in [(0, 1), (1, 4), (1, 1), (2, 11), (124, 1)] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            assert!(Config::read(&bytes).is_none(), "byte {at} is {value}");
        }
        assert!(Config::read(&[]).is_none());
        assert!(Config::read(&[236, 2, 1, 0]).is_none());
    }

    #[test]
    fn each_function_begins_behind_the_end_of_another() {
        const EXIT: u8 = 0x95;
        let (code, starts) = code(&[4, 4, 4]);
        assert_eq!(starts.len(), 4);
        for &start in &starts[1..] {
            assert_eq!(code[start as usize - 1].code, EXIT);
        }
        assert_eq!(code.last().unwrap().code, EXIT);
    }
}
