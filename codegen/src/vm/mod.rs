//! An interpreter for the encoded instructions of a module: tests and `explain` need no kernel.
//!
//! It is stricter than a processor and knows less than the verifier. Every access is checked against
//! the region it points into, registers and stack must be written before they are read, and the number
//! of instructions is bounded. What fails gives a [`Fault`] that names the instruction. That no fault
//! was seen on some packets does not mean that the verifier accepts the program.
//!
//! The packet can be written at XDP, where programs answer with it; of the context, the mark and the
//! priority can.

mod alu;
mod context;
mod fault;
mod helpers;
mod memory;

pub use context::{Context, FIB_SOURCE, FibAnswer};
pub use fault::{Cause, Fault};

use crate::asm::{MapId, Op};
use crate::encode::{self, Encoded, Instruction, Target, opcode};
use crate::listing::Shown;
use crate::module::{CLOCK_MAP, COUNTERS_MAP, DEVICES_MAP, FunctionKind, Hook, Module};
use memory::{Memory, PacketBytes, Region, Values};

/// The most instructions one run may take: as many as the verifier looks at
/// (`BPF_COMPLEXITY_LIMIT_INSNS` of `include/linux/bpf.h`).
pub const BUDGET: u64 = 1_000_000;

/// A module with the contents of its maps, which live as long as it.
pub struct Machine<'m> {
    module: &'m Module,
    functions: Vec<Encoded<'m>>,
    maps: Vec<Values<'m>>,
    /// What `bpf_get_prandom_u32` will give, the next one last; zero when there is none.
    pub random: Vec<u32>,
}

impl<'m> Machine<'m> {
    /// Counters at zero, no interface known.
    ///
    /// # Errors
    /// When a function cannot be encoded.
    pub fn new(module: &'m Module) -> Result<Self, encode::Error> {
        let functions = module.functions.iter().map(|it| encode::encode(&it.code));
        Ok(Machine {
            module,
            functions: functions.collect::<Result<_, _>>()?,
            maps: module.maps.iter().map(Values::of).collect(),
            random: Vec::new(),
        })
    }

    /// Packets and bytes of every entry of [`COUNTERS_MAP`]; empty when the module has none.
    pub fn counters(&self) -> Vec<(u64, u64)> {
        let index = self.map_index(COUNTERS_MAP);
        index.map_or_else(Vec::new, |index| self.maps[index].counters())
    }

    /// Gives an interface its name in [`DEVICES_MAP`], cut to 15 bytes. Without the map, nothing is
    /// done.
    pub fn set_device(&mut self, ifindex: u32, name: &str) {
        if let Some(index) = self.map_index(DEVICES_MAP) {
            self.maps[index].set_device(ifindex, name);
        }
    }

    /// Sets the value of a prefix, which begins with its length in bits. False without a map of that name and
    /// these sizes.
    pub fn set_prefix(&mut self, map: &str, prefix: &[u8], value: &[u8]) -> bool {
        let index = self.map_index(map);
        index.is_some_and(|index| self.maps[index].set_prefix(prefix, value))
    }

    /// Sets the value of a key of a hash. False without a map of that name and these sizes.
    pub fn set_entry(&mut self, map: &str, key: &[u8], value: &[u8]) -> bool {
        let Some(index) = self.map_index(map) else {
            return false;
        };
        let values = &mut self.maps[index];
        let sizes = (values.key_size(), values.value_size());
        sizes == (key.len(), Some(value.len())) && values.update(key, value, 0) == 0
    }

    /// Writes bytes of [`CLOCK_MAP`]'s value, from behind its lock on. Without the map, nothing is done.
    pub fn set_clock(&mut self, bytes: &[u8]) {
        if let Some(index) = self.map_index(CLOCK_MAP) {
            self.maps[index].set_only_value(bytes);
        }
    }

    /// What programs wrote to a ring, record by record; empty when the module has none of that name.
    pub fn records(&self, ring: &str) -> &[Vec<u8>] {
        let index = self.map_index(ring);
        index.map_or(&[], |index| self.maps[index].records())
    }

