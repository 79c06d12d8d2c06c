//! Follows the code that cleans a frame up, without running it: an interpreter of the part of the
//! instruction set that such code uses.
//!
//! It works on copies: what it writes is kept beside the memory of the process, and nothing of that
//! changes. What it does not know is carried along as not known. Where the way depends on such a
//! value, or on an instruction or a function that is not known here, it ends without an answer.

use std::collections::HashMap;

use iced_x86::{ConditionCode, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};
use iced_x86::{FlowControl, Register};

use crate::stack::native::arch::Target;
use crate::stack::native::images::{Images, resolve};
use crate::stack::native::unwind::Stack;
use crate::sys::native::externals::{External, external};
use crate::sys::native::memory::copy;

/// The most instructions for one frame.
const MOST_STEPS: usize = 20_000;
/// The most calls within one another.
const MOST_DEPTH: usize = 64;
/// The most bytes that a copy of memory moves.
const LONGEST_COPY: u64 = 16 << 10;
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

/// Registers that calls keep: rbx, rbp, r12 to r15. `None` for what is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) rbx: Option<u64>,
    pub(super) rbp: Option<u64>,
    pub(super) r12_to_r15: [Option<u64>; 4],
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
    stack: Stack<'_>,
    word: LockWord,
    pad: u64,
    (sp, kept): (u64, Kept),
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
    let mut machine =
        Machine { images, stack, word, registers, vectors, flags: None, written, depth: 0 };
    let mut at = pad;
    for _ in 0..MOST_STEPS {
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

type Value = Option<u64>;
/// An end of the way, or a value.
type Known<T> = Result<T, Cleanup>;

#[derive(Clone, Copy)]
struct Flags {
    zero: bool,
    sign: bool,
    carry: bool,
    overflow: bool,
}

/// A register of which some bytes may not be known.
#[derive(Clone, Copy, Default)]
struct Register64 {
    value: u64,
    /// A mask of the bits that are known.
    known: u64,
}

impl Register64 {
    fn get(self, size: usize) -> Value {
        (self.known & mask(size) == mask(size)).then_some(self.value & mask(size))
    }

    /// Sets its lower bytes. Four of them clear the others, as the processor does.
    fn set(&mut self, size: usize, value: Value) {
        let mask = if size == 4 { u64::MAX } else { mask(size) };
        let (value, known) = value.map_or((0, 0), |value| (value & mask, mask));
        self.value = self.value & !mask | value;
        self.known = self.known & !mask | known;
    }
}

impl From<Value> for Register64 {
    fn from(value: Value) -> Self {
        value.map_or(Self::default(), |value| Self { value, known: u64::MAX })
    }
}

struct Machine<'a> {
    images: &'a Images,
    stack: Stack<'a>,
    word: LockWord,
    registers: [Register64; 16],
    vectors: [Option<u128>; 16],
    flags: Option<Flags>,
    /// What it has written, byte by byte.
    written: HashMap<u64, Option<u8>>,
    depth: usize,
}

fn mask(size: usize) -> u64 {
    if size >= 8 { u64::MAX } else { (1 << (size * 8)) - 1 }
}

fn is_negative(value: u64, size: usize) -> bool {
    value >> (size * 8 - 1) & 1 == 1
}

