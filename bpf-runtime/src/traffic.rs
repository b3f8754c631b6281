//! Many different packets for one program, without any call of the kernel between them: what a test run,
//! which repeats one packet, cannot tell of caches and branch prediction.
//!
//! A small XDP program writes the next packet of a list over the one that it is given, and calls the program
//! under test as its last act. What that writing costs is known by putting a program that does nothing in
//! its place.

use std::os::fd::{AsFd, AsRawFd};

use aya_obj::generated::{bpf_insn, bpf_map_type};
use ipt2bpf_codegen::asm::{Alu, Code, Cond, Helper, Imm64, MapId, Reg, Size};
use ipt2bpf_codegen::encode::{Target, encode};
use ipt2bpf_codegen::module::Hook;

use crate::error::{Error, Step};
use crate::load::{Loaded, kernel_types};
use crate::sys::{Map, MapSpec, Program, ProgramSpec};
use crate::test_run::context;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// The least that an interface takes.
const SHORTEST: usize = 60;
/// `XDP_ABORTED` and `XDP_TX`.
const ABORTED: i32 = 0;
const TX: i32 = 3;
/// `data` and `data_end` in `struct xdp_md`.
const DATA: i16 = 0;
const DATA_END: i16 = 4;

/// The maps of the feeding program, by their number in its code.
const PACKETS: MapId = MapId(0);
const POSITION: MapId = MapId(1);
const NEXT: MapId = MapId(2);

/// `BPF_PSEUDO_MAP_FD` and `BPF_PSEUDO_MAP_VALUE` of include/uapi/linux/bpf.h.
const MAP_FD: u8 = 1;
const MAP_VALUE: u8 = 2;

/// A list of packets and the program that gives them to another.
#[derive(Debug)]
pub struct Traffic {
    program: Program,
    next: Map,
    frame: Vec<u8>,
}

impl Traffic {
    /// Packets that follow one another round and round. `header` is the Ethernet header of all of them;
    /// `packets` are the bytes behind it, all of one length, which is a multiple of eight, and as many as
    /// a power of two.
    ///
    /// # Errors
    /// [`Error::Object`] for lists of another shape, [`Error::Refused`].
    pub fn new(header: &[u8; ETHERNET], packets: &[Vec<u8>]) -> Result<Traffic, Error> {
        let size = packets.first().map_or(0, Vec::len);
        let even = packets.iter().all(|packet| packet.len() == size);
        if !even || size == 0 || !size.is_multiple_of(8) || !packets.len().is_power_of_two() {
            return Err(Error::object("its packets are of uneven length or number"));
        }
        let bytes = packets.concat();
        let packets_map = array("packets", bytes.len() as u32)?;
        packets_map
            .update(&0u32.to_ne_bytes(), &bytes)
            .map_err(Error::refused(Step::WriteMap("packets".into())))?;
        let position = array("position", 8)?;
        let next = Map::create(&MapSpec {
            name: "next",
            kind: bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY as u32,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            flags: 0,
            btf: None,
        })
        .map_err(Error::refused(Step::CreateMap("next".into())))?;
        let code = feeding(size, packets.len());
        let instructions = linked(&code, &[&packets_map, &position, &next])?;
        let (kind, attach_type) = kernel_types(Hook::Xdp);
        let program = Program::load(&ProgramSpec {
            name: "traffic",
            kind,
            attach_type,
            license: c"GPL",
            instructions: &instructions,
            btf: None,
            flags: 0,
            target: None,
        })
        .map_err(|(source, log)| Error::Refused {
            step: Step::LoadProgram(Hook::Xdp),
            source,
            log,
        })?;
        let mut frame = [&header[..], &packets[0]].concat();
        frame.resize(frame.len().max(SHORTEST), 0);
        Ok(Traffic {
            program,
            next,
            frame,
        })
    }

    /// Puts the XDP program of an object behind this traffic, in the place of the one before.
    ///
    /// # Errors
    /// [`Error::NoProgram`], [`Error::Refused`].
    pub fn lead_to(&self, loaded: &Loaded) -> Result<(), Error> {
        let program = loaded.program(Hook::Xdp)?.as_fd().as_raw_fd();
        self.next
            .update(&0u32.to_ne_bytes(), &program.to_ne_bytes())
            .map_err(Error::refused(Step::WriteMap("next".into())))
    }