    fn map_index(&self, name: &str) -> Option<usize> {
        self.module.maps.iter().position(|map| map.name == name)
    }

    /// Runs the program at a hook on one packet and gives what it returns.
    ///
    /// # Errors
    /// See [`Fault`]. Counters keep what was added before it.
    pub fn run(&mut self, hook: Hook, context: &Context) -> Result<u32, Fault> {
        self.run_and_write(hook, &mut { *context })
            .map(|(returned, _)| returned)
    }

    /// The same, with the packet as the program has left it; the context then holds what the program has
    /// written to it.
    ///
    /// # Errors
    /// See [`Fault`]. Counters keep what was added before it.
    pub fn run_and_write(
        &mut self,
        hook: Hook,
        context: &mut Context<'_>,
    ) -> Result<(u32, Vec<u8>), Fault> {
        let mut functions = self.module.functions.iter();
        let program = functions
            .position(|function| function.kind == FunctionKind::Program(hook))
            .ok_or(Fault::NoProgram(hook))?;
        let packet = PacketBytes {
            bytes: context.linear().to_vec(),
            head: 0,
            writable: hook == Hook::Xdp,
        };
        let mut run = Run {
            module: self.module,
            functions: &self.functions,
            memory: Memory::new(packet, context.kernel, &mut self.maps),
            context: *context,
            random: &mut self.random,
            hook,
            executed: 0,
        };
        let arguments = [Some(Region::Context.address(0)), None, None, None, None];
        let mut result = run.call(program, arguments);
        if result.is_ok() && run.memory.holds_socket() {
            result = Err(run.fault(program, 0, Cause::Unreleased));
        }
        (context.mark, context.priority) = (run.context.mark, run.context.priority);
        Ok((result? as u32, run.memory.packet.bytes))
    }
}

/// The address of a byte of [`Context::kernel`], for pointers in it.
pub fn kernel_address(offset: u32) -> u64 {
    Region::Kernel.address(offset)
}

/// The arguments of a call, R1 on; none where the register holds nothing.
type Arguments = [Option<u64>; 5];

/// One run of one program.
struct Run<'r, 'm> {
    module: &'m Module,
    functions: &'r [Encoded<'m>],
    memory: Memory<'r, 'm>,
    context: Context<'r>,
    random: &'r mut Vec<u32>,
    hook: Hook,
    executed: u64,
}

/// What an instruction hands over to.
enum Next {
    /// The instruction at this index.
    At(usize),
    /// A function of the module, then the next instruction.
    Call(usize),
    /// The kernel, for the structure behind the context; then the next instruction.
    Structure,
    /// A helper, then the next instruction.
    Helper(i32),
    /// The caller.
    Return(u64),
}

impl Run<'_, '_> {
    /// Runs a function to its end and gives R0.
    fn call(&mut self, index: usize, arguments: Arguments) -> Result<u64, Fault> {
        let frame = self.memory.push_frame();
        let mut registers = Registers([None; 11]);
        registers.0[1..6].copy_from_slice(&arguments);
        registers.0[10] = Some(frame.map_err(|cause| self.fault(index, 0, cause))?);
        let mut at = 0;
        loop {
            let step = self.step(index, at, &mut registers);
            let result = match step.map_err(|cause| self.fault(index, at, cause))? {
                Next::At(next) => {
                    at = next;
                    continue;
                }
                Next::Return(result) => {
                    self.memory.pop_frame();
                    return Ok(result);
                }
                Next::Call(callee) => self.call(callee, registers.arguments())?,
                Next::Structure => Region::Kernel.address(0),
                Next::Helper(helpers::LOOP) => {
                    let call = self.loop_call(&registers);
                    let (rounds, callback, shared) =
                        call.map_err(|cause| self.fault(index, at, cause))?;
                    self.run_loop(rounds, callback, shared)?
                }
                Next::Helper(helpers::FOR_EACH_MAP_ELEM) => {
                    let call = self.for_each_call(&registers);
                    let (map, callback, shared) =
                        call.map_err(|cause| self.fault(index, at, cause))?;
                    self.run_for_each((index, at), map, callback, shared)?
                }
                Next::Helper(helper) => {
                    let result = self.helper(helper, &registers);
                    result.map_err(|cause| self.fault(index, at, cause))?
                }
            };
            registers.end_call(result);
            at += 1;
        }
    }

