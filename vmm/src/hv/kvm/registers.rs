//! Puts a vCPU into its boot state: CPUID, model-specific registers, and for the first one the kernel's entry. Called by
//! `vcpu` and by the probe.

use kvm_bindings::{
    CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, Msrs, kvm_cpuid_entry2, kvm_fpu, kvm_msr_entry, kvm_segment,
};
use kvm_ioctls::VcpuFd;

use super::vm::failed;
use crate::arch::BootState;
use crate::arch::cpuid::{Leaf, Policy, guest_table};
use crate::arch::registers::Segment;
use crate::hv::HvError;

/// IA32_MISC_ENABLE: fast string operations.
const MISC_ENABLE: kvm_msr_entry = kvm_msr_entry { index: 0x1a0, data: 1, reserved: 0 };
/// IA32_MTRR_DEF_TYPE: on, write-back by default. Without it Linux takes all memory for uncached.
const MTRR_DEF_TYPE: kvm_msr_entry = kvm_msr_entry { index: 0x2ff, data: 1 << 11 | 6, reserved: 0 };

/// What KVM offers to a guest (Linux Documentation/virt/kvm/x86/cpuid.rst).
const FEATURES: u32 = 0x4000_0001;
/// `KVM_FEATURE_ASYNC_PF`, `…_VMEXIT` and `…_INT` in EAX.
const ASYNC_FAULTS: u32 = 1 << 4 | 1 << 10 | 1 << 14;

/// Whether KVM may let the guest do something else while it fetches memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetching {
    /// It may, as far as it can.
    Async,
    /// It may not: of memory that cannot be fetched at all, as in a window onto files, it tells only whoever waits for it. A guest
    /// that does not wait would ask again and again.
    Sync,
}

/// Installs the guest's CPUID.
pub fn set_cpuid(fd: &VcpuFd, host: &CpuId, policy: Policy, fetching: Fetching) -> Result<(), HvError> {
    let host: Vec<Leaf> = host.as_slice().iter().map(leaf).collect();
    let mut entries: Vec<kvm_cpuid_entry2> = guest_table(&host, policy).iter().map(entry).collect();
    if fetching == Fetching::Sync {
        let features = entries.iter_mut().filter(|entry| entry.function == FEATURES);
        features.for_each(|features| features.eax &= !ASYNC_FAULTS);
    }
    let table = CpuId::from_entries(&entries)
        .map_err(|_| HvError { call: "KVM_SET_CPUID2", source: std::io::Error::from_raw_os_error(libc::E2BIG) })?;
    fd.set_cpuid2(&table).map_err(failed("KVM_SET_CPUID2"))
}

fn leaf(entry: &kvm_cpuid_entry2) -> Leaf {
    let &kvm_cpuid_entry2 { function, index, flags, eax, ebx, ecx, edx, .. } = entry;
    Leaf { function, index, indexed: flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX != 0, eax, ebx, ecx, edx }
}

fn entry(leaf: &Leaf) -> kvm_cpuid_entry2 {
    let &Leaf { function, index, indexed, eax, ebx, ecx, edx } = leaf;
    let flags = if indexed { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } else { 0 };
    kvm_cpuid_entry2 { function, index, flags, eax, ebx, ecx, edx, ..Default::default() }
}

/// What firmware would have left in the model-specific registers and the FPU.
pub fn set_defaults(fd: &VcpuFd) -> Result<(), HvError> {
    let msrs = Msrs::from_entries(&[MISC_ENABLE, MTRR_DEF_TYPE]).expect("two entries are far below the limit");
    let written = fd.set_msrs(&msrs).map_err(failed("KVM_SET_MSRS"))?;
    if written != msrs.as_slice().len() {
        tracing::warn!(written, "KVM does not take all boot MSRs");
    }
    let fpu = kvm_fpu { fcw: 0x37f, mxcsr: 0x1f80, ..Default::default() };
    fd.set_fpu(&fpu).map_err(failed("KVM_SET_FPU"))
}

/// The first vCPU's registers.
pub fn set_boot_state(fd: &VcpuFd, boot: &BootState) -> Result<(), HvError> {
    let mut special = fd.get_sregs().map_err(failed("KVM_GET_SREGS"))?;
    special.cs = segment(boot.code);
    let data = segment(boot.data);
    (special.ds, special.es, special.fs, special.gs, special.ss) = (data, data, data, data, data);
    (special.gdt.base, special.gdt.limit) = boot.gdt;
    (special.idt.base, special.idt.limit) = boot.idt;
    special.cr0 = BootState::CR0;
    special.cr3 = boot.cr3;
    special.cr4 = BootState::CR4;
    special.efer = BootState::EFER;
    fd.set_sregs(&special).map_err(failed("KVM_SET_SREGS"))?;
    let mut general = fd.get_regs().map_err(failed("KVM_GET_REGS"))?;
    (general.rip, general.rsp, general.rsi, general.rflags) = (boot.rip, boot.rsp, boot.rsi, BootState::RFLAGS);
    fd.set_regs(&general).map_err(failed("KVM_SET_REGS"))
}

fn segment(segment: Segment) -> kvm_segment {
    kvm_segment {
        selector: segment.selector,
        limit: u32::MAX,
        type_: segment.kind,
        present: 1,
        s: 1,
        g: 1,
        l: segment.long.into(),
        db: (!segment.long).into(),
        ..Default::default()
    }
}
