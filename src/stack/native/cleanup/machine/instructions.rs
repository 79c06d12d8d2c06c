//! What each instruction does.

use iced_x86::{ConditionCode, Instruction, Mnemonic, OpKind, Register};

use super::register::{Value, extended, is_negative, mask};
use super::{Cleanup, Flags, Known, Machine, RAX, RBP, RSP};

impl Machine<'_> {
    pub(super) fn condition(&self, code: ConditionCode) -> Known<bool> {
        let Flags { zero, sign, carry, overflow } = self.flags.ok_or(Cleanup::Unclear)?;
        let carry = || carry.ok_or(Cleanup::Unclear);
        Ok(match code {
            ConditionCode::e => zero,
            ConditionCode::ne => !zero,
            ConditionCode::b => carry()?,
            ConditionCode::ae => !carry()?,
            ConditionCode::be => zero || carry()?,
            ConditionCode::a => !zero && !carry()?,
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
            carry: Some(carry),
            overflow,
        });
    }

    pub(super) fn plain(&mut self, instruction: &Instruction) -> Known<()> {
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
            M::Add | M::Sub | M::Cmp | M::Inc | M::Dec | M::Neg => {
                self.arithmetic(instruction, size)
            }
            M::And | M::Or | M::Xor | M::Test | M::Not => self.logic(instruction, size),
            M::Shl | M::Shr | M::Sar => self.shift(instruction, size),
            M::Imul => self.multiply(instruction, size),
            M::Bt => {
                let (value, bit) = (self.read(instruction, 0)?, self.read(instruction, 1)?);
                let carry =
                    value.zip(bit).map(|(value, bit)| value >> (bit % (size as u64 * 8)) & 1 == 1);
                self.flag_of_bit(carry);
                Ok(())
            }
            M::Bts | M::Btr => {
                let (value, bit) = (self.read(instruction, 0)?, self.read(instruction, 1)?);
                let Some((value, bit)) = value.zip(bit).filter(|(_, bit)| *bit < size as u64 * 8)
                else {
                    return Err(Cleanup::Unclear);
                };
                self.flag_of_bit(Some(value >> bit & 1 == 1));
                let is_set = instruction.mnemonic() == M::Bts;
                let value = if is_set { value | 1 << bit } else { value & !(1 << bit) };
                self.put(instruction, 0, Some(value))
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

    /// After a look at a bit. The compiler asks for nothing but the carry then.
    fn flag_of_bit(&mut self, carry: Option<bool>) {
        let flags = |carry| Flags { zero: false, sign: false, carry: Some(carry), overflow: false };
        self.flags = carry.map(flags);
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
        let carry = self.flags.and_then(|flags| flags.carry);
        let result = if matches!(kind, M::Add | M::Inc) {
            self.flags_of_add(left, right, size);
            left.zip(right).map(|(left, right)| left.wrapping_add(right))
        } else {
            self.flags_of_subtract(left, right, size);
            left.zip(right).map(|(left, right)| left.wrapping_sub(right))
        };
        if matches!(kind, M::Inc | M::Dec) {
            // These leave it as it was.
            self.flags = self.flags.map(|flags| Flags { carry, ..flags });
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
                let value =
                    self.vectors.get(instruction.op_register(1).number()).copied().flatten();
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
