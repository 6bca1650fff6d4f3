//! Positioned vectored I/O between a file and guest memory, without a copy in between.
#![allow(unsafe_code)] // The kernel must be given guest memory as raw addresses: a `&mut [u8]` to it would be a lie.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::marker::PhantomData;

use rustix::io::{preadv, pwritev};
use vm_memory::VolatileSlice;

/// `struct iovec`, which `IoSlice` and `IoSliceMut` promise to have the layout of.
#[repr(C)]
struct RawPart<'a> {
    base: *mut u8,
    len: usize,
    lent: PhantomData<VolatileSlice<'a>>,
}

const _: () = assert!(size_of::<RawPart>() == size_of::<IoSliceMut>() && size_of::<RawPart>() == size_of::<IoSlice>());

/// Reads into `parts`, in order, what the file holds from `offset` on. May read less, 0 at the end of the file.
pub(crate) fn read_at(file: &File, parts: &[VolatileSlice], offset: u64) -> io::Result<usize> {
    let mut raw = raw(parts);
    // SAFETY: `IoSliceMut` is ABI-compatible with `iovec`, and each `RawPart` describes memory that stays mapped and
    // writable while `parts` is borrowed. No reference to the memory itself is made: the kernel alone writes to it.
    let buffers = unsafe { std::slice::from_raw_parts_mut(raw.as_mut_ptr().cast::<IoSliceMut>(), raw.len()) };
    Ok(preadv(file, buffers, offset)?)
}

/// Writes `parts`, in order, to the file from `offset` on. May write less.
pub(crate) fn write_at(file: &File, parts: &[VolatileSlice], offset: u64) -> io::Result<usize> {
    let raw = raw(parts);
    // SAFETY: as in `read_at`, with `IoSlice`; the kernel alone reads the memory.
    let buffers = unsafe { std::slice::from_raw_parts(raw.as_ptr().cast::<IoSlice>(), raw.len()) };
    Ok(pwritev(file, buffers, offset)?)
}

/// Most parts that one call takes everywhere (`IOV_MAX`); the caller comes back for the rest.
const MAX_PARTS: usize = 1024;

fn raw<'a>(parts: &[VolatileSlice<'a>]) -> Vec<RawPart<'a>> {
    let one =
        |part: &VolatileSlice<'a>| RawPart { base: part.ptr_guard_mut().as_ptr(), len: part.len(), lent: PhantomData };
    parts.iter().take(MAX_PARTS).map(one).collect()
}
