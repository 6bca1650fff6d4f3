//! Linux system calls from inside a Windows program: Wine runs PE code natively, so a `syscall` instruction reaches the
//! kernel below it. Descriptors, shared mappings, and the signal that interrupts a thread in `KVM_RUN`. Used by `kvm`.
//!
//! Wine 8 leaves `syscall` alone; releases that trap it (Syscall User Dispatch) would answer it as a Windows call.

use std::arch::{asm, naked_asm};

/// A negated errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// Interrupted.
    pub const EINTR: Errno = Errno(4);
    /// Try again.
    pub const EAGAIN: Errno = Errno(11);
}

const CLOSE: usize = 3;
const OPEN: usize = 2;
const MMAP: usize = 9;
const MUNMAP: usize = 11;
const RT_SIGACTION: usize = 13;
const IOCTL: usize = 16;
const GETPID: usize = 39;
const GETTID: usize = 186;
const TGKILL: usize = 234;

/// Makes one system call.
///
/// # Safety
/// What the call does with `args` must be sound.
unsafe fn call(number: usize, args: [usize; 6]) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: the kernel changes rax, rcx, r11 and what the caller vouches for; the ABI is the kernel's, not Windows'.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") args[0], in("rsi") args[1],
            in("rdx") args[2], in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    if (-4095..0).contains(&result) { Err(Errno(-result as i32)) } else { Ok(result as usize) }
}

/// An open Linux descriptor.
#[derive(Debug)]
pub struct Fd(i32);

impl Fd {
    /// Opens a path for reading and writing.
    pub fn open(path: &std::ffi::CStr) -> Result<Self, Errno> {
        const RDWR_CLOEXEC: usize = 0o2 | 0o2000000;
        // SAFETY: the path ends with a zero and outlives the call.
        unsafe { call(OPEN, [path.as_ptr() as usize, RDWR_CLOEXEC, 0, 0, 0, 0]) }.map(|fd| Self(fd as i32))
    }

    /// An ioctl whose argument is a number; the answer is a number.
    pub fn control(&self, request: u32, argument: usize) -> Result<usize, Errno> {
        // SAFETY: callers in `kvm` use requests whose argument is a number, so no memory is touched.
        unsafe { call(IOCTL, [self.0 as usize, request as usize, argument, 0, 0, 0]) }
    }

    /// An ioctl that makes another descriptor.
    pub fn create(&self, request: u32, argument: usize) -> Result<Fd, Errno> {
        self.control(request, argument).map(|fd| Fd(fd as i32))
    }

    /// An ioctl over a structure that it reads, writes, or both.
    ///
    /// # Safety
    /// `T` must be the request's structure with all that it counts.
    pub unsafe fn exchange<T: ?Sized>(&self, request: u32, value: &mut T) -> Result<usize, Errno> {
        let address = std::ptr::from_mut(value).cast::<u8>() as usize;
        // SAFETY: the caller vouches for the layout; the borrow is exclusive for as long as the call lasts.
        unsafe { call(IOCTL, [self.0 as usize, request as usize, address, 0, 0, 0]) }
    }

    /// Maps the file's first `length` bytes, shared.
    pub fn map(&self, length: usize) -> Result<Mapping, Errno> {
        const READ_WRITE: usize = 3;
        const SHARED: usize = 1;
        // SAFETY: the kernel picks an address where nothing is.
        let start = unsafe { call(MMAP, [0, length, READ_WRITE, SHARED, self.0 as usize, 0]) }?;
        Ok(Mapping { start: start as *mut u8, length })
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours and is not used afterwards.
        let _ = unsafe { call(CLOSE, [self.0 as usize, 0, 0, 0, 0, 0]) };
    }
}

/// A shared mapping.
#[derive(Debug)]
pub struct Mapping {
    start: *mut u8,
    length: usize,
}

// SAFETY: the mapping is plain memory; who reads and writes it is ordered by the users' locks, or is one volatile byte.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// A place in it; `size` bytes must fit.
    pub fn at(&self, offset: usize, size: usize) -> *mut u8 {
        assert!(offset.checked_add(size).is_some_and(|end| end <= self.length), "outside of the mapping");
        self.start.wrapping_add(offset)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nobody has a pointer into it any more.
        let _ = unsafe { call(MUNMAP, [self.start as usize, self.length, 0, 0, 0, 0]) };
    }
}

/// A real-time signal that neither glibc (32, 33) nor Wine uses.
const KICK: usize = 50;

#[unsafe(naked)]
unsafe extern "C" fn ignore() {
    naked_asm!("ret")
}

#[unsafe(naked)]
unsafe extern "C" fn leave() {
    naked_asm!("mov eax, 15", "syscall")
}

/// Makes the kick signal harmless: its handler returns at once, and the interrupted system call ends with EINTR. Runs on
/// the alternate stack that Wine gives each thread, since a Windows stack may have no room for a frame.
pub fn prepare_kicks() -> Result<(), Errno> {
    const ONSTACK_RESTORER: usize = 0x0800_0000 | 0x0400_0000;
    let action: [usize; 4] = [ignore as *const () as usize, ONSTACK_RESTORER, leave as *const () as usize, 0];
    // SAFETY: the array is the kernel's `struct sigaction`, and both functions touch nothing of the interrupted code's.
    unsafe { call(RT_SIGACTION, [KICK, action.as_ptr() as usize, 0, 8, 0, 0]) }.map(drop)
}

/// The calling thread's Linux number.
pub fn thread_id() -> u32 {
    // SAFETY: takes and touches nothing.
    unsafe { call(GETTID, [0; 6]) }.map_or(0, |id| id as u32)
}

/// Interrupts a thread of this process; one that is gone is fine.
pub fn kick(thread: u32) {
    // SAFETY: takes and touches nothing.
    let process = unsafe { call(GETPID, [0; 6]) }.unwrap_or(0);
    // SAFETY: the signal's handler does nothing.
    let _ = unsafe { call(TGKILL, [process, thread as usize, KICK, 0, 0, 0]) };
}
