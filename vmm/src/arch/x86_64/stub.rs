//! Guests of a few instructions in 64-bit mode, for tests of backends on what they run on. They need no kernel, so they run in
//! milliseconds, also where a hypervisor only interprets.

use std::sync::{Arc, Mutex};

use vm_memory::{Bytes, GuestAddress};

use super::registers::{BootState, long_mode};
use crate::hv::{Hypervisor, IoBus};
use crate::memory::{self, GuestMemory};

/// Where the instructions lie.
pub(crate) const CODE: u64 = 0x10_0000;
/// A device address inside the first GiB, which the boot page tables map, and outside RAM.
pub(crate) const DEVICE: u64 = 0x1000_0000;
/// `mov rdi, DEVICE`
pub(crate) const DEVICE_TO_RDI: [u8; 7] = [0x48, 0xc7, 0xc7, 0, 0, 0, 0x10];
/// `mov rax, [1 GiB]`: a page fault beyond the boot page tables, with an empty IDT a triple fault.
pub(crate) const TRIPLE_FAULT: [u8; 8] = [0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0x40];
/// `jmp .`
pub(crate) const SPIN: [u8; 2] = [0xeb, 0xfe];

/// A machine whose vCPUs are not made yet.
pub(crate) struct Rig<V> {
    pub vm: Arc<V>,
    pub boot: BootState,
    pub memory: GuestMemory,
}

impl<V> Rig<V> {
    /// One of 2 MiB with `code` at its entry.
    pub fn new<H: Hypervisor<Vm = V>>(hypervisor: &H, cpus: u8, code: &[&[u8]]) -> Self {
        let memory = memory::anonymous(&[(0, 2 << 20)]).expect("2 MiB");
        memory.write_slice(&code.concat(), GuestAddress(CODE)).expect("in RAM");
        let boot = long_mode(&memory, CODE).expect("2 MiB hold the tables");
        let vm = Arc::new(hypervisor.create_vm(Arc::clone(&memory), cpus).expect("a machine can be made"));
        Self { vm, boot, memory }
    }
}

/// What a guest did to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Access {
    MmioRead(u64, usize),
    MmioWrite(u64, Vec<u8>),
    PioRead(u16, usize),
    PioWrite(u16, Vec<u8>),
}

/// Writes every access down and answers reads with 0x5a.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<Access>>);

impl Recorder {
    fn note(&self, access: Access) {
        self.0.lock().expect("no test panics inside").push(access);
    }

    /// What was written down since the last time.
    pub fn taken(&self) -> Vec<Access> {
        std::mem::take(&mut *self.0.lock().expect("no test panics inside"))
    }
}

impl IoBus for Recorder {
    fn mmio_read(&self, address: u64, data: &mut [u8]) {
        self.note(Access::MmioRead(address, data.len()));
        data.fill(0x5a);
    }

    fn mmio_write(&self, address: u64, data: &[u8]) {
        self.note(Access::MmioWrite(address, data.to_vec()));
    }

    fn pio_read(&self, port: u16, data: &mut [u8]) {
        self.note(Access::PioRead(port, data.len()));
        data.fill(0x5a);
    }

    fn pio_write(&self, port: u16, data: &[u8]) {
        self.note(Access::PioWrite(port, data.to_vec()));
    }
}
