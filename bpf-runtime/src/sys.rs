//! bpf(2), as safe functions: the only module that talks to the kernel through pointers.
//!
//! The calls and their arguments are those of `include/uapi/linux/bpf.h`. All of them exist since
//! Linux 5.10.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya_obj::generated::{
    bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_link_info, bpf_link_type, bpf_map_info,
    bpf_map_type, bpf_prog_info, bpf_prog_type,
};

/// The largest log that every supported kernel accepts (`UINT_MAX >> 8`, kernel/bpf/verifier.c).
const LOG_SIZE: usize = (u32::MAX >> 8) as usize;

/// `BPF_F_TEST_XDP_LIVE_FRAMES`
const LIVE_FRAMES: u32 = 1 << 1;

/// A map, with what the kernel says of it.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    pub id: u32,
    pub kind: u32,
    pub key_size: usize,
    pub value_size: usize,
    pub max_entries: u32,
    pub name: String,
    /// Bytes of one entry's value as user space sees it.
    user_value_size: usize,
}

/// What a map is to be.
#[derive(Clone, Copy, Debug)]
pub struct MapSpec<'a> {
    pub name: &'a str,
    pub kind: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub flags: u32,
    /// The BTF object with the ids of the key's and the value's type.
    pub btf: Option<(BorrowedFd<'a>, u32, u32)>,
}

/// A program.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    pub id: u32,
    pub name: String,
    /// Whether it replaces functions of others, and is none that runs by itself.
    pub is_extension: bool,
    pub map_ids: Vec<u32>,
}

/// What a program is to be.
#[derive(Clone, Copy, Debug)]
pub struct ProgramSpec<'a> {
    pub name: &'a str,
    pub kind: bpf_prog_type,
    pub attach_type: bpf_attach_type,
    pub license: &'a std::ffi::CStr,
    pub instructions: &'a [bpf_insn],
    /// The BTF object, with function and line records and their sizes in bytes.
    pub btf: Option<(BorrowedFd<'a>, Records<'a>, Records<'a>)>,
    /// `BPF_F_*` of the command `BPF_PROG_LOAD`.
    pub flags: u32,
    /// What an extension is verified against: a program and the BTF id of its function.
    pub target: Option<(&'a Program, u32)>,
}

/// Records of `.BTF.ext` of one size.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    pub bytes: &'a [u8],
    pub record_size: usize,
}

/// A link: a program at a place.
#[derive(Debug)]
pub struct Link {
    fd: OwnedFd,
    pub id: u32,
    pub program_id: u32,
    pub place: LinkPlace,
}

/// Where a link attaches its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPlace {
    /// A cgroup by id; 0 when it was removed.
    Cgroup(u64),
    /// An interface by index; 0 when it was removed.
    Xdp(u32),
    /// A kind of link that is none of ours.
    Other,
}

/// Where in netfilter a program runs.
#[derive(Clone, Copy, Debug)]
pub struct NetfilterPlace {
    /// `NFPROTO_*` of include/uapi/linux/netfilter.h.
    pub family: u32,
    /// `NF_INET_*`, likewise.
    pub hook: u32,
    /// The least runs first.
    pub priority: i32,
}

/// Anything that can be pinned.
#[derive(Debug)]
pub enum Object {
    Map(Map),
    Program(Program),
    Link(Link),
}

/// The outcome of a program's run on a test packet.
#[derive(Clone, Copy, Debug)]
pub struct RunResult {
    pub retval: u32,
    /// Mean nanoseconds per run.
    pub duration: u32,
    /// How long the packet is that the program has left.
    pub length: u32,
}

/// Calls the kernel.
///
/// # Safety
/// Every pointer in `attr` is valid for what the command reads or writes through it.
unsafe fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: `attr` is a whole, initialised bpf_attr; the caller vouches for pointers in it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// Calls the kernel for a new file descriptor.
///
/// # Safety
/// As [`bpf`], and the command is one that returns a new file descriptor.
unsafe fn bpf_fd(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the caller vouches for it.
    let fd = unsafe { bpf(command, attr) }?;
    // SAFETY: the kernel has just made it, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn attr() -> bpf_attr {
    // SAFETY: bpf_attr is a union of structs of integers, for which zeroes are valid, and zeroing sets
    // the bytes behind short members that the kernel wants zero.
    unsafe { mem::zeroed() }
}

