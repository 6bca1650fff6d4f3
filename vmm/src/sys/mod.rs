//! What differs by operating system below the devices, behind functions that are the same everywhere. The only file of the
//! crate that asks which system it is, beside `hv`.

use std::fs::File;
use std::io;

use vm_memory::VolatileSlice;

#[cfg(target_os = "linux")]
pub(crate) mod child;
#[cfg(target_os = "linux")]
pub(crate) mod dax_area;
#[cfg(target_os = "linux")]
pub(crate) mod event;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod linux_fs;
#[cfg(target_os = "linux")]
mod linux_pages;
#[cfg(target_os = "macos")]
mod mac_fs;
mod owners;
#[cfg(unix)]
mod posix;
#[cfg(any(windows, target_os = "macos"))]
mod reports;
// Of the backends for other systems; tested on all.
#[cfg(any(test, not(target_os = "linux")))]
mod rows;
#[cfg(any(test, windows))]
mod told;
mod transfer;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
mod windows_fs;
#[cfg(windows)]
mod windows_pages;

#[cfg(target_os = "linux")]
pub(crate) use linux::HOLES;
#[cfg(target_os = "linux")]
pub use linux_fs::LinuxFs as NativeFs;
#[cfg(target_os = "linux")]
pub(crate) use linux_pages::pages;
#[cfg(target_os = "macos")]
pub use mac_fs::MacFs as NativeFs;
#[cfg(unix)]
pub(crate) use unix::{read_at, write_at};
#[cfg(windows)]
pub(crate) use windows::{read_at, write_at};
#[cfg(windows)]
pub use windows_fs::WindowsFs as NativeFs;
#[cfg(windows)]
pub(crate) use windows_pages::pages;

/// Space that a file takes on the host, in bytes, where the system says.
#[cfg(test)]
pub(crate) fn allocated(file: &File) -> Option<u64> {
    #[cfg(unix)]
    return Some(512 * std::os::unix::fs::MetadataExt::blocks(&file.metadata().ok()?));
    #[cfg(not(unix))]
    return file.metadata().ok().and(None);
}

/// How to take bytes out of the middle of a file. Ranges are `(offset, length)` in bytes, within the file.
pub(crate) struct Holes {
    /// Gives the range's space back to the file system; it reads as zeroes. Parts of a file system block are zeroed.
    pub punch: fn(&File, u64, u64) -> io::Result<()>,
    /// Makes the range read as zeroes and keeps its space.
    pub zero: fn(&File, u64, u64) -> io::Result<()>,
}

/// macOS and Windows can, but with rules on alignment and sparse files of their own; not before crash tests have run there.
#[cfg(not(target_os = "linux"))]
pub(crate) const HOLES: Option<Holes> = None;

/// How memory of this process goes back to the system, a page at a time.
#[derive(Clone, Copy)]
pub(crate) struct Pages {
    /// Bytes of a page, a power of two.
    pub size: fn() -> usize,
    /// Gives the memory behind whole pages back. They stay mapped, for us and for a guest, and hold whatever the system likes
    /// until they are written again. Of memory that another process maps too, nothing goes back.
    pub discard: fn(&VolatileSlice) -> io::Result<()>,
}

/// macOS has advice for it, but no engine yet whose memory it could be tried on.
#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) fn pages() -> Option<Pages> {
    None
}

#[cfg(test)]
mod tests;