fn extended(value: u64, size: usize) -> u64 {
    if is_negative(value, size) { value | !mask(size) } else { value }
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
        if !self.images.program_code(target).is_some() || self.depth >= MOST_DEPTH {
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
            External::Copies => {
                let (Some(to), Some(from), Some(length)) = (to, from, length) else {
                    return Err(Cleanup::Unclear);
                };
                if length > LONGEST_COPY || self.touches(to, length as usize) {
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
        if matches!(instruction.segment_prefix(), Register::FS | Register::GS) {
            // Data of the thread.
            return None;
        }
        if instruction.is_ip_rel_memory_operand() {
            return Some(instruction.ip_rel_memory_address());
        }
        let register = |register: Register| match register {
            Register::None => Some(0),
            register if register.is_gpr64() => self.registers[register.number()].get(8),
            _ => None,
        };
        let scaled =
            register(instruction.memory_index())?.wrapping_mul(u64::from(instruction.memory_index_scale()));
        let base = register(instruction.memory_base())?;
        Some(base.wrapping_add(scaled).wrapping_add(instruction.memory_displacement64()))
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

    // Instructions.

    fn condition(&self, code: ConditionCode) -> Known<bool> {
        let Flags { zero, sign, carry, overflow } = self.flags.ok_or(Cleanup::Unclear)?;
        Ok(match code {
            ConditionCode::e => zero,
            ConditionCode::ne => !zero,
            ConditionCode::b => carry,
            ConditionCode::ae => !carry,
            ConditionCode::be => carry || zero,
            ConditionCode::a => !carry && !zero,
            ConditionCode::s => sign,
            ConditionCode::ns => !sign,
            ConditionCode::l => sign != overflow,
            ConditionCode::ge => sign == overflow,
            ConditionCode::le => zero || sign != overflow,
            ConditionCode::g => !zero && sign == overflow,
            ConditionCode::o => overflow,
            ConditionCode::no => !overflow,
            _ => return Err(Cleanup::Unclear),
        })
    }

    fn flag(&mut self, result: Value, size: usize, carry: bool, overflow: bool) {
        self.flags = result.map(|result| Flags {
            zero: result & mask(size) == 0,
            sign: is_negative(result, size),
            carry,
            overflow,
        });
    }

    fn plain(&mut self, instruction: &Instruction) -> Known<()> {
        use Mnemonic as M;

        let size = Self::size(instruction, 0);
        match instruction.mnemonic() {
            M::Nop | M::Endbr64 | M::Prefetchw => Ok(()),
            M::Mov => {
                let value = self.read(instruction, 1)?;
                self.put(instruction, 0, value)
            }
            M::Movzx => {
                let value = self.read(instruction, 1)?;
                self.put(instruction, 0, value)
            }
            M::Movsx | M::Movsxd => {
                let from = Self::size(instruction, 1);
                let value = self.read(instruction, 1)?.map(|value| extended(value, from));
                self.put(instruction, 0, value)
            }
            M::Cdqe => {
                let value = self.registers[RAX].get(4).map(|value| extended(value, 4));
                self.registers[RAX] = value.into();
                Ok(())
            }
            M::Lea => {
                let address = self.address(instruction);
                self.put(instruction, 0, address)
            }
            M::Push => {
                let value = self.read(instruction, 0)?;
                self.push(value)
            }
            M::Pop => {
                let value = self.pop()?;
                self.put(instruction, 0, value)
            }
            M::Leave => {
                self.registers[RSP] = self.registers[RBP];
                self.registers[RBP] = self.pop()?.into();
                Ok(())
            }
            M::Add | M::Sub | M::Cmp | M::Inc | M::Dec | M::Neg => self.arithmetic(instruction, size),
            M::And | M::Or | M::Xor | M::Test | M::Not => self.logic(instruction, size),
            M::Shl | M::Shr | M::Sar => self.shift(instruction, size),
            M::Imul => self.multiply(instruction, size),
            M::Bt => {
                let (value, bit) = (self.read(instruction, 0)?, self.read(instruction, 1)?);
                let carry = value.zip(bit).map(|(value, bit)| value >> (bit % (size as u64 * 8)) & 1 == 1);
                // The others stay, which nothing asks for after a test of a bit.
                self.flags = carry.map(|carry| Flags { zero: false, sign: false, carry, overflow: false });
                Ok(())
            }
            M::Xchg => {
                let (left, right) = (self.read(instruction, 0)?, self.read(instruction, 1)?);
                self.put(instruction, 1, left)?;
                self.put(instruction, 0, right)
            }
            M::Xadd => {
                let (left, right) = (self.read(instruction, 0)?, self.read(instruction, 1)?);
                let sum = left.zip(right).map(|(left, right)| left.wrapping_add(right));
                self.flags_of_add(left, right, size);
                self.put(instruction, 0, sum)?;
                self.put(instruction, 1, left)
            }
            M::Cmpxchg => self.compare_exchange(instruction, size),
            _ => match (instruction.condition_code(), instruction.op_count()) {
                (ConditionCode::None, _) => self.vector(instruction),
                // `set`
                (condition, 1) => {
                    let holds = self.condition(condition)?;
                    self.put(instruction, 0, Some(holds.into()))
                }
                // `cmov`
                (condition, 2) => {
                    let holds = self.condition(condition)?;
                    let value = self.read(instruction, u32::from(holds))?;
                    self.put(instruction, 0, value)
                }
                _ => Err(Cleanup::Unclear),
            },
        }
    }

    fn flags_of_add(&mut self, left: Value, right: Value, size: usize) {
        let sum = left.zip(right).map(|(left, right)| left.wrapping_add(right) & mask(size));
        let (left, right) = (left.unwrap_or(0) & mask(size), right.unwrap_or(0) & mask(size));
        let result = sum.unwrap_or(0);
        let overflow = is_negative((left ^ result) & (right ^ result), size);
        self.flag(sum, size, result < left, overflow);
    }

    fn flags_of_subtract(&mut self, left: Value, right: Value, size: usize) {
        let difference = left.zip(right).map(|(left, right)| left.wrapping_sub(right) & mask(size));
        let (left, right) = (left.unwrap_or(0) & mask(size), right.unwrap_or(0) & mask(size));
        let result = difference.unwrap_or(0);
        let overflow = is_negative((left ^ right) & (left ^ result), size);
        self.flag(difference, size, left < right, overflow);
    }

    fn arithmetic(&mut self, instruction: &Instruction, size: usize) -> Known<()> {
        use Mnemonic as M;

        let kind = instruction.mnemonic();
        let left = self.read(instruction, 0)?;
        let right = match kind {
            M::Inc | M::Dec => Some(1),
            M::Neg => left,
            _ => self.read(instruction, 1)?,
        };
        let left = if kind == M::Neg { Some(0) } else { left };
        let carry = self.flags.map(|flags| flags.carry);
        let result = if matches!(kind, M::Add | M::Inc) {
            self.flags_of_add(left, right, size);
            left.zip(right).map(|(left, right)| left.wrapping_add(right))
        } else {
            self.flags_of_subtract(left, right, size);
            left.zip(right).map(|(left, right)| left.wrapping_sub(right))
        };
        if matches!(kind, M::Inc | M::Dec) {
            // These leave it as it was.
            self.flags = self.flags.zip(carry).map(|(flags, carry)| Flags { carry, ..flags });
        }
        if kind == M::Cmp { Ok(()) } else { self.put(instruction, 0, result) }
    }

    fn logic(&mut self, instruction: &Instruction, size: usize) -> Known<()> {
        use Mnemonic as M;

        let kind = instruction.mnemonic();
        let left = self.read(instruction, 0)?;
        if kind == M::Not {
            return self.put(instruction, 0, left.map(|left| !left));
        }
        let right = self.read(instruction, 1)?;
        let is_same = instruction.op_kind(0) == OpKind::Register
            && instruction.op_kind(1) == OpKind::Register
            && instruction.op_register(0) == instruction.op_register(1);
        let both = left.zip(right);
        let result = match kind {
            M::Xor if is_same => Some(0),
            M::Xor => both.map(|(left, right)| left ^ right),
            M::Or => both.map(|(left, right)| left | right),
            _ => both.map(|(left, right)| left & right),
        };
        self.flag(result, size, false, false);
        if kind == M::Test { Ok(()) } else { self.put(instruction, 0, result) }
    }

    fn shift(&mut self, instruction: &Instruction, size: usize) -> Known<()> {
        let (left, by) = (self.read(instruction, 0)?, self.read(instruction, 1)?);
        let bits = if size == 8 { 63 } else { 31 };
        let result = left.zip(by).map(|(left, by)| {
            let by = (by & bits) as u32;
            match instruction.mnemonic() {
                Mnemonic::Shl => left.checked_shl(by).unwrap_or(0),
                Mnemonic::Shr => left.checked_shr(by).unwrap_or(0),
                _ => (extended(left, size) as i64 >> by.min(63)) as u64,
            }
        });
        // Its carry is not worked out.
        self.flags = None;
        self.put(instruction, 0, result)
    }

    fn multiply(&mut self, instruction: &Instruction, size: usize) -> Known<()> {
        let (left, right) = match instruction.op_count() {
            2 => (self.read(instruction, 0)?, self.read(instruction, 1)?),
            3 => (self.read(instruction, 1)?, self.read(instruction, 2)?),
            _ => return Err(Cleanup::Unclear),
        };
        self.flags = None;
        let product = left.zip(right).map(|(left, right)| left.wrapping_mul(right) & mask(size));
        self.put(instruction, 0, product)
    }

    fn compare_exchange(&mut self, instruction: &Instruction, size: usize) -> Known<()> {
        let (value, new) = (self.read(instruction, 0)?, self.read(instruction, 1)?);
        let expected = self.registers[RAX].get(size);
        let place = self.address(instruction).filter(|_| instruction.op_kind(0) == OpKind::Memory);
        if place.is_some_and(|place| self.touches(place, size)) {
            // What it is meant to do tells, also where another thread has changed the word: whoever
            // expects the lock to be held and puts less there releases it.
            return Err(match expected.zip(new) {
                Some((expected, new)) if new & mask(size) < expected => Cleanup::Releases,
                _ => Cleanup::Unclear,
            });
        }
        let (Some(value), Some(expected)) = (value, expected) else { return Err(Cleanup::Unclear) };
        self.flags_of_subtract(Some(expected), Some(value), size);
        if value == expected {
            return self.put(instruction, 0, new);
        }
        let place = match size {
            8 => Register::RAX,
            4 => Register::EAX,
            2 => Register::AX,
            _ => Register::AL,
        };
        self.assign(place, Some(value))
    }

    /// Moves of several words at once. Nothing is computed with them.
    fn vector(&mut self, instruction: &Instruction) -> Known<()> {
        use Mnemonic as M;

        let size = match instruction.mnemonic() {
            M::Movups | M::Movaps | M::Movupd | M::Movapd | M::Movdqu | M::Movdqa => 16,
            M::Movq | M::Movsd | M::Movlps => 8,
            M::Movd | M::Movss => 4,
            M::Xorps | M::Xorpd | M::Pxor
                if instruction.op_kind(1) == OpKind::Register
                    && instruction.op_register(0) == instruction.op_register(1) =>
            {
                return self.set_vector(instruction.op_register(0), Some(0));
            }
            _ => return Err(Cleanup::Unclear),
        };
        let value = match instruction.op_kind(1) {
            OpKind::Memory => {
                let address = self.address(instruction);
                address.and_then(|address| self.bytes(address, size))
            }
            OpKind::Register if instruction.op_register(1).is_xmm() => {
                let value = self.vectors.get(instruction.op_register(1).number()).copied().flatten();
                let bits = if size == 16 { u128::MAX } else { (1 << (size * 8)) - 1 };
                value.map(|value| value & bits)
            }
            _ => self.read(instruction, 1)?.map(u128::from),
        };
        match instruction.op_kind(0) {
            OpKind::Memory => {
                let address = self.address(instruction).ok_or(Cleanup::Unclear)?;
                if self.touches(address, size) {
                    return Err(Cleanup::Unclear);
                }
                self.write(address, size, value);
                Ok(())
            }
            _ if instruction.op_register(0).is_xmm() => {
                self.set_vector(instruction.op_register(0), value)
            }
            _ => self.put(instruction, 0, value.map(|value| value as u64)),
        }
    }

    fn set_vector(&mut self, register: Register, value: Option<u128>) -> Known<()> {
        let place = self.vectors.get_mut(register.number()).ok_or(Cleanup::Unclear)?;
        *place = value;
        Ok(())
    }
}