/// A name as the kernel takes it: cut to 15 bytes, ended by NUL.
fn object_name(name: &str) -> [c_char; 16] {
    let mut out = [0; 16];
    for (to, from) in out.iter_mut().zip(name.bytes().take(15)) {
        *to = from as c_char;
    }
    out
}

fn name_of(bytes: &[c_char; 16]) -> String {
    let bytes: Vec<u8> = bytes
        .iter()
        .map(|&c| c as u8)
        .take_while(|&b| b != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn raw(fd: impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd() as u32
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Fills an info struct about an object.
///
/// # Safety
/// `T` is the info struct of the object's kind, made of integers only; pointers in it are valid for
/// the counts beside them.
unsafe fn object_info<T>(fd: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let mut attr = attr();
    attr.info.bpf_fd = raw(fd);
    attr.info.info_len = size_of::<T>() as u32;
    attr.info.info = std::ptr::from_mut(info) as u64;
    // SAFETY: the kernel writes at most info_len bytes to info.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr) }.map(drop)
}

/// Loads type information; `Err` carries the verifier's log.
pub fn load_btf(bytes: &[u8]) -> Result<OwnedFd, (io::Error, String)> {
    let load = |log: &mut [u8]| {
        let mut attr = attr();
        // SAFETY: every member of the union is plain integers.
        let a = unsafe { &mut attr.__bindgen_anon_7 };
        a.btf = bytes.as_ptr() as u64;
        a.btf_size = bytes.len() as u32;
        if !log.is_empty() {
            a.btf_log_buf = log.as_mut_ptr() as u64;
            a.btf_log_size = log.len() as u32;
            a.btf_log_level = 1;
        }
        // SAFETY: the pointers come with the lengths of live slices.
        unsafe { bpf_fd(bpf_cmd::BPF_BTF_LOAD, &mut attr) }
    };
    with_log(load)
}

/// Tries without a log, which is fast, and again with one if that fails.
fn with_log(
    load: impl Fn(&mut [u8]) -> io::Result<OwnedFd>,
) -> Result<OwnedFd, (io::Error, String)> {
    let error = match load(&mut []) {
        Ok(fd) => return Ok(fd),
        Err(error) => error,
    };
    let mut log = vec![0; LOG_SIZE];
    match load(&mut log) {
        Ok(fd) => Ok(fd),
        Err(_) => {
            let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
            // The log quotes rules and may be cut anywhere, also inside a character.
            Err((error, String::from_utf8_lossy(&log[..end]).into_owned()))
        }
    }
}

/// What user space reads and writes of one entry: for per-CPU maps one value for each possible CPU, each
/// rounded up to 8 bytes (kernel/bpf/syscall.c, `bpf_map_value_size`).
fn user_value_size(kind: u32, value_size: usize) -> io::Result<usize> {
    let per_cpu = [
        bpf_map_type::BPF_MAP_TYPE_PERCPU_ARRAY,
        bpf_map_type::BPF_MAP_TYPE_PERCPU_HASH,
        bpf_map_type::BPF_MAP_TYPE_LRU_PERCPU_HASH,
    ];
    if per_cpu.iter().any(|&per_cpu| per_cpu as u32 == kind) {
        Ok(value_size.next_multiple_of(8) * possible_cpus()?)
    } else {
        Ok(value_size)
    }
}

/// The kernel's time zone, in minutes that it is west of Greenwich (settimeofday(2)). The C library's
/// function gives zeroes instead.
pub fn kernel_timezone() -> io::Result<i32> {
    let mut zone = [0i32; 2];
    // SAFETY: a struct timezone is two ints, and a null struct timeval is allowed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_gettimeofday,
            std::ptr::null_mut::<libc::timeval>(),
            zone.as_mut_ptr(),
        )
    };
    match result {
        0 => Ok(zone[0]),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How many CPUs there may ever be: the number of values in an entry of a per-CPU map.
fn possible_cpus() -> io::Result<usize> {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible")?;
    count_cpu_list(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Counts a list like `0-3,8`, the form of Documentation/admin-guide/cputopology.rst.
fn count_cpu_list(text: &str) -> Option<usize> {
    let mut count = 0;
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        count += last.checked_sub(first)? + 1;
    }
    Some(count)
}

impl Map {
    pub fn create(spec: &MapSpec<'_>) -> io::Result<Map> {
        let mut attr = attr();
        // SAFETY: every member of the union is plain integers.
        let a = unsafe { &mut attr.__bindgen_anon_1 };
        a.map_type = spec.kind;
        a.key_size = spec.key_size;
        a.value_size = spec.value_size;
        a.max_entries = spec.max_entries;
        a.map_flags = spec.flags;
        a.map_name = object_name(spec.name);
        if let Some((btf, key, value)) = spec.btf {
            a.btf_fd = raw(btf);
            a.btf_key_type_id = key;
            a.btf_value_type_id = value;
        }
        // SAFETY: there are no pointers in the attributes.
        let fd = unsafe { bpf_fd(bpf_cmd::BPF_MAP_CREATE, &mut attr) }?;
        Map::describe(fd)
    }

    pub fn from_id(id: u32) -> io::Result<Map> {
        let mut attr = attr();
        attr.__bindgen_anon_6.__bindgen_anon_1.map_id = id;
        // SAFETY: there are no pointers in the attributes.
        let fd = unsafe { bpf_fd(bpf_cmd::BPF_MAP_GET_FD_BY_ID, &mut attr) }?;
        Map::describe(fd)
    }

    fn describe(fd: OwnedFd) -> io::Result<Map> {
        // SAFETY: bpf_map_info is made of integers, for which zeroes are valid.
        let mut info: bpf_map_info = unsafe { mem::zeroed() };
        // SAFETY: fd is a map; its info struct has no pointers.
        unsafe { object_info(fd.as_fd(), &mut info) }?;
        Ok(Map {
            fd,
            user_value_size: user_value_size(info.type_, info.value_size as usize)?,
            id: info.id,
            kind: info.type_,
            key_size: info.key_size as usize,
            value_size: info.value_size as usize,
            max_entries: info.max_entries,
            name: name_of(&info.name),
        })
    }

    /// How many bytes of the kernel's memory it takes, as the kernel counts them (`memlock` in /proc/PID/fdinfo).
    pub fn memory(&self) -> io::Result<u64> {
        let path = format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd());
        let text = fs::read_to_string(path)?;
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix("memlock:"));
        let bytes = value.and_then(|value| value.trim().parse().ok());
        bytes.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    pub fn is_kind(&self, kind: bpf_map_type) -> bool {
        self.kind == kind as u32
    }

    /// A buffer for one value, of the size that lookups and updates want.
    pub fn value_buffer(&self) -> Vec<u8> {
        vec![0; self.user_value_size]
    }

    fn check_sizes(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if key.len() == self.key_size && value.len() == self.user_value_size {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::InvalidInput))
        }
    }

    /// Reads the value of a key; false when there is none.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        self.check_sizes(key, value)?;
        let mut attr = attr();
        // SAFETY: every member of the union is plain integers.
        let a = unsafe { &mut attr.__bindgen_anon_2 };
        a.map_fd = raw(&self.fd);
        a.key = key.as_ptr() as u64;
        a.__bindgen_anon_1.value = value.as_mut_ptr() as u64;
        // SAFETY: check_sizes: the kernel reads key_size bytes and writes user_value_size bytes.
        match unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) } {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The values of an array in their order, one behind the other, in one call where the kernel can
    /// (`BPF_MAP_LOOKUP_BATCH`; of arrays for each CPU since 5.13).
    pub fn values(&self) -> io::Result<Vec<u8>> {
        let count = self.max_entries as usize;
        let mut values = vec![0; count * self.user_value_size];
        let mut keys = vec![0u32; count];
        let mut next = 0u32;
        let mut attr = attr();
        attr.batch.map_fd = raw(&self.fd);
        attr.batch.out_batch = &raw mut next as u64;
        attr.batch.keys = keys.as_mut_ptr() as u64;
        attr.batch.values = values.as_mut_ptr() as u64;
        attr.batch.count = self.max_entries;
        if self.key_size != size_of::<u32>() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        // SAFETY: the kernel writes a key of four bytes to `next`, and at most `count` keys of four bytes and
        // values of user_value_size bytes to the others, which have room for them.
        let read = unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr) };
        // SAFETY: the kernel leaves how many it has read there, and any bytes are a number.
        let complete = unsafe { attr.batch.count } == self.max_entries;
        let ends = |error: &io::Error| error.raw_os_error() == Some(libc::ENOENT);
        if complete && read.as_ref().map_or_else(ends, |_| true) {
            return Ok(values);
        }
        for (index, value) in (0u32..).zip(values.chunks_exact_mut(self.user_value_size)) {
            self.lookup(&index.to_ne_bytes(), value)?;
        }
        Ok(values)
    }

    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.check_sizes(key, value)?;
        let mut attr = attr();
        // SAFETY: every member of the union is plain integers.
        let a = unsafe { &mut attr.__bindgen_anon_2 };
        a.map_fd = raw(&self.fd);
        a.key = key.as_ptr() as u64;
        a.__bindgen_anon_1.value = value.as_ptr() as u64;
        // SAFETY: check_sizes: the kernel reads key_size and user_value_size bytes.
        unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
    }

    pub fn delete(&self, key: &[u8]) -> io::Result<()> {
        if key.len() != self.key_size {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let mut attr = attr();
        // SAFETY: every member of the union is plain integers.
        let a = unsafe { &mut attr.__bindgen_anon_2 };
        a.map_fd = raw(&self.fd);
        a.key = key.as_ptr() as u64;
        // SAFETY: the kernel reads key_size bytes.
        unsafe { bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attr) }.map(drop)
    }

    /// The key after `key`, or the first one.
    pub fn next_key(&self, key: Option<&[u8]>) -> io::Result<Option<Vec<u8>>> {
        if key.is_some_and(|key| key.len() != self.key_size) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let mut next = vec![0; self.key_size];
        let mut attr = attr();
        // SAFETY: every member of the union is plain integers.
        let a = unsafe { &mut attr.__bindgen_anon_2 };
        a.map_fd = raw(&self.fd);
        a.key = key.map_or(0, |key| key.as_ptr() as u64);
        a.__bindgen_anon_1.next_key = next.as_mut_ptr() as u64;
        // SAFETY: the kernel reads key_size bytes where there is a key, and writes as many.
        match unsafe { bpf(bpf_cmd::BPF_MAP_GET_NEXT_KEY, &mut attr) } {
            Ok(_) => Ok(Some(next)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Forbids writing from user space for ever.
    pub fn freeze(&self) -> io::Result<()> {
        let mut attr = attr();
        attr.__bindgen_anon_2.map_fd = raw(&self.fd);
        // SAFETY: there are no pointers in the attributes.
        unsafe { bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attr) }.map(drop)
    }
}

impl Program {
    /// Verifies and loads; `Err` carries the verifier's log.
    pub fn load(spec: &ProgramSpec<'_>) -> Result<Program, (io::Error, String)> {
        let load = |log: &mut [u8]| {
            let mut attr = attr();
            // SAFETY: every member of the union is plain integers.
            let a = unsafe { &mut attr.__bindgen_anon_3 };
            a.prog_name = object_name(spec.name);
            a.prog_type = spec.kind as u32;
            a.expected_attach_type = spec.attach_type as u32;
            a.license = spec.license.as_ptr() as u64;
            a.insns = spec.instructions.as_ptr() as u64;
            a.insn_cnt = spec.instructions.len() as u32;
            a.prog_flags = spec.flags;
            if let Some((program, function)) = spec.target {
                a.__bindgen_anon_1.attach_prog_fd = raw(&program.fd);
                a.attach_btf_id = function;
            }
            if let Some((btf, functions, lines)) = spec.btf {
                a.prog_btf_fd = raw(btf);
                (a.func_info, a.func_info_cnt, a.func_info_rec_size) = functions.for_kernel();
                (a.line_info, a.line_info_cnt, a.line_info_rec_size) = lines.for_kernel();
            }
            if !log.is_empty() {
                a.log_buf = log.as_mut_ptr() as u64;
                a.log_size = log.len() as u32;
                a.log_level = 1;
            }
            // SAFETY: the pointers come with the lengths of live slices; the license ends with NUL.
            unsafe { bpf_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr) }
        };
        let fd = with_log(load)?;
        Program::describe(fd).map_err(|error| (error, String::new()))
    }

    pub fn from_id(id: u32) -> io::Result<Program> {
        let mut attr = attr();
        attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
        // SAFETY: there are no pointers in the attributes.
        let fd = unsafe { bpf_fd(bpf_cmd::BPF_PROG_GET_FD_BY_ID, &mut attr) }?;
        Program::describe(fd)
    }

    fn describe(fd: OwnedFd) -> io::Result<Program> {
        // SAFETY: bpf_prog_info is made of integers, for which zeroes are valid.
        let mut info: bpf_prog_info = unsafe { mem::zeroed() };
        // SAFETY: fd is a program; the struct asks for no lists.
        unsafe { object_info(fd.as_fd(), &mut info) }?;
        let (name, count) = (name_of(&info.name), info.nr_map_ids);
        let mut map_ids = vec![0u32; count as usize];
        // SAFETY: as above.
        info = unsafe { mem::zeroed() };
        info.nr_map_ids = count;
        info.map_ids = map_ids.as_mut_ptr() as u64;
        // SAFETY: the kernel writes at most nr_map_ids ids.
        unsafe { object_info(fd.as_fd(), &mut info) }?;
        map_ids.truncate(info.nr_map_ids as usize);
        Ok(Program {
            fd,
            id: info.id,
            name,
            is_extension: info.type_ == bpf_prog_type::BPF_PROG_TYPE_EXT as u32,
            map_ids,
        })
    }

    /// The same program once more.
    pub fn again(&self) -> io::Result<Program> {
        Program::describe(self.fd.try_clone()?)
    }

    /// Makes the program hold a map, whether or not its code refers to it.
    pub fn bind(&mut self, map: &Map) -> io::Result<()> {
        let mut attr = attr();
        attr.prog_bind_map.prog_fd = raw(&self.fd);
        attr.prog_bind_map.map_fd = raw(&map.fd);
        // SAFETY: there are no pointers in the attributes.
        unsafe { bpf(bpf_cmd::BPF_PROG_BIND_MAP, &mut attr) }?;
        if !self.map_ids.contains(&map.id) {
            self.map_ids.push(map.id);
        }
        Ok(())
    }

    /// Runs the program `repeat` times on a packet, with a context when one is given.
    pub fn test_run(
        &self,
        data: &[u8],
        context: &[u8],
        repeat: u32,
        left: &mut [u8],
    ) -> io::Result<RunResult> {
        self.run(data, context, repeat, left, 0)
    }

    /// Lets the program have `count` copies of a frame as if they had arrived at the interface of the
    /// context, and does with each what it answers (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18).
    pub fn run_live(&self, data: &[u8], context: &[u8], count: u32) -> io::Result<RunResult> {
        self.run(data, context, count, &mut [], LIVE_FRAMES)
    }

    fn run(
        &self,
        data: &[u8],
        context: &[u8],
        repeat: u32,
        left: &mut [u8],
        flags: u32,
    ) -> io::Result<RunResult> {
        let mut attr = attr();
        // SAFETY: every member of the union is plain integers.
        let a = unsafe { &mut attr.test };
        a.prog_fd = raw(&self.fd);
        a.flags = flags;
        a.data_in = data.as_ptr() as u64;
        a.data_size_in = data.len() as u32;
        if !context.is_empty() {
            a.ctx_in = context.as_ptr() as u64;
            a.ctx_size_in = context.len() as u32;
        }
        if !left.is_empty() {
            a.data_out = left.as_mut_ptr() as u64;
            a.data_size_out = left.len() as u32;
        }
        a.repeat = repeat;
        // SAFETY: the kernel reads the two slices and writes at most as much as it is told to the third.
        unsafe { bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr) }?;
        // SAFETY: the kernel has written integers to the member that it was given.
        let a = unsafe { &attr.test };
        Ok(RunResult {
            retval: a.retval,
            duration: a.duration,
            length: a.data_size_out,
        })
    }
}

