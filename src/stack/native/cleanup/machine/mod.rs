//! Follows the code that cleans a frame up, without running it: an interpreter of the part of the
//! instruction set that such code uses.
//!
//! It works on copies: what it writes is kept beside the memory of the process, and nothing of that
//! changes. What it does not know is carried along as not known. Where the way depends on such a
//! value, or on an instruction or a function that is not known here, it ends without an answer.

mod instructions;
mod register;

use std::collections::HashMap;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};

use crate::stack::native::arch::Target;
use crate::stack::native::images::{Images, resolve};
use crate::stack::native::unwind::Stack;
use crate::sys::native::externals::{External, error_offset, external, system_value};
use crate::sys::native::memory::copy;
use crate::sys::native::signal::Registers;
use register::{Register64, Value, mask};

/// The most instructions for one frame,
const MOST_STEPS: usize = 20_000;
/// and for all frames of a thread.
const MOST_STEPS_OF_THREAD: usize = 4 * MOST_STEPS;
/// The most calls within one another.
const MOST_DEPTH: usize = 64;
/// The most bytes that copies of memory move, for one frame.
const MOST_COPIED: u64 = 16 << 10;
/// Bytes of the longest instruction.
const LONGEST_INSTRUCTION: usize = 15;
/// Stands for the exception: no memory is there.
const EXCEPTION: u64 = 0xdead_0000_0000_0000;
const NEAR_EXCEPTION: u64 = 1 << 20;

/// The word of a lock, which becomes smaller when the lock is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stack::native) struct LockWord {
    pub(in crate::stack::native) address: u64,
    /// In bytes, at most 8.
    pub(in crate::stack::native) size: usize,
}

impl LockWord {
    /// What it holds now.
    pub(in crate::stack::native) fn read(self) -> Option<u64> {
        let mut bytes = [0; 8];
        (copy(self.address, &mut bytes[..self.size]) == self.size)
            .then(|| u64::from_le_bytes(bytes))
    }
}

/// How many more instructions are followed for a thread.
pub(super) struct Steps(usize);

impl Steps {
    pub(super) fn of_thread() -> Self {
        Self(MOST_STEPS_OF_THREAD)
    }
}

/// Registers that calls keep: rbx, rbp, r12 to r15. `None` for what is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) rbx: Option<u64>,
    pub(super) rbp: Option<u64>,
    pub(super) r12_to_r15: [Option<u64>; 4],
}

impl Kept {
    /// Those of the innermost frame.
    pub(super) fn of(registers: Registers) -> Self {
        let kept = registers.kept.map_or([None; 5], |kept| kept.map(Some));
        let [rbx, r12, r13, r14, r15] = kept;
        Self { rbx, rbp: registers.fp, r12_to_r15: [r12, r13, r14, r15] }
    }
}

/// What the clean-up of a frame does to the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cleanup {
    /// It releases the lock: the frame holds it.
    Releases,
    /// It does not touch the lock.
    Leaves,
    /// It could not be followed to its end.
    Unclear,
}

/// Follows the clean-up at `pad` of a frame with that stack pointer and those registers.
pub(super) fn follow(
    images: &Images,
    (stack, thread_area): (Stack<'_>, Option<u64>),
    word: LockWord,
    pad: u64,
    (sp, kept): (u64, Kept),
    steps: &mut Steps,
) -> Cleanup {
    let mut registers = [Register64::default(); 16];
    // As the unwinder enters it.
    registers[RAX] = Some(EXCEPTION).into();
    registers[RSP] = Some(sp).into();
    registers[RBX] = kept.rbx.into();
    registers[RBP] = kept.rbp.into();
    for (register, kept) in registers[12..].iter_mut().zip(kept.r12_to_r15) {
        *register = kept.into();
    }
    let vectors = [None; 16];
    let written = HashMap::new();
    let (flags, depth, copied) = (None, 0, 0);
    let mut machine = Machine {
        images,
        stack,
        word,
        thread_area,
        registers,
        vectors,
        flags,
        written,
        depth,
        copied,
    };
    let mut at = pad;
    for _ in 0..steps.0.min(MOST_STEPS) {
        steps.0 -= 1;
        match machine.step(at) {
            Ok(next) => at = next,
            Err(end) => return end,
        }
    }
    Cleanup::Unclear
}

const RAX: usize = 0;
const RBX: usize = 3;
const RSP: usize = 4;
const RBP: usize = 5;

/// An end of the way, or a value.
type Known<T> = Result<T, Cleanup>;

#[derive(Clone, Copy)]
struct Flags {
    zero: bool,
    sign: bool,
    /// `None` where the instruction left it as it was.
    carry: Option<bool>,
    overflow: bool,
}

struct Machine<'a> {
    images: &'a Images,
    stack: Stack<'a>,
    word: LockWord,
    /// Where the data of the thread lies.
    thread_area: Value,
    registers: [Register64; 16],
    vectors: [Option<u128>; 16],
    flags: Option<Flags>,
    /// What it has written, byte by byte.
    written: HashMap<u64, Option<u8>>,
    depth: usize,
    /// How many bytes copies have moved.
    copied: u64,
}

