//! A file as memory. Others may change it at any time, so it is copied from and to, and never referred to.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};

/// The first bytes of a file, for all to see.
pub struct Mapping {
    start: *mut u8,
    len: usize,
}

impl Mapping {
    /// Maps `len` bytes for reading and writing.
    ///
    /// # Errors
    /// As `mmap`.
    pub fn new(file: &File, len: usize) -> io::Result<Self> {
        // SAFETY: where it lies is the kernel's choice, so nothing that exists is replaced.
        let start =
            unsafe { mmap(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, file, 0)? };
        Ok(Self { start: start.cast(), len })
    }

    /// Copies `len` bytes from `at` on; `None` beyond the mapping. What lies in no page of the file ends the process by a signal.
    pub fn read(&self, at: usize, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        at.checked_add(len).filter(|&end| end <= self.len)?;
        // SAFETY: within what is mapped, which no reference leads to.
        unsafe { std::ptr::copy_nonoverlapping(self.start.add(at), bytes.as_mut_ptr(), len) };
        Some(bytes)
    }

    /// Copies `bytes` to `at`; see [`read`](Self::read).
    pub fn write(&self, at: usize, bytes: &[u8]) -> Option<()> {
        at.checked_add(bytes.len()).filter(|&end| end <= self.len)?;
        // SAFETY: as in `read`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(at), bytes.len()) };
        Some(())
    }

    /// Returns when what was written is in the file.
    ///
    /// # Errors
    /// As `msync`.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: the range is mapped.
        unsafe { msync(self.start.cast(), self.len, MsyncFlags::SYNC) }.map_err(io::Error::from)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped here, and nobody has a reference into it. There is nobody to tell of an error.
        let _ = unsafe { munmap(self.start.cast(), self.len) };
    }
}
