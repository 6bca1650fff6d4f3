//! Puts a virtual processor's registers into the state in which it begins: the kernel's entry for the first, the start page for
//! the others. Called by `vcpu`.

use windows_sys::Win32::System::Hypervisor::*;

use super::partition::{Partition, Value};
use crate::arch::BootState;
use crate::arch::registers::Segment;
use crate::hv::HvError;

/// IA32_MTRR_DEF_TYPE: on, write-back by default. Without it Linux takes all memory for uncached.
const MTRR_DEF_TYPE: u64 = 1 << 11 | 6;
/// CR0: the bit that is always set (SDM vol. 3 §2.5), which the platform wants to see.
const CR0_ET: u64 = 1 << 4;
/// Segments as INIT leaves them (SDM vol. 3, table 10-1): present, accessed, 64 KiB.
const REAL_CODE: u16 = 0x9b;
const REAL_DATA: u16 = 0x93;
const REAL_LDT: u16 = 0x82;
const REAL_TASK: u16 = 0x8b;
const DATA_SEGMENTS: [WHV_REGISTER_NAME; 5] =
    [WHvX64RegisterDs, WHvX64RegisterEs, WHvX64RegisterFs, WHvX64RegisterGs, WHvX64RegisterSs];

/// Registers to be set in one call.
#[derive(Default)]
struct Settings {
    names: Vec<WHV_REGISTER_NAME>,
    values: Vec<Value>,
}

impl Settings {
    fn set(&mut self, name: WHV_REGISTER_NAME, value: WHV_REGISTER_VALUE) {
        self.names.push(name);
        self.values.push(Value(value));
    }

    fn number(&mut self, name: WHV_REGISTER_NAME, value: u64) {
        self.set(name, number(value).0);
    }

    fn segment(&mut self, name: WHV_REGISTER_NAME, selector: u16, base: u64, limit: u32, attributes: u16) {
        let attributes = WHV_X64_SEGMENT_REGISTER_0 { Attributes: attributes };
        let segment = WHV_X64_SEGMENT_REGISTER { Base: base, Limit: limit, Selector: selector, Anonymous: attributes };
        self.set(name, WHV_REGISTER_VALUE { Segment: segment });
    }

    fn table(&mut self, name: WHV_REGISTER_NAME, (base, limit): (u64, u16)) {
        let table = WHV_X64_TABLE_REGISTER { Pad: [0; 3], Limit: limit, Base: base };
        self.set(name, WHV_REGISTER_VALUE { Table: table });
    }

    fn apply(&self, partition: &Partition, index: u8) -> Result<(), HvError> {
        partition.put(index, &self.names, &self.values)
    }
}

/// A register that is a number.
pub fn number(value: u64) -> Value {
    // All 128 bits, so that none of them is what was there before.
    let words = WHV_UINT128_0 { Low64: value, High64: 0 };
    Value(WHV_REGISTER_VALUE { Reg128: WHV_UINT128 { Anonymous: words } })
}

/// What firmware would have left in the model-specific registers. An old Windows may not take them.
pub fn set_defaults(partition: &Partition, index: u8) {
    let result = partition.put(index, &[WHvX64RegisterMsrMtrrDefType], &[number(MTRR_DEF_TYPE)]);
    if let Err(error) = result {
        tracing::debug!(%error, index, "the platform does not take the memory types");
    }
}

/// The first processor's registers.
pub fn set_boot_state(partition: &Partition, boot: &BootState) -> Result<(), HvError> {
    let mut settings = Settings::default();
    for (name, value) in [
        (WHvX64RegisterCr0, BootState::CR0 | CR0_ET),
        (WHvX64RegisterCr3, boot.cr3),
        (WHvX64RegisterCr4, BootState::CR4),
        (WHvX64RegisterEfer, BootState::EFER),
        (WHvX64RegisterRip, boot.rip),
        (WHvX64RegisterRsp, boot.rsp),
        (WHvX64RegisterRsi, boot.rsi),
        (WHvX64RegisterRflags, BootState::RFLAGS),
    ] {
        settings.number(name, value);
    }
    settings.segment(WHvX64RegisterCs, boot.code.selector, 0, u32::MAX, attributes(boot.code));
    for name in DATA_SEGMENTS {
        settings.segment(name, boot.data.selector, 0, u32::MAX, attributes(boot.data));
    }
    settings.table(WHvX64RegisterGdtr, boot.gdt);
    settings.table(WHvX64RegisterIdtr, boot.idt);
    settings.apply(partition, 0)
}

