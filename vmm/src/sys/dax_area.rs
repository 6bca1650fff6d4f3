//! Reserved addresses for a window onto files (`dax::Area`), by `mmap`: whatever is put there replaces what was, in one step, so
//! that at no time anything else of this process can come to lie there.
#![allow(unsafe_code)] // Addresses that the guest uses are mapped anew while it runs.

use std::ffi::c_void;
use std::io;
use std::ptr;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

use vm_memory::VolatileSlice;

use crate::dax::{Area, PAGE, Piece, Source, Zeroes};

/// Begin of the area at a multiple of this, so that the kernel can use large pages in it.
const ALIGNMENT: usize = 2 << 20;

/// See the head of this file.
pub(crate) struct Reserved {
    whole: *mut c_void,
    whole_len: usize,
    /// First byte used.
    base: *mut c_void,
    len: usize,
}

// SAFETY: the pointers are addresses only: nothing is ever read or written through them by this process, and the calls that
// change what lies there may be made from any thread.
unsafe impl Send for Reserved {}
// SAFETY: as above.
unsafe impl Sync for Reserved {}

/// Nothing: any access fails, and no memory is taken.
const NOTHING: (ProtFlags, MapFlags) = (ProtFlags::empty(), MapFlags::PRIVATE.union(MapFlags::NORESERVE));

impl Reserved {
    /// Reserves so many bytes.
    ///
    /// # Errors
    /// The system refuses, or has pages of another size than [`PAGE`].
    pub(crate) fn new(len: u64) -> io::Result<Self> {
        if rustix::param::page_size() as u64 != PAGE || !len.is_multiple_of(PAGE) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let whole_len = len.checked_add(ALIGNMENT).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: a new mapping where the system likes; nothing that exists is touched.
        let whole = unsafe { mmap_anonymous(ptr::null_mut(), whole_len, NOTHING.0, NOTHING.1)? };
        let skip = whole.align_offset(ALIGNMENT).min(ALIGNMENT);
        Ok(Self { whole, whole_len, base: whole.wrapping_byte_add(skip), len })
    }

    /// The piece's address. A piece is within the area.
    fn address_of(&self, piece: Piece) -> *mut c_void {
        debug_assert!(piece.at() + piece.bytes() <= self.len as u64);
        self.base.wrapping_byte_add(piece.at() as usize)
    }

    fn anonymous(&self, piece: Piece, protection: ProtFlags) -> io::Result<()> {
        let flags = NOTHING.1 | MapFlags::FIXED;
        // SAFETY: the range is within what this value reserved, which no reference of this process points into. The guest may
        // use it at the same time, and is to see the change.
        unsafe { mmap_anonymous(self.address_of(piece), piece.bytes() as usize, protection, flags)? };
        Ok(())
    }

    fn file(&self, piece: Piece, source: &Source, write: bool, flags: MapFlags) -> io::Result<()> {
        let protection = if write { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        let len = piece.bytes() as usize;
        // Tried elsewhere first: what refuses to be mapped is not to make a hole in the area, which a mapping of anybody else in
        // this process could fill.
        // SAFETY: a new mapping where the system likes, which nobody uses before it is removed again.
        unsafe {
            let tried = mmap(ptr::null_mut(), len, protection, flags, &source.file, source.offset)?;
            munmap(tried, len)?;
        }
        // SAFETY: as in `anonymous`.
        let mapped = unsafe {
            mmap(self.address_of(piece), len, protection, flags | MapFlags::FIXED, &source.file, source.offset)
        };
        mapped.map(drop).inspect_err(|_| self.close_hole(piece)).map_err(io::Error::from)
    }

    /// A mapping that failed may have left nothing where it was to be, not even the reservation.
    fn close_hole(&self, piece: Piece) {
        if let Err(error) = self.anonymous(piece, NOTHING.0) {
            // What this process maps next could come to lie there, and the guest would have it.
            tracing::error!(%error, "addresses of the guest's window are lost: ending before something of ours gets there");
            std::process::abort();
        }
    }
}

impl Area for Reserved {
    fn bytes(&self) -> u64 {
        self.len as u64
    }

    fn address(&self) -> u64 {
        self.base as u64
    }

    fn map(&self, piece: Piece, source: &Source) -> io::Result<()> {
        let mapped = self.file(piece, source, source.writable, MapFlags::SHARED);
        mapped.inspect_err(|_| self.close_hole(piece))
    }

    fn map_copy(&self, piece: Piece, source: &Source) -> io::Result<()> {
        self.file(piece, source, true, MapFlags::PRIVATE)
    }

    fn zero(&self, piece: Piece, zeroes: Zeroes) -> io::Result<()> {
        let protection = match zeroes {
            Zeroes::Untouched => ProtFlags::READ,
            Zeroes::Written => ProtFlags::READ | ProtFlags::WRITE,
        };
        // Memory that is written to has to be promised, and a system that promises no more may have taken away what was there.
        self.anonymous(piece, protection).inspect_err(|_| self.close_hole(piece))
    }

    fn hide(&self, piece: Piece) -> io::Result<()> {
        self.anonymous(piece, NOTHING.0)
    }

    fn is_reachable(&self, piece: Piece, write: bool) -> bool {
        let advice = if write { Advice::LinuxPopulateWrite } else { Advice::LinuxPopulateRead };
        // SAFETY: the range is within the area; populating changes nothing of what is there.
        let done = unsafe { madvise(self.address_of(piece), piece.bytes() as usize, advice) };
        // Linux before 5.14 cannot tell.
        !matches!(done, Err(rustix::io::Errno::FAULT | rustix::io::Errno::HWPOISON))
    }

    fn slice(&self, at: u64, len: usize) -> Option<VolatileSlice<'_>> {
        let bytes = self.range(at, len)?;
        // SAFETY: the range is reserved as long as this value is borrowed. That it may not be accessible the caller was told.
        Some(unsafe { VolatileSlice::new(bytes.iov_base.cast(), len) })
    }

    fn read(&self, at: u64, data: &mut [u8]) -> bool {
        let Some(remote) = self.range(at, data.len()) else { return false };
        let local = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
        // SAFETY: the kernel writes to `data` only, and copies from the area as it would for another process: with an error where
        // nothing is, not a signal.
        unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) == data.len() as isize }
    }

    fn write(&self, at: u64, data: &[u8]) -> bool {
        let Some(remote) = self.range(at, data.len()) else { return false };
        let local = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
        // SAFETY: as above, the other way round: `data` is only read.
        unsafe { libc::process_vm_writev(libc::getpid(), &local, 1, &remote, 1, 0) == data.len() as isize }
    }
}

impl Reserved {
    fn range(&self, at: u64, len: usize) -> Option<libc::iovec> {
        let at = usize::try_from(at).ok()?;
        let whole = at.checked_add(len).is_some_and(|end| end <= self.len);
        whole.then(|| libc::iovec { iov_base: self.base.wrapping_byte_add(at), iov_len: len })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // SAFETY: exactly what was reserved. Whoever gave it to a hypervisor keeps this value until that is gone.
        if let Err(error) = unsafe { munmap(self.whole, self.whole_len) } {
            tracing::warn!(%error, "reserved addresses stay reserved");
        }
    }
}

#[cfg(test)]
mod device_tests;
#[cfg(test)]
mod tests;