    /// Calls a function with rising numbers until it gives something but zero; gives the number of
    /// calls, as `bpf_loop` does.
    fn run_loop(&mut self, rounds: u32, callback: usize, shared: u64) -> Result<u64, Fault> {
        if rounds > helpers::MAX_LOOPS {
            return Ok(helpers::E2BIG.cast_unsigned());
        }
        for round in 0..rounds {
            let arguments = [Some(u64::from(round)), Some(shared), None, None, None];
            if self.call(callback, arguments)? != 0 {
                return Ok(u64::from(round) + 1);
            }
        }
        Ok(u64::from(rounds))
    }

    /// Calls a function with map, key, value and R3 for each entry of a hash until it gives something but
    /// zero; gives the number of calls, as `bpf_for_each_map_elem` does. Keys are lent in a frame, because
    /// maps show programs no addresses of theirs. `caller` is the instruction that asks.
    fn run_for_each(
        &mut self,
        caller: (usize, usize),
        map: MapId,
        callback: usize,
        shared: u64,
    ) -> Result<u64, Fault> {
        let keys = self.memory.map(map).map_or_else(Vec::new, Values::keys);
        let mut calls = 0;
        for key in keys {
            let Some(value) = self.memory.map(map).and_then(|map| map.lookup(&key)) else {
                continue;
            };
            let lent = self.lend(&key);
            let key = lent.map_err(|cause| self.fault(caller.0, caller.1, cause))?;
            let value = Region::Values(map).address(value);
            let map = Region::Map(map).address(0);
            let arguments = [Some(map), Some(key), Some(value), Some(shared), None];
            let result = self.call(callback, arguments)?;
            self.memory.pop_frame();
            calls += 1;
            if result != 0 {
                break;
            }
        }
        Ok(calls)
    }

    /// Puts bytes into a frame of their own and gives their address.
    fn lend(&mut self, bytes: &[u8]) -> Result<u64, Cause> {
        let room = bytes.len().next_multiple_of(8) as u64;
        let address = self.memory.push_frame()?.wrapping_sub(room);
        let place = self.memory.bytes_mut(address, bytes.len())?;
        place.copy_from_slice(bytes);
        Ok(address)
    }

    /// Does one instruction.
    fn step(&mut self, index: usize, at: usize, registers: &mut Registers) -> Result<Next, Cause> {
        self.executed += 1;
        if self.executed > BUDGET {
            return Err(Cause::Budget(BUDGET));
        }
        let function = self.functions.get(index).ok_or(Cause::NoSuchFunction)?;
        let bytes = function.instructions.get(at).ok_or(Cause::PastEnd)?;
        if function.fields.iter().any(|field| field.instruction == at) {
            return Err(Cause::KernelField);
        }
        let it = Decoded::from(*bytes);
        match it.opcode & opcode::CLASS {
            opcode::ALU | opcode::ALU64 => {
                let result = arithmetic(&it, registers)?;
                registers.set(it.dst, result)?;
            }
            opcode::JMP | opcode::JMP32 => return self.jump(&it, index, at, registers),
            opcode::LDX => {
                let address = registers
                    .get(it.src)?
                    .wrapping_add_signed(i64::from(it.offset));
                let size = it.access_size(opcode::MEM)?;
                let value = self.load(address, size)?;
                registers.set(it.dst, value)?;
            }
            opcode::ST | opcode::STX => self.store(&it, registers)?,
            _ => {
                if it.opcode != opcode::LOAD_IMM64 {
                    return Err(Cause::Opcode(it.opcode));
                }
                let high = function.instructions.get(at + 1).ok_or(Cause::PastEnd)?;
                let high = Decoded::from(*high).imm;
                let number =
                    u64::from(high.cast_unsigned()) << 32 | u64::from(it.imm.cast_unsigned());
                let address = target(function, at).and_then(target_address);
                registers.set(it.dst, address.unwrap_or(number))?;
                return Ok(Next::At(at + 2));
            }
        }
        Ok(Next::At(at + 1))
    }