/// The descriptor's attributes (SDM vol. 3 §3.4.5): present, of code or data, in pages.
fn attributes(segment: Segment) -> u16 {
    let (long, default_32) = (u16::from(segment.long), u16::from(!segment.long));
    u16::from(segment.kind) | 1 << 4 | 1 << 7 | long << 13 | default_32 << 14 | 1 << 15
}

/// The registers of a processor that is told to start at `page` in real mode: as INIT leaves them, whatever was there before.
pub fn start(partition: &Partition, index: u8, page: u8) -> Result<(), HvError> {
    let mut settings = Settings::default();
    for name in WHvX64RegisterRax..=WHvX64RegisterR15 {
        settings.number(name, 0);
    }
    for (name, value) in [
        (WHvX64RegisterRip, 0),
        (WHvX64RegisterRflags, BootState::RFLAGS),
        // INIT leaves the caches as they are; they are on.
        (WHvX64RegisterCr0, CR0_ET),
        (WHvX64RegisterCr2, 0),
        (WHvX64RegisterCr3, 0),
        (WHvX64RegisterCr4, 0),
        (WHvX64RegisterEfer, 0),
        // Neither asleep nor waiting for a start, in the hypervisor's view: it would never fetch an instruction.
        (WHvRegisterInternalActivityState, 0),
        (WHvRegisterPendingInterruption, 0),
        (WHvRegisterInterruptState, 0),
    ] {
        settings.number(name, value);
    }
    settings.segment(WHvX64RegisterCs, u16::from(page) << 8, u64::from(page) << 12, 0xffff, REAL_CODE);
    for name in DATA_SEGMENTS {
        settings.segment(name, 0, 0, 0xffff, REAL_DATA);
    }
    settings.segment(WHvX64RegisterLdtr, 0, 0, 0xffff, REAL_LDT);
    settings.segment(WHvX64RegisterTr, 0, 0, 0xffff, REAL_TASK);
    settings.table(WHvX64RegisterGdtr, (0, 0xffff));
    settings.table(WHvX64RegisterIdtr, (0, 0xffff));
    settings.apply(partition, index)
}

/// The registers, for a report that ends the machine.
pub fn dump(partition: &Partition, index: u8, what: &str) -> String {
    const NAMES: [&str; 10] = ["rip", "rsp", "rflags", "rax", "rcx", "cr0", "cr2", "cr3", "cr4", "efer"];
    let values = partition.get(
        index,
        [
            WHvX64RegisterRip,
            WHvX64RegisterRsp,
            WHvX64RegisterRflags,
            WHvX64RegisterRax,
            WHvX64RegisterRcx,
            WHvX64RegisterCr0,
            WHvX64RegisterCr2,
            WHvX64RegisterCr3,
            WHvX64RegisterCr4,
            WHvX64RegisterEfer,
        ],
    );
    match values {
        Ok(values) => {
            let registers = NAMES.iter().zip(values).map(|(name, value)| format!(" {name} {:#x}", low(value)));
            format!("{what} on vCPU {index}:{}", registers.collect::<String>())
        }
        Err(error) => format!("{what} on vCPU {index}, whose registers cannot be read: {error} ({})", error.source),
    }
}

/// The number in a register.
pub fn low(value: Value) -> u64 {
    // SAFETY: any bytes are a number, and all of them are initialised: by `Default` and by the platform.
    unsafe { value.0.Reg64 }
}
