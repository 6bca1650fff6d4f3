//! The calls of macOS that have no safe form: times with the time of birth, room in files, whole volumes, and closing aloud.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use rustix::fs::Timespec;

use super::{Outcome, io_errno};

/// `SYNC_VOLUME_FULLSYNC | SYNC_VOLUME_WAIT`
const TO_THE_MEDIUM: c_int = 0x01 | 0x02;

unsafe extern "C" {
    /// unistd.h, since macOS 10.8.
    fn fsync_volume_np(fd: c_int, flags: c_int) -> c_int;
}

fn done(answer: c_int) -> Outcome<()> {
    if answer == -1 { Err(io_errno(&io::Error::last_os_error())) } else { Ok(()) }
}

/// Times to set; nothing else changes.
pub(super) struct NewTimes {
    pub(super) born: Option<Timespec>,
    pub(super) modified: Option<Timespec>,
    pub(super) accessed: Option<Timespec>,
}

pub(super) fn set_times(open: &OwnedFd, new: &NewTimes) -> Outcome<()> {
    let mut which = 0;
    let mut times = Vec::with_capacity(3);
    // In the order of the bits, which is that of the values in the buffer.
    for (bit, time) in [
        (libc::ATTR_CMN_CRTIME, &new.born),
        (libc::ATTR_CMN_MODTIME, &new.modified),
        (libc::ATTR_CMN_ACCTIME, &new.accessed),
    ] {
        if let Some(time) = time {
            which |= bit;
            times.push(libc::timespec { tv_sec: time.tv_sec, tv_nsec: time.tv_nsec });
        }
    }
    let mut list = libc::attrlist {
        bitmapcount: libc::ATTR_BIT_MAP_COUNT,
        reserved: 0,
        commonattr: which,
        volattr: 0,
        dirattr: 0,
        fileattr: 0,
        forkattr: 0,
    };
    let (list, len): (*mut c_void, usize) = ((&raw mut list).cast(), size_of_val(&*times));
    // SAFETY: the descriptor is open; `list` is a whole `attrlist`, and the buffer of `len` bytes holds one `timespec` for each
    // bit in it. Both outlive the call, which only reads them.
    done(unsafe { libc::fsetattrlist(open.as_raw_fd(), list, times.as_mut_ptr().cast(), len, 0) })
}

/// Reserves room behind what a file has.
pub(super) fn reserve(file: &File, more: u64) -> Outcome<()> {
    let mut wanted = libc::fstore_t {
        fst_flags: libc::F_ALLOCATEALL,
        fst_posmode: libc::F_PEOFPOSMODE,
        fst_offset: 0,
        fst_length: more.cast_signed(),
        fst_bytesalloc: 0,
    };
    // SAFETY: the descriptor is open, and the command takes a pointer to an `fstore_t`, which `wanted` is during the call.
    done(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_PREALLOCATE, &raw mut wanted) })
}

/// Gives whole blocks back; they read as zeroes.
pub(super) fn punch(file: &File, offset: u64, len: u64) -> Outcome<()> {
    let mut hole =
        libc::fpunchhole_t { fp_flags: 0, reserved: 0, fp_offset: offset.cast_signed(), fp_length: len.cast_signed() };
    // SAFETY: the descriptor is open, and the command takes a pointer to an `fpunchhole_t`, which `hole` is during the call.
    done(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_PUNCHHOLE, &raw mut hole) })
}

/// All of the volume that something lies on is durable when this returns.
pub(super) fn sync_volume(open: &OwnedFd) -> Outcome<()> {
    // SAFETY: the call takes an open descriptor and flags, and no memory.
    done(unsafe { fsync_volume_np(open.as_raw_fd(), TO_THE_MEDIUM) })
}

/// Closes a descriptor and says what that said, which dropping it does not.
pub(super) fn close(descriptor: OwnedFd) -> Outcome<()> {
    // SAFETY: the descriptor is owned, and given up here: nobody else closes it or goes on to use it.
    done(unsafe { libc::close(descriptor.into_raw_fd()) })
}