impl Machine<'_> {
    fn step(&mut self, at: u64) -> Known<u64> {
        let code = self.images.program_code(at).ok_or(Cleanup::Unclear)?;
        let code = &code[..code.len().min(LONGEST_INSTRUCTION)];
        let mut decoder = Decoder::with_ip(64, code, at, DecoderOptions::NONE);
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return Err(Cleanup::Unclear);
        }
        match instruction.flow_control() {
            FlowControl::Next => self.plain(&instruction).map(|()| instruction.next_ip()),
            FlowControl::UnconditionalBranch => self.jump(instruction.near_branch_target()),
            FlowControl::IndirectBranch => {
                let target = self.read(&instruction, 0)?.ok_or(Cleanup::Unclear)?;
                self.jump(target)
            }
            FlowControl::ConditionalBranch => {
                let holds = self.condition(instruction.condition_code())?;
                let target = instruction.near_branch_target();
                Ok(if holds { target } else { instruction.next_ip() })
            }
            FlowControl::Call => self.call(&instruction, instruction.near_branch_target()),
            FlowControl::IndirectCall => {
                let target = self.read(&instruction, 0)?.ok_or(Cleanup::Unclear)?;
                self.call(&instruction, target)
            }
            // The frame itself returns: the exception was caught, and no clean-up is left.
            FlowControl::Return if self.depth == 0 => Err(Cleanup::Leaves),
            FlowControl::Return => {
                self.depth -= 1;
                self.pop()?.ok_or(Cleanup::Unclear)
            }
            _ => Err(Cleanup::Unclear),
        }
    }

    // Calls.

    fn jump(&mut self, target: u64) -> Known<u64> {
        match external(self.resolved(target)?) {
            None if self.images.program_code(target).is_some() => Ok(target),
            // The last act of a function may be a call.
            Some(other) => {
                self.act(other)?;
                self.depth = self.depth.checked_sub(1).ok_or(Cleanup::Leaves)?;
                self.pop()?.ok_or(Cleanup::Unclear)
            }
            None => Err(Cleanup::Unclear),
        }
    }

    fn call(&mut self, instruction: &Instruction, target: u64) -> Known<u64> {
        let target = self.resolved(target)?;
        if let Some(other) = external(target) {
            self.act(other)?;
            return Ok(instruction.next_ip());
        }
        if self.images.program_code(target).is_none() || self.depth >= MOST_DEPTH {
            return Err(Cleanup::Unclear);
        }
        self.depth += 1;
        self.push(Some(instruction.next_ip()))?;
        Ok(target)
    }

    fn resolved(&self, target: u64) -> Known<u64> {
        match resolve(Target::At(target)) {
            Target::At(target) => Ok(target),
            Target::In(_) | Target::Somewhere => Err(Cleanup::Unclear),
        }
    }

    /// What a function of a library does, as far as it matters here.
    fn act(&mut self, function: External) -> Known<()> {
        let [to, from, length] = [7, 6, 2].map(|register| self.registers[register].get(8));
        let result = match function {
            External::Resume => return Err(Cleanup::Leaves),
            External::Frees => Some(0),
            External::SystemCall => None,
            External::ThreadArea => self.thread_area,
            External::ErrorNumber => self.thread_area.map(|area| area.wrapping_add(error_offset())),
            External::SystemValue => to.map(system_value),
            External::Copies => {
                let (Some(to), Some(from), Some(length)) = (to, from, length) else {
                    return Err(Cleanup::Unclear);
                };
                self.copied = self.copied.saturating_add(length);
                if self.copied > MOST_COPIED || self.touches(to, length as usize) {
                    return Err(Cleanup::Unclear);
                }
                let bytes: Vec<_> = (0..length)
                    .map(|at| self.bytes(from.wrapping_add(at), 1).map(|byte| byte as u8))
                    .collect();
                self.written.extend((0..length).map(|at| to.wrapping_add(at)).zip(bytes));
                Some(to)
            }
        };
        // Registers that a call need not keep.
        for register in [1, 2, 6, 7, 8, 9, 10, 11] {
            self.registers[register] = None.into();
        }
        self.registers[RAX] = result.into();
        self.vectors = [None; 16];
        self.flags = None;
        Ok(())
    }

    fn push(&mut self, value: Value) -> Known<()> {
        let sp = self.registers[RSP].get(8).ok_or(Cleanup::Unclear)?.wrapping_sub(8);
        self.registers[RSP] = Some(sp).into();
        self.store(sp, 8, value)
    }

    fn pop(&mut self) -> Known<Value> {
        let sp = self.registers[RSP].get(8).ok_or(Cleanup::Unclear)?;
        self.registers[RSP] = Some(sp.wrapping_add(8)).into();
        self.load(sp, 8)
    }

    // Memory.

    fn load(&self, address: u64, size: usize) -> Known<Value> {
        if address.abs_diff(EXCEPTION) < NEAR_EXCEPTION {
            // The exception is looked at: all clean-up is done, and it is caught here.
            return Err(Cleanup::Leaves);
        }
        Ok(self.bytes(address, size).map(|value| value as u64))
    }

    fn bytes(&self, address: u64, size: usize) -> Option<u128> {
        let mut bytes = [0; 16];
        let bytes = &mut bytes[..size.min(16)];
        let is_known = match self.stack.part(address, bytes.len()) {
            Some(part) => {
                bytes.copy_from_slice(part);
                true
            }
            None => copy(address, bytes) == bytes.len(),
        };
        let mut each = bytes.iter().copied().enumerate().rev();
        each.try_fold(0_u128, |value, (at, byte)| {
            let byte = match self.written.get(&address.wrapping_add(at as u64)) {
                Some(written) => (*written)?,
                None if is_known => byte,
                None => return None,
            };
            Some(value << 8 | u128::from(byte))
        })
    }

    fn touches(&self, address: u64, size: usize) -> bool {
        let LockWord { address: word, size: length } = self.word;
        address < word.wrapping_add(length as u64) && word < address.wrapping_add(size as u64)
    }

    fn store(&mut self, address: u64, size: usize, value: Value) -> Known<()> {
        let LockWord { address: word, size: length } = self.word;
        if self.touches(address, size) {
            let before = self.load(word, length)?;
            self.write(address, size, value.map(u128::from));
            let after = self.load(word, length)?;
            return Err(match (before, after) {
                (Some(before), Some(after)) if after < before => Cleanup::Releases,
                // It takes the lock, or does what locks do not do.
                _ => Cleanup::Unclear,
            });
        }
        self.write(address, size, value.map(u128::from));
        Ok(())
    }

    fn write(&mut self, address: u64, size: usize, value: Option<u128>) {
        for at in 0..size {
            let byte = value.map(|value| (value >> (8 * at)) as u8);
            self.written.insert(address.wrapping_add(at as u64), byte);
        }
    }

    // Operands.

    fn address(&self, instruction: &Instruction) -> Value {
        let area = match instruction.segment_prefix() {
            Register::FS => self.thread_area?,
            Register::GS => return None,
            _ => 0,
        };
        if instruction.is_ip_rel_memory_operand() {
            return Some(instruction.ip_rel_memory_address());
        }
        let register = |register: Register| match register {
            Register::None => Some(0),
            register if register.is_gpr64() => self.registers[register.number()].get(8),
            _ => None,
        };
        let scaled = register(instruction.memory_index())?
            .wrapping_mul(u64::from(instruction.memory_index_scale()));
        let base = register(instruction.memory_base())?;
        let offset = scaled.wrapping_add(instruction.memory_displacement64());
        Some(area.wrapping_add(base).wrapping_add(offset))
    }

    fn size(instruction: &Instruction, operand: u32) -> usize {
        match instruction.op_kind(operand) {
            OpKind::Register => instruction.op_register(operand).size(),
            OpKind::Memory => instruction.memory_size().size(),
            _ => 8,
        }
    }

    fn read(&self, instruction: &Instruction, operand: u32) -> Known<Value> {
        match instruction.op_kind(operand) {
            OpKind::Register => Ok(self.register(instruction.op_register(operand))),
            OpKind::Memory => match self.address(instruction) {
                None => Ok(None),
                Some(address) => self.load(address, Self::size(instruction, operand).min(8)),
            },
            OpKind::NearBranch64 => Ok(Some(instruction.near_branch_target())),
            _ => Ok(instruction.try_immediate(operand).ok()),
        }
    }

    fn register(&self, register: Register) -> Value {
        let is_high = matches!(register, Register::AH | Register::BH | Register::CH | Register::DH);
        if !register.is_gpr() || is_high {
            return None;
        }
        self.registers[register.full_register().number()].get(register.size())
    }

    fn assign(&mut self, register: Register, value: Value) -> Known<()> {
        let is_high = matches!(register, Register::AH | Register::BH | Register::CH | Register::DH);
        if !register.is_gpr() || is_high {
            return Err(Cleanup::Unclear);
        }
        let value = value.map(|value| value & mask(register.size()));
        self.registers[register.full_register().number()].set(register.size(), value);
        Ok(())
    }

    fn put(&mut self, instruction: &Instruction, operand: u32, value: Value) -> Known<()> {
        match instruction.op_kind(operand) {
            OpKind::Register => self.assign(instruction.op_register(operand), value),
            OpKind::Memory => match self.address(instruction) {
                // Data of the thread is no lock and no stack.
                None if instruction.segment_prefix() == Register::FS => Ok(()),
                None => Err(Cleanup::Unclear),
                Some(address) => {
                    let size = Self::size(instruction, operand);
                    self.store(address, size, value.map(|value| value & mask(size)))
                }
            },
            _ => Err(Cleanup::Unclear),
        }
    }
}
