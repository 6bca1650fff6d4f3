//! What booting needs and how it can fail, in the same words for every instruction set. Filled in by `crate::boot`, read
//! by `arch::*::prepare`.

/// What is put into guest memory before the first instruction.
#[derive(Debug, Clone, Copy)]
pub struct BootPlan<'a> {
    /// Number of vCPUs.
    pub cpus: u8,
    /// The uncompressed kernel.
    pub kernel: &'a [u8],
    /// The initial file system; empty for none.
    pub initramfs: &'a [u8],
    /// The caller's command line.
    pub cmdline: &'a str,
    /// How many virtio-mmio slots are taken, from slot 0 on.
    pub devices: usize,
}

/// Where a virtio-mmio device lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Guest address of its registers.
    pub address: u64,
    /// Bytes of its register window.
    pub size: u64,
    /// Its interrupt line.
    pub irq: u8,
}

/// The guest's memory could not be laid out as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// The kernel image is not one that this machine can start.
    #[error("The kernel cannot be booted: {0}")]
    Kernel(&'static str),
    /// The initial file system does not fit beside the kernel.
    #[error("The initial file system ({bytes} bytes) does not fit into the guest's memory beside the kernel")]
    Initramfs {
        /// Its size.
        bytes: usize,
    },
    /// The command line is too long or holds characters that a kernel does not take.
    #[error("The kernel command line cannot be used: {0}")]
    Cmdline(&'static str),
    /// More devices than the layout has slots for.
    #[error("{wanted} devices do not fit: the layout has {slots} slots")]
    Devices {
        /// How many were asked for.
        wanted: usize,
        /// How many there are.
        slots: usize,
    },
    /// Boot structures do not fit into the RAM that there is.
    #[error("The boot structures do not fit into the guest's memory")]
    Memory,
    /// No boot code for this instruction set yet.
    #[error("This build cannot boot a guest on this kind of CPU")]
    Architecture,
}