    fn load(&self, address: u64, size: usize) -> Result<u64, Cause> {
        match Region::of(address) {
            Some((Region::Context, offset)) => {
                let packet = self.memory.packet.range();
                self.context.load(self.hook, offset, size, packet)
            }
            _ => self.memory.load(address, size),
        }
    }

    fn store(&mut self, it: &Decoded, registers: &Registers) -> Result<(), Cause> {
        let address = registers
            .get(it.dst)?
            .wrapping_add_signed(i64::from(it.offset));
        let value = match it.opcode & opcode::CLASS {
            opcode::STX => registers.get(it.src)?,
            _ => i64::from(it.imm).cast_unsigned(),
        };
        if it.opcode & opcode::MODE != opcode::ATOMIC {
            let size = it.access_size(opcode::MEM)?;
            return match Region::of(address) {
                Some((Region::Context, offset)) => {
                    self.context.store(self.hook, offset, size, value)
                }
                _ => self.memory.store(address, size, value),
            };
        }
        let size = it.access_size(opcode::ATOMIC)?;
        // Addition is the only atomic operation of the assembler, on eight bytes.
        if (it.imm, size) != (0, 8) || it.opcode & opcode::CLASS != opcode::STX {
            return Err(Cause::Opcode(it.opcode));
        }
        if !address.is_multiple_of(8) {
            return Err(Cause::Misaligned { address, size });
        }
        let old = self.memory.load(address, size)?;
        self.memory.store(address, size, old.wrapping_add(value))
    }

    fn jump(
        &self,
        it: &Decoded,
        index: usize,
        at: usize,
        registers: &Registers,
    ) -> Result<Next, Cause> {
        let wide = it.opcode & opcode::CLASS == opcode::JMP;
        let operation = it.opcode & opcode::OPERATION;
        let taken = match operation {
            opcode::EXIT if wide => return Ok(Next::Return(registers.get(0)?)),
            opcode::CALL if wide => {
                return match (it.src, target(&self.functions[index], at)) {
                    (opcode::PSEUDO_CALL, Some(Target::Call(id))) => {
                        Ok(Next::Call(usize::from(id.0)))
                    }
                    // The only function of the kernel that programs call is bpf_cast_to_kern_ctx.
                    (opcode::PSEUDO_KFUNC_CALL, _) if !self.context.kernel.is_empty() => {
                        Ok(Next::Structure)
                    }
                    (opcode::PSEUDO_KFUNC_CALL, _) | (_, Some(Target::Extern(_))) => {
                        Err(Cause::KernelFunction)
                    }
                    _ => Ok(Next::Helper(it.imm)),
                };
            }
            opcode::JA if wide => Some(true),
            _ => {
                let holds = if wide { alu::holds64 } else { alu::holds32 };
                holds(operation, registers.get(it.dst)?, it.operand(registers)?)
            }
        };
        let distance = match taken.ok_or(Cause::Opcode(it.opcode))? {
            true => isize::from(it.offset) + 1,
            false => 1,
        };
        at.checked_add_signed(distance)
            .map(Next::At)
            .ok_or(Cause::PastEnd)
    }

    /// Says where a fault happened.
    fn fault(&self, index: usize, instruction: usize, cause: Cause) -> Fault {
        let module = self.module;
        let Some(function) = module.functions.get(index) else {
            return Fault::At {
                function: format!("#{index}"),
                instruction,
                text: String::new(),
                line: None,
                cause,
            };
        };
        let op = operation_at(function.code.ops(), instruction);
        let mut lines = self.functions[index].lines.iter();
        let line = lines.rfind(|line| line.instruction <= instruction);
        Fault::At {
            function: function.name.clone(),
            instruction,
            text: op.map_or_else(String::new, |op| Shown { module, op }.to_string()),
            line: line.map(|line| line.text.to_owned()),
            cause,
        }
    }
}