    /// Gives so many packets to the program behind, and tells what it said of the last.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn run(&self, packets: u32) -> Result<u32, Error> {
        let mut left = vec![0; self.frame.len()];
        let result = self
            .program
            .test_run(&self.frame, &[], packets, &mut left)
            .map_err(Error::refused(Step::TestRun(Hook::Xdp)))?;
        Ok(result.retval)
    }

    /// Sends so many packets by an interface of the calling thread's network namespace, as long as no
    /// program is behind. Those that a veth device carries have arrived when this returns. Tells the
    /// mean time of a packet, its way through the receiving end included, in nanoseconds.
    ///
    /// # Errors
    /// [`Error::Refused`], also before Linux 5.18.
    pub fn send(&self, interface: u32, packets: u32) -> Result<u32, Error> {
        let context = context(Hook::Xdp, self.frame.len(), interface);
        let result = self
            .program
            .run_live(&self.frame, &context, packets)
            .map_err(Error::refused(Step::TestRun(Hook::Xdp)))?;
        Ok(result.duration)
    }
}

/// An array of one value.
fn array(name: &str, size: u32) -> Result<Map, Error> {
    Map::create(&MapSpec {
        name,
        kind: bpf_map_type::BPF_MAP_TYPE_ARRAY as u32,
        key_size: 4,
        value_size: size,
        max_entries: 1,
        flags: 0,
        btf: None,
    })
    .map_err(Error::refused(Step::CreateMap(name.into())))
}

/// The feeding program, for so many packets of such a size.
fn feeding(size: usize, packets: usize) -> Code {
    let mut code = Code::default();
    let (context, from, to, end) = (Reg::R1, Reg::R2, Reg::R3, Reg::R4);
    let (position, word) = (Reg::R5, Reg::R0);
    let short = code.label();
    code.load_imm64(position, Imm64::MapValue(POSITION, 0));
    code.load(Size::W, from, position, 0);
    code.mov(word, from);
    code.alu(Alu::Add, word, 1);
    code.store(Size::W, position, 0, word);
    code.alu(Alu::And, from, packets as i32 - 1);
    code.alu(Alu::Mul, from, size as i32);
    code.load_imm64(position, Imm64::MapValue(PACKETS, 0));
    code.alu(Alu::Add, from, position);
    code.load(Size::W, to, context, DATA);
    code.load(Size::W, end, context, DATA_END);
    code.mov(word, to);
    code.alu(Alu::Add, word, (ETHERNET + size) as i32);
    code.branch(Cond::Gt, word, end, short);
    for offset in (0..size as i16).step_by(8) {
        code.load(Size::D, word, from, offset);
        code.store(Size::D, to, ETHERNET as i16 + offset, word);
    }
    code.load_imm64(Reg::R2, Imm64::Map(NEXT));
    code.mov(Reg::R3, 0);
    code.call(Helper::TailCall);
    code.mov(Reg::R0, TX);
    code.exit();
    code.bind(short);
    code.mov(Reg::R0, ABORTED);
    code.exit();
    code
}

/// The instructions, with the maps in place.
fn linked(code: &Code, maps: &[&Map]) -> Result<Vec<bpf_insn>, Error> {
    let encoded = encode(code).map_err(Error::object)?;
    let mut instructions = encoded.instructions;
    for relocation in &encoded.relocations {
        let (map, kind) = match relocation.target {
            Target::Map(map) => (map, MAP_FD),
            Target::MapValue(map, _) => (map, MAP_VALUE),
            _ => return Err(Error::object("it refers to more than maps")),
        };
        let fd = maps[usize::from(map.0)].as_fd().as_raw_fd();
        let instruction = &mut instructions[relocation.instruction];
        instruction[1] |= kind << 4;
        instruction[4..].copy_from_slice(&fd.to_le_bytes());
    }
    Ok(instructions.iter().map(instruction).collect())
}

fn instruction(bytes: &[u8; 8]) -> bpf_insn {
    let [code, registers, off0, off1, imm @ ..] = *bytes;
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(registers & 15, registers >> 4),
        off: i16::from_le_bytes([off0, off1]),
        imm: i32::from_le_bytes(imm),
    }
}
