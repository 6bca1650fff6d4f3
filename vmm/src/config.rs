//! What the daemon asks a machine to be. Plain data: checked for sense by the caller (user's words) and by
//! `machine` (what the layout can hold).

use std::fs::File;
use std::path::PathBuf;

use crate::virtio::fs::{Fs, NativeFs};
use crate::virtio::net::Net;

/// Which engine runs the guest's CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// Linux KVM, in this process.
    Kvm,
    /// Windows Hypervisor Platform, in this process.
    Whp,
    /// macOS Hypervisor.framework, in this process.
    Hvf,
    /// QEMU's TCG as CPU and RAM in a child process, our devices over vhost-user. Linux only.
    Software,
}

impl EngineKind {
    /// The engine's name on the command line and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Whp => "whp",
            Self::Hvf => "hvf",
            Self::Software => "software",
        }
    }
}

/// One raw disk image, shown to the guest as virtio-blk.
#[derive(Debug)]
pub struct DiskConfig {
    /// The open file; the caller has locked and checked it.
    pub file: File,
    /// Where it was opened from, for messages only.
    pub path: PathBuf,
    /// Offered with `VIRTIO_BLK_F_RO`; writes fail.
    pub read_only: bool,
    /// Up to 20 ASCII bytes, answered to `VIRTIO_BLK_T_GET_ID`; the agent finds its disks by it.
    pub serial: String,
}

/// Where the guest's console output goes.
#[derive(Debug, Clone)]
pub struct ConsoleSink {
    /// The log file; rotated once to `<path>.1` when it is full.
    pub path: PathBuf,
    /// Upper bound of both files together, in bytes.
    pub max_bytes: u64,
}

/// Everything that one machine is made of.
#[derive(Debug)]
pub struct MachineConfig {
    /// Who runs the CPUs.
    pub engine: EngineKind,
    /// Number of vCPUs, at least 1.
    pub cpus: u8,
    /// Guest RAM in bytes, a multiple of 2 MiB.
    pub memory_bytes: u64,
    /// The uncompressed kernel (ELF `vmlinux` on x86-64).
    pub kernel: Vec<u8>,
    /// A cpio archive (newc), small: agent and boot secret. Never written to a path that outlives the boot.
    pub initramfs: Vec<u8>,
    /// The kernel command line without what the engine appends for its own devices.
    pub cmdline: String,
    /// In order of appearance: vda, vdb, …
    pub disks: Vec<DiskConfig>,
    /// The network device, made together with the host's end of its link; without one the guest has no network.
    pub network: Option<Net>,
    /// The device by which the guest sees folders of the host; without one it sees none.
    pub folders: Option<Fs<NativeFs>>,
    /// Where console output goes.
    pub console: ConsoleSink,
    /// A directory (mode 0700) of this machine's own for sockets and short-lived files of the software engine.
    pub runtime_dir: PathBuf,
    /// Make KVM take the MMIO notify path that hypervisors without doorbells take.
    pub no_doorbell: bool,
}