impl Records<'_> {
    /// Address, number of records, size of one.
    fn for_kernel(self) -> (u64, u32, u32) {
        if self.record_size == 0 || self.bytes.is_empty() {
            return (0, 0, 0);
        }
        (
            self.bytes.as_ptr() as u64,
            (self.bytes.len() / self.record_size) as u32,
            self.record_size as u32,
        )
    }
}

impl Link {
    /// Attaches to a cgroup, beside whatever else is attached there.
    pub fn cgroup(
        program: &Program,
        cgroup: impl AsFd,
        attach_type: bpf_attach_type,
    ) -> io::Result<Link> {
        Link::create(program, raw(cgroup), attach_type, 0)
    }

    /// Attaches to an interface; `flags` are `XDP_FLAGS_*` of linux/if_link.h.
    pub fn xdp(program: &Program, ifindex: u32, flags: u32) -> io::Result<Link> {
        Link::create(program, ifindex, bpf_attach_type::BPF_XDP, flags)
    }

    /// Attaches to a hook of netfilter in the network namespace of the calling thread (Linux 6.4).
    pub fn netfilter(program: &Program, place: NetfilterPlace) -> io::Result<Link> {
        let mut attr = attr();
        // SAFETY: every member of the union is plain integers.
        let a = unsafe { &mut attr.link_create };
        a.__bindgen_anon_1.prog_fd = raw(&program.fd);
        a.attach_type = bpf_attach_type::BPF_NETFILTER as u32;
        // SAFETY: as above.
        let netfilter = unsafe { &mut a.__bindgen_anon_3.netfilter };
        netfilter.pf = place.family;
        netfilter.hooknum = place.hook;
        netfilter.priority = place.priority;
        // SAFETY: there are no pointers in the attributes.
        let fd = unsafe { bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr) }?;
        Link::describe(fd)
    }

    /// Puts an extension in the place of a function of another program, by its BTF id there.
    pub fn extension(program: &Program, target: &Program, function: u32) -> io::Result<Link> {
        let mut attr = attr();
        // SAFETY: every member of the union is plain integers.
        let a = unsafe { &mut attr.link_create };
        a.__bindgen_anon_1.prog_fd = raw(&program.fd);
        a.__bindgen_anon_2.target_fd = raw(&target.fd);
        a.__bindgen_anon_3.target_btf_id = function;
        // SAFETY: there are no pointers in the attributes.
        let fd = unsafe { bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr) }?;
        Link::describe(fd)
    }

    fn create(
        program: &Program,
        target: u32,
        attach_type: bpf_attach_type,
        flags: u32,
    ) -> io::Result<Link> {
        let mut attr = attr();
        // SAFETY: every member of the union is plain integers.
        let a = unsafe { &mut attr.link_create };
        a.__bindgen_anon_1.prog_fd = raw(&program.fd);
        a.__bindgen_anon_2.target_fd = target;
        a.attach_type = attach_type as u32;
        a.flags = flags;
        // SAFETY: there are no pointers in the attributes.
        let fd = unsafe { bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr) }?;
        Link::describe(fd)
    }

    fn describe(fd: OwnedFd) -> io::Result<Link> {
        // SAFETY: bpf_link_info is made of integers, for which zeroes are valid.
        let mut info: bpf_link_info = unsafe { mem::zeroed() };
        // SAFETY: fd is a link; the struct asks for no lists.
        unsafe { object_info(fd.as_fd(), &mut info) }?;
        let place = if info.type_ == bpf_link_type::BPF_LINK_TYPE_CGROUP as u32 {
            // SAFETY: the type says which member of the union is written; all are integers.
            LinkPlace::Cgroup(unsafe { info.__bindgen_anon_1.cgroup.cgroup_id })
        } else if info.type_ == bpf_link_type::BPF_LINK_TYPE_XDP as u32 {
            // SAFETY: as above.
            LinkPlace::Xdp(unsafe { info.__bindgen_anon_1.xdp.ifindex })
        } else {
            LinkPlace::Other
        };
        Ok(Link {
            fd,
            id: info.id,
            program_id: info.prog_id,
            place,
        })
    }

    /// The same link once more.
    pub fn again(&self) -> io::Result<Link> {
        Link::describe(self.fd.try_clone()?)
    }

    /// Puts another program in the place of the present one, atomically.
    pub fn update(&self, program: &Program) -> io::Result<()> {
        let mut attr = attr();
        // SAFETY: every member of the union is plain integers.
        let a = unsafe { &mut attr.link_update };
        a.link_fd = raw(&self.fd);
        a.__bindgen_anon_1.new_prog_fd = raw(&program.fd);
        // SAFETY: there are no pointers in the attributes.
        unsafe { bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr) }.map(drop)
    }

    /// Detaches the program now, whoever else holds the link.
    pub fn detach(&self) -> io::Result<()> {
        let mut attr = attr();
        attr.link_detach.link_fd = raw(&self.fd);
        // SAFETY: there are no pointers in the attributes.
        unsafe { bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr) }.map(drop)
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The kind of an interface's hardware (`ARPHRD_*`, include/uapi/linux/if_arp.h) by its name, in the
/// network namespace of the socket.
pub fn hardware_kind(socket: BorrowedFd<'_>, name: &str) -> Option<u16> {
    // SAFETY: ifreq is made of integers and pointers that are not looked at, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *to = from as c_char;
    }
    // SAFETY: the kernel reads and writes one ifreq.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR, &mut request) };
    // SAFETY: every member of the union may be read: zeroes are valid for all of them, and after a call
    // that succeeds this is the one that was written.
    (result == 0).then_some(unsafe { request.ifr_ifru.ifru_hwaddr.sa_family })
}

