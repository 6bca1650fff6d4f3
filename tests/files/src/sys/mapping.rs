//! Files as memory. What is mapped may change at any time, so it is copied from and to, and never referred to.
#![allow(unsafe_code)]

use std::os::fd::OwnedFd;

use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};

/// The first bytes of a file, mapped.
pub struct Mapping {
    start: *mut u8,
    len: usize,
}

impl Mapping {
    /// Maps `len` bytes for reading and writing, for all to see.
    pub fn shared(file: &OwnedFd, len: usize) -> rustix::io::Result<Self> {
        Self::new(file, len, MapFlags::SHARED)
    }

    /// Maps `len` bytes for reading and writing, in a copy of our own.
    pub fn private(file: &OwnedFd, len: usize) -> rustix::io::Result<Self> {
        Self::new(file, len, MapFlags::PRIVATE)
    }

    fn new(file: &OwnedFd, len: usize, how: MapFlags) -> rustix::io::Result<Self> {
        // SAFETY: where it lies is the kernel's choice, so nothing that exists is replaced.
        let start = unsafe { mmap(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, how, file, 0)? };
        Ok(Self { start: start.cast(), len })
    }

    /// Copies `into.len()` bytes from `at` on. What lies in no page of the file ends the process by a signal.
    pub fn read(&self, at: usize, into: &mut [u8]) {
        assert!(at + into.len() <= self.len, "beyond the mapping");
        // SAFETY: within what is mapped, which no reference leads to.
        unsafe { std::ptr::copy_nonoverlapping(self.start.add(at), into.as_mut_ptr(), into.len()) };
    }

    /// Copies `from` to `at`; see [`read`](Self::read).
    pub fn write(&self, at: usize, from: &[u8]) {
        assert!(at + from.len() <= self.len, "beyond the mapping");
        // SAFETY: as in `read`.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.start.add(at), from.len()) };
    }

    /// Reads one byte, also where nobody looks at it.
    pub fn touch(&self, at: usize) -> u8 {
        assert!(at < self.len, "beyond the mapping");
        // SAFETY: as in `read`.
        unsafe { self.start.add(at).read_volatile() }
    }

    /// Returns when what was written is in the file.
    pub fn sync(&self) -> rustix::io::Result<()> {
        // SAFETY: the range is mapped.
        unsafe { msync(self.start.cast(), self.len, MsyncFlags::SYNC) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped here, and nobody has a reference into it.
        let _ = unsafe { munmap(self.start.cast(), self.len) };
    }
}
