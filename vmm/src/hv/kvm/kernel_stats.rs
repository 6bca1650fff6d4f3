//! What the kernel itself counts per vCPU (KVM_GET_STATS_FD, Documentation/virt/kvm/api.rst §4.136): exits that never reach
//! this process, such as timer programming and CPUID. Optional: kernels before 5.14 do not tell. Read by `vm` for benches.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Error;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

use kvm_ioctls::VcpuFd;

/// `_IO(KVMIO, 0xce)`
const KVM_GET_STATS_FD: libc::c_ulong = 0xaece;
/// The counters that benches ask for.
const WANTED: [&str; 9] = [
    "exits",
    "io_exits",
    "mmio_exits",
    "halt_exits",
    "irq_exits",
    "signal_exits",
    "insn_emulation",
    "irq_injections",
    "pf_taken",
];
/// Bytes of `struct kvm_stats_header` and of `struct kvm_stats_desc` without its name.
const HEADER: usize = 24;
const DESCRIPTOR: usize = 16;
/// More than any kernel has; a limit for what is read into memory.
const MAX_DESCRIPTORS: u32 = 512;
const MAX_NAME: u32 = 256;

/// One vCPU's counters.
pub struct VcpuStats {
    file: File,
    /// Name and place in the file.
    counters: Vec<(&'static str, u64)>,
}

impl VcpuStats {
    /// The counters of `vcpu`, or `None` if this kernel does not tell.
    pub fn open(vcpu: &VcpuFd) -> Option<Self> {
        // SAFETY: the call takes no argument and returns a new file descriptor or -1.
        let fd = unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_GET_STATS_FD as _) };
        if fd < 0 {
            tracing::debug!(error = %Error::last_os_error(), "no kernel statistics");
            return None;
        }
        // SAFETY: `fd` was just opened for us alone.
        let file = unsafe { File::from_raw_fd(fd) };
        let counters = describe(&file)?;
        Some(Self { file, counters })
    }

    /// Adds the present values to `sums`.
    pub fn add_to(&self, sums: &mut BTreeMap<&'static str, u64>) {
        for &(name, offset) in &self.counters {
            let mut value = [0; 8];
            if self.file.read_exact_at(&mut value, offset).is_ok() {
                *sums.entry(name).or_default() += u64::from_ne_bytes(value);
            }
        }
    }
}

/// Finds the wanted counters in the file's own description of itself.
fn describe(file: &File) -> Option<Vec<(&'static str, u64)>> {
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).ok()?;
    let [_, name_size, count, _, descriptors, data] = words(&header)?;
    if count > MAX_DESCRIPTORS || name_size > MAX_NAME {
        return None;
    }
    let each = DESCRIPTOR + name_size as usize;
    let mut table = vec![0; each * count as usize];
    file.read_exact_at(&mut table, descriptors.into()).ok()?;
    let found = table.chunks_exact(each).filter_map(|descriptor| {
        let [_, _, offset, _] = words(descriptor)?;
        let text = descriptor[DESCRIPTOR..].split(|&byte| byte == 0).next()?;
        let name = WANTED.into_iter().find(|name| name.as_bytes() == text)?;
        Some((name, u64::from(data) + u64::from(offset)))
    });
    Some(found.collect())
}

/// The first `N` 32-bit fields.
fn words<const N: usize>(bytes: &[u8]) -> Option<[u32; N]> {
    let mut words = [0; N];
    for (word, field) in words.iter_mut().zip(0..) {
        *word = u32::from_ne_bytes(bytes.get(field * 4..field * 4 + 4)?.try_into().ok()?);
    }
    Some(words)
}