/// The ids of the programs of a cgroup for an attach type: those attached to it, or those in effect there in
/// their order (`BPF_F_QUERY_EFFECTIVE`).
pub fn cgroup_programs(
    cgroup: impl AsFd,
    attach_type: bpf_attach_type,
    effective: bool,
) -> io::Result<Vec<u32>> {
    const BPF_F_QUERY_EFFECTIVE: u32 = 1;
    // The limit of the kernel is 64 for each cgroup (BPF_CGROUP_MAX_PROGS); nesting adds up.
    let mut ids = vec![0u32; 64];
    loop {
        let mut attr = attr();
        // SAFETY: every member of the union is plain integers.
        let a = unsafe { &mut attr.query };
        a.__bindgen_anon_1.target_fd = raw(&cgroup);
        a.attach_type = attach_type as u32;
        a.query_flags = if effective { BPF_F_QUERY_EFFECTIVE } else { 0 };
        a.prog_ids = ids.as_mut_ptr() as u64;
        a.__bindgen_anon_2.prog_cnt = ids.len() as u32;
        // SAFETY: the kernel writes at most prog_cnt ids.
        let result = unsafe { bpf(bpf_cmd::BPF_PROG_QUERY, &mut attr) };
        // SAFETY: the kernel has written integers to the member that it was given.
        let count = unsafe { attr.query.__bindgen_anon_2.prog_cnt } as usize;
        match result {
            Ok(_) => {
                ids.truncate(count);
                return Ok(ids);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && count > ids.len() => {
                ids.resize(count, 0);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Gives an object a name in a BPF file system.
pub fn pin(object: impl AsFd, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = attr();
    // SAFETY: every member of the union is plain integers.
    let a = unsafe { &mut attr.__bindgen_anon_4 };
    a.pathname = path.as_ptr() as u64;
    a.bpf_fd = raw(object);
    // SAFETY: the path is live and ends with NUL.
    unsafe { bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr) }.map(drop)
}

/// Opens a pin.
pub fn open_pin(path: &Path) -> io::Result<Object> {
    let path = c_path(path)?;
    let mut attr = attr();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    // SAFETY: the path is live and ends with NUL.
    let fd = unsafe { bpf_fd(bpf_cmd::BPF_OBJ_GET, &mut attr) }?;
    // The kernel tells the kind by the name of the anonymous inode only. For links it has both forms
    // (kernel/bpf/syscall.c, bpf_link_prime and bpf_link_new_fd).
    let inode = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    let inode = inode.to_string_lossy();
    if inode.contains("bpf-map") {
        Map::describe(fd).map(Object::Map)
    } else if inode.contains("bpf-prog") {
        Program::describe(fd).map(Object::Program)
    } else if inode.contains("bpf_link") || inode.contains("bpf-link") {
        Link::describe(fd).map(Object::Link)
    } else {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

#[cfg(test)]
mod tests {
    use super::count_cpu_list;

    #[test]
    fn cpu_lists_are_counted() {
        assert_eq!(count_cpu_list("0\n"), Some(1));
        assert_eq!(count_cpu_list("0-3,8,10-11\n"), Some(7));
        assert_eq!(count_cpu_list("3-1"), None);
        assert_eq!(count_cpu_list(""), None);
    }
}
