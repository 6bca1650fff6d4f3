//! KVM's structures (Linux: arch/x86/include/uapi/asm/kvm.h), as far as they are used here; their fields have the kernel's
//! meaning. Re-exported by `kvm`.

/// `struct kvm_regs`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Regs {
    /// RAX RBX RCX RDX RSI RDI RSP RBP R8..R15.
    pub general: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
}

/// `struct kvm_segment`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Segment {
    pub base: u64,
    pub limit: u32,
    pub selector: u16,
    pub kind: u8,
    pub present: u8,
    pub dpl: u8,
    pub db: u8,
    pub s: u8,
    pub l: u8,
    pub g: u8,
    pub avl: u8,
    pub unusable: u8,
    pub padding: u8,
}

/// `struct kvm_dtable`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Table {
    pub base: u64,
    pub limit: u16,
    pub padding: [u16; 3],
}

/// `struct kvm_sregs`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Sregs {
    pub cs: Segment,
    pub ds: Segment,
    pub es: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub ss: Segment,
    pub tr: Segment,
    pub ldt: Segment,
    pub gdt: Table,
    pub idt: Table,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub cr8: u64,
    pub efer: u64,
    pub apic_base: u64,
    pub interrupts: [u64; 4],
}

/// `struct kvm_fpu`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Fpu {
    pub fpr: [u128; 8],
    pub fcw: u16,
    pub fsw: u16,
    pub ftwx: u8,
    pub pad: u8,
    pub last_opcode: u16,
    pub last_ip: u64,
    pub last_dp: u64,
    pub xmm: [[u64; 2]; 16],
    pub mxcsr: u32,
    pub pad2: u32,
}

/// `struct kvm_vcpu_events`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Events {
    pub exception_injected: u8,
    pub exception_nr: u8,
    pub exception_has_error_code: u8,
    pub exception_pending: u8,
    pub exception_error_code: u32,
    pub interrupt_injected: u8,
    pub interrupt_nr: u8,
    pub interrupt_soft: u8,
    pub interrupt_shadow: u8,
    pub nmi_injected: u8,
    pub nmi_pending: u8,
    pub nmi_masked: u8,
    pub nmi_pad: u8,
    pub sipi_vector: u32,
    pub flags: u32,
    pub rest: [u64; 5],
}

/// `struct kvm_enable_cap`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct EnableCap {
    pub cap: u32,
    pub flags: u32,
    pub args: [u64; 4],
    pub pad: [u64; 8],
}

/// `struct kvm_cpuid_entry2`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuidEntry {
    pub function: u32,
    pub index: u32,
    pub flags: u32,
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
    pub padding: [u32; 3],
}

/// Room in a [`CpuidTable`].
pub const CPUID_ROOM: usize = 256;

/// `struct kvm_cpuid2`.
#[repr(C)]
#[derive(Debug, Clone)]
pub struct CpuidTable {
    pub count: u32,
    pub padding: u32,
    pub entries: [CpuidEntry; CPUID_ROOM],
}

/// `struct kvm_msrs` of one entry.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct OneMsr {
    pub count: u32,
    pub pad: u32,
    pub index: u32,
    pub reserved: u32,
    pub data: u64,
}

const _: () = {
    assert!(size_of::<Regs>() == 0x90 && size_of::<Sregs>() == 0x138 && size_of::<Fpu>() == 0x1a0);
    assert!(size_of::<Events>() == 0x40 && size_of::<EnableCap>() == 0x68 && size_of::<CpuidEntry>() == 40);
};
