//! KVM's requests (Linux: Documentation/virt/kvm/api.rst) as far as they are used here, and the shared page of a vCPU. Used by `partition`, `vp` and `registers`.

mod layout;

use crate::linux::{Errno, Fd, Mapping};
pub use layout::{CPUID_ROOM, CpuidEntry, CpuidTable, Events, Fpu, Regs, Segment, Sregs, Table};
use layout::{EnableCap, OneMsr};

/// Requests.
pub mod ask {
    pub const CREATE_VM: u32 = 0xae01;
    pub const GET_VCPU_MMAP_SIZE: u32 = 0xae04;
    pub const GET_SUPPORTED_CPUID: u32 = 0xc008_ae05;
    pub const CREATE_VCPU: u32 = 0xae41;
    pub const SET_USER_MEMORY_REGION: u32 = 0x4020_ae46;
    pub const SET_TSS_ADDR: u32 = 0xae47;
    pub const SET_GSI_ROUTING: u32 = 0x4008_ae6a;
    pub const RUN: u32 = 0xae80;
    pub const GET_REGS: u32 = 0x8090_ae81;
    pub const SET_REGS: u32 = 0x4090_ae82;
    pub const GET_SREGS: u32 = 0x8138_ae83;
    pub const SET_SREGS: u32 = 0x4138_ae84;
    pub const TRANSLATE: u32 = 0xc018_ae85;
    pub const GET_MSRS: u32 = 0xc008_ae88;
    pub const SET_MSRS: u32 = 0x4008_ae89;
    pub const GET_FPU: u32 = 0x81a0_ae8c;
    pub const SET_FPU: u32 = 0x41a0_ae8d;
    pub const GET_LAPIC: u32 = 0x8400_ae8e;
    pub const SET_LAPIC: u32 = 0x4400_ae8f;
    pub const SET_CPUID2: u32 = 0x4008_ae90;
    pub const GET_MP_STATE: u32 = 0x8004_ae98;
    pub const SET_MP_STATE: u32 = 0x4004_ae99;
    pub const GET_VCPU_EVENTS: u32 = 0x8040_ae9f;
    pub const SET_VCPU_EVENTS: u32 = 0x4040_aea0;
    pub const GET_DEBUGREGS: u32 = 0x8080_aea1;
    pub const SET_DEBUGREGS: u32 = 0x4080_aea2;
    pub const ENABLE_CAP: u32 = 0x4068_aea3;
    pub const GET_TSC_KHZ: u32 = 0xaea3;
    pub const SIGNAL_MSI: u32 = 0x4020_aea5;
    pub const GET_XCRS: u32 = 0x8188_aea6;
    pub const SET_XCRS: u32 = 0x4188_aea7;
}

/// `KVM_CAP_SPLIT_IRQCHIP`: local APICs in the kernel, the IOAPIC in user space.
pub const CAP_SPLIT_IRQCHIP: u32 = 121;
/// `KVM_CAP_X2APIC_API`.
pub const CAP_X2APIC_API: u32 = 129;
/// `KVM_CAP_X86_USER_SPACE_MSR`.
pub const CAP_USER_SPACE_MSR: u32 = 188;

/// Opens `/dev/kvm`.
pub fn open() -> Result<Fd, Errno> {
    Fd::open(c"/dev/kvm")
}

/// `KVM_ENABLE_CAP` of a machine.
pub fn enable(vm: &Fd, cap: u32, argument: u64) -> Result<(), Errno> {
    let mut wish = EnableCap { cap, flags: 0, args: [argument, 0, 0, 0], pad: [0; 8] };
    // SAFETY: the structure is the request's.
    unsafe { vm.exchange(ask::ENABLE_CAP, &mut wish) }.map(drop)
}

/// Reads a model-specific register; `None`: this vCPU has none of this number.
pub fn read_msr(vcpu: &Fd, index: u32) -> Result<Option<u64>, Errno> {
    let mut one = OneMsr { count: 1, index, ..OneMsr::default() };
    // SAFETY: the structure is the request's, with one entry.
    let done = unsafe { vcpu.exchange(ask::GET_MSRS, &mut one) }?;
    Ok((done == 1).then_some(one.data))
}

/// Writes a model-specific register; false: this vCPU does not take it.
pub fn write_msr(vcpu: &Fd, index: u32, data: u64) -> Result<bool, Errno> {
    let mut one = OneMsr { count: 1, index, data, ..OneMsr::default() };
    // SAFETY: the structure is the request's, with one entry.
    Ok(unsafe { vcpu.exchange(ask::SET_MSRS, &mut one) }? == 1)
}

/// Reads one of a vCPU's structures.
///
/// # Safety
/// `T` must be the request's structure.
pub unsafe fn get<T: Default>(vcpu: &Fd, request: u32) -> Result<T, Errno> {
    let mut value = T::default();
    // SAFETY: the caller vouches for it.
    unsafe { vcpu.exchange(request, &mut value) }?;
    Ok(value)
}

/// The page that KVM and a vCPU's thread share: `struct kvm_run`.
#[derive(Debug)]
pub struct RunPage(pub Mapping);

impl RunPage {
    /// Reads a plain value at an offset.
    pub fn read<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: in bounds; only the thread that runs the vCPU reads, and T is plain bytes of KVM's own layout.
        unsafe { self.0.at(offset, size_of::<T>()).cast::<T>().read_unaligned() }
    }

    /// Writes bytes at an offset.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let target = self.0.at(offset, bytes.len());
        // SAFETY: in bounds; only the thread that runs the vCPU writes here.
        unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Makes the next `KVM_RUN` come back at once after it has finished a pending access, or takes that back.
    pub fn set_immediate_exit(&self, on: bool) {
        // SAFETY: one byte, which any thread may set at any time.
        unsafe { self.0.at(1, 1).write_volatile(on.into()) };
    }
}
