//! One partition with 2 MiB of memory and long-mode page tables, and its processors. Used by the scenes in `main`.

use std::ffi::c_void;
use std::sync::Arc;

use windows_sys::Win32::System::Hypervisor::*;
use windows_sys::Win32::System::Memory::{MEM_COMMIT, MEM_RESERVE, PAGE_READWRITE, VirtualAlloc};

use crate::sys::Api;

/// Bytes of memory from guest address 0.
pub const MEMORY: usize = 2 << 20;
/// Where the first processor's code is.
pub const CODE: u64 = 0x1000;
const TABLES: u64 = 0x9000;

/// The partition.
pub struct Machine {
    /// The platform.
    pub api: Arc<Api>,
    /// Its handle.
    pub handle: isize,
    memory: *mut u8,
}

// SAFETY: the pointer is to memory that is never freed and that scenes write before a processor runs.
unsafe impl Send for Machine {}
// SAFETY: as above.
unsafe impl Sync for Machine {}

/// Insists on success.
pub fn ok(what: &str, result: i32) {
    assert!(result >= 0, "{what}: {result:#x}");
}

impl Machine {
    /// Makes it with so many processors, local APICs or none, and extended exits.
    pub fn new(api: &Arc<Api>, processors: u32, apic: bool, exits: u64) -> Self {
        let mut handle = 0;
        // SAFETY: the arguments are as the pages say, here and below.
        ok("create", unsafe { (api.create)(&mut handle) });
        let mode = if apic { WHvX64LocalApicEmulationModeXApic } else { WHvX64LocalApicEmulationModeNone };
        let unhandled = exits >> 1 & 1;
        for (code, value) in [
            (WHvPartitionPropertyCodeProcessorCount, u64::from(processors)),
            (WHvPartitionPropertyCodeLocalApicEmulationMode, mode as u64),
            (WHvPartitionPropertyCodeExtendedVmExits, exits),
            (WHvPartitionPropertyCodeX64MsrExitBitmap, unhandled),
        ] {
            // SAFETY: eight bytes, of which the platform takes as many as the property has.
            ok("property", unsafe { (api.set_property)(handle, code, (&raw const value).cast(), 8) });
        }
        // SAFETY: as above.
        ok("set up", unsafe { (api.set_up)(handle) });
        // SAFETY: new memory.
        let memory = unsafe { VirtualAlloc(std::ptr::null(), MEMORY, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE) };
        let access = WHvMapGpaRangeFlagRead | WHvMapGpaRangeFlagWrite | WHvMapGpaRangeFlagExecute;
        // SAFETY: as above.
        ok("map", unsafe { (api.map)(handle, memory, 0, MEMORY as u64, access) });
        let machine = Self { api: api.clone(), handle, memory: memory.cast() };
        machine.write_tables();
        machine
    }

    /// The first 4 GiB, each to itself, in pages of 2 MiB.
    fn write_tables(&self) {
        let (second, first) = (TABLES + 0x1000, TABLES + 0x2000);
        self.write(TABLES, &(second | 3).to_le_bytes());
        for page in 0..2048u64 {
            self.write(first + page * 8, &(page << 21 | 0x83).to_le_bytes());
        }
        (0..4).for_each(|entry| self.write(second + entry * 8, &((first + entry * 0x1000) | 3).to_le_bytes()));
    }

    /// Writes guest memory.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        assert!(address as usize + bytes.len() <= MEMORY);
        // SAFETY: in bounds.
        unsafe { self.memory.add(address as usize).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Makes a processor.
    pub fn create_vp(&self, index: u32) {
        // SAFETY: as the page says.
        ok("create processor", unsafe { (self.api.create_vp)(self.handle, index, 0) });
    }

    /// Makes a processor that begins at `rip` in long mode.
    pub fn create_long_mode_vp(&self, index: u32, rip: u64) {
        self.create_vp(index);
        let segment = |selector, attributes| WHV_REGISTER_VALUE {
            Segment: WHV_X64_SEGMENT_REGISTER {
                Base: 0,
                Limit: 0xf_ffff,
                Selector: selector,
                Anonymous: WHV_X64_SEGMENT_REGISTER_0 { Attributes: attributes },
            },
        };
        let number = |value| WHV_REGISTER_VALUE { Reg64: value };
        let data = segment(16, 0xc093);
        self.set(
            index,
            &[
                (WHvX64RegisterRip, number(rip)),
                (WHvX64RegisterRflags, number(2)),
                (WHvX64RegisterRsp, number(0x8000 - 0x1000 * u64::from(index))),
                (WHvX64RegisterCr3, number(TABLES)),
                (WHvX64RegisterCr4, number(0x20)),
                (WHvX64RegisterCr0, number(0x8000_0011)),
                (WHvX64RegisterEfer, number(0x500)),
                (WHvX64RegisterCs, segment(8, 0xa09b)),
                (WHvX64RegisterDs, data),
                (WHvX64RegisterEs, data),
                (WHvX64RegisterSs, data),
            ],
        );
    }

    /// Writes registers.
    pub fn set(&self, index: u32, registers: &[(i32, WHV_REGISTER_VALUE)]) {
        let (names, values): (Vec<_>, Vec<_>) = registers.iter().copied().unzip();
        // SAFETY: as the page says.
        let result = unsafe { (self.api.set)(self.handle, index, names.as_ptr(), names.len() as u32, values.as_ptr()) };
        ok("set registers", result);
    }

    /// Reads one register.
    pub fn get(&self, index: u32, name: i32) -> u64 {
        let mut value = WHV_REGISTER_VALUE { Reg64: 0 };
        // SAFETY: as the page says.
        ok("get register", unsafe { (self.api.get)(self.handle, index, &name, 1, &mut value) });
        // SAFETY: any bits are a number.
        unsafe { value.Reg64 }
    }

    /// Runs a processor to its next exit.
    pub fn run(&self, index: u32) -> WHV_RUN_VP_EXIT_CONTEXT {
        // SAFETY: all of it is plain numbers.
        let mut exit: WHV_RUN_VP_EXIT_CONTEXT = unsafe { std::mem::zeroed() };
        let place = (&raw mut exit).cast::<c_void>();
        // SAFETY: as the page says.
        ok("run", unsafe { (self.api.run)(self.handle, index, place, size_of_val(&exit) as u32) });
        exit
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: no processor runs any more.
        ok("delete", unsafe { (self.api.delete)(self.handle) });
    }
}
