//! Bytes that QEMU reads as a file, and that are in no file system: kernel (exactly what was verified) and initramfs (with
//! the secret of this boot). Called by the engine.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};

/// Linux has pages of 4 KiB on x86-64 and of up to 64 KiB elsewhere.
const LARGEST_PAGE: u64 = 64 << 10;

/// Anonymous memory behind a descriptor.
pub struct Handover {
    file: File,
    size: u64,
}

impl Handover {
    /// Holds a copy of `data`.
    pub fn new(name: &str, data: &[u8]) -> io::Result<Self> {
        let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
        file.write_all(data)?;
        Ok(Self { file, size: data.len() as u64 })
    }

    /// A descriptor for the child to inherit.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.file.try_clone().map(OwnedFd::from)
    }

    /// Gives the memory back. Who still has the file open or mapped reads zeroes.
    pub fn scrub(&self) {
        // Whole pages, or the last one would only be zeroed.
        let pages = self.size.next_multiple_of(LARGEST_PAGE).max(LARGEST_PAGE);
        if let Err(error) = fallocate(&self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, pages) {
            tracing::warn!(%error, "could not free what was handed to QEMU");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn scrubbing_leaves_no_bytes_and_no_memory() {
        let handover = Handover::new("secret", &[0x5a; 10_000]).unwrap();
        let reader = File::from(handover.share().unwrap());
        let mut data = [0; 10_000];
        reader.read_exact_at(&mut data, 0).unwrap();
        assert!(data.iter().all(|&byte| byte == 0x5a));
        handover.scrub();
        reader.read_exact_at(&mut data, 0).unwrap();
        assert!(data.iter().all(|&byte| byte == 0));
        assert_eq!(reader.metadata().unwrap().blocks(), 0);
    }
}