/// The operation an instruction was made from.
fn operation_at(ops: &[Op], instruction: usize) -> Option<Op> {
    let mut end = 0;
    ops.iter().copied().find(|op| {
        end += match op {
            Op::Label(_) => 0,
            Op::LoadImm64(..) => 2,
            _ => 1,
        };
        end > instruction
    })
}

/// What the instruction refers to.
fn target(function: &Encoded, at: usize) -> Option<Target> {
    let relocations = &function.relocations;
    let found = relocations.binary_search_by_key(&at, |it| it.instruction);
    found.ok().map(|found| relocations[found].target)
}

/// The address that a 64-bit immediate stands for.
fn target_address(target: Target) -> Option<u64> {
    match target {
        Target::Map(id) => Some(Region::Map(id).address(0)),
        Target::MapValue(id, offset) => Some(Region::Values(id).address(offset)),
        Target::Function(id) => Some(Region::Function(id).address(0)),
        Target::Call(_) | Target::Extern(_) => None,
    }
}

fn arithmetic(it: &Decoded, registers: &Registers) -> Result<u64, Cause> {
    let operation = it.opcode & opcode::OPERATION;
    let wide = it.opcode & opcode::CLASS == opcode::ALU64;
    let result = match operation {
        opcode::END if !wide && it.opcode & opcode::X != 0 => {
            alu::to_big_endian(registers.get(it.dst)?, it.imm)
        }
        opcode::END => None,
        _ => {
            // A move does not look at its destination.
            let dst = match operation {
                alu::MOV => 0,
                _ => registers.get(it.dst)?,
            };
            let compute = if wide { alu::alu64 } else { alu::alu32 };
            compute(operation, dst, it.operand(registers)?)
        }
    };
    result.ok_or(Cause::Opcode(it.opcode))
}

/// The registers of a frame; none where nothing can be read.
struct Registers([Option<u64>; 11]);

impl Registers {
    fn get(&self, number: u8) -> Result<u64, Cause> {
        let value = self.0.get(usize::from(number)).copied().flatten();
        value.ok_or(Cause::UninitialisedRegister(number))
    }

    fn set(&mut self, number: u8, value: u64) -> Result<(), Cause> {
        match number {
            0..10 => self.0[usize::from(number)] = Some(value),
            _ => return Err(Cause::FramePointer),
        }
        Ok(())
    }

    fn arguments(&self) -> Arguments {
        let [_, a, b, c, d, e, ..] = self.0;
        [a, b, c, d, e]
    }

    /// A call leaves its result and takes the argument registers.
    fn end_call(&mut self, result: u64) {
        self.0[..6].fill(None);
        self.0[0] = Some(result);
    }
}

/// The fields of an instruction.
struct Decoded {
    opcode: u8,
    dst: u8,
    src: u8,
    offset: i16,
    imm: i32,
}

impl From<Instruction> for Decoded {
    fn from([opcode, registers, o0, o1, i0, i1, i2, i3]: Instruction) -> Self {
        Decoded {
            opcode,
            dst: registers & 0x0f,
            src: registers >> 4,
            offset: i16::from_le_bytes([o0, o1]),
            imm: i32::from_le_bytes([i0, i1, i2, i3]),
        }
    }
}

impl Decoded {
    /// The second operand, sign-extended when it is the immediate.
    fn operand(&self, registers: &Registers) -> Result<u64, Cause> {
        match self.opcode & opcode::X {
            0 => Ok(i64::from(self.imm).cast_unsigned()),
            _ => registers.get(self.src),
        }
    }

    /// The bytes that a memory access of this mode touches.
    fn access_size(&self, mode: u8) -> Result<usize, Cause> {
        if self.opcode & opcode::MODE != mode {
            return Err(Cause::Opcode(self.opcode));
        }
        Ok(match self.opcode & opcode::SIZE {
            0x00 => 4,
            0x08 => 2,
            0x10 => 1,
            _ => 8,
        })
    }
}
