//! Pages of private anonymous memory by `madvise(2)`.
#![allow(unsafe_code)] // The kernel is told of memory by its address.

use std::io;

use rustix::mm::{Advice, madvise};
use vm_memory::VolatileSlice;

use super::Pages;

/// See [`Pages`]. The pages read as zeroes at once.
pub(crate) fn pages() -> Option<Pages> {
    Some(Pages { size: rustix::param::page_size, discard })
}

fn discard(pages: &VolatileSlice) -> io::Result<()> {
    let start = pages.ptr_guard_mut().as_ptr();
    // SAFETY: the range is mapped while `pages` is borrowed, and stays so: the advice takes contents away and no addresses.
    // What lies behind a volatile slice changes at any time, so that no reference to it can be surprised.
    Ok(unsafe { madvise(start.cast(), pages.len(), Advice::LinuxDontNeed) }?)
}
