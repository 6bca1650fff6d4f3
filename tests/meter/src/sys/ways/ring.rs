//! The same by io_uring, whose operations no filter of system calls sees (linux/io_uring.h).

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

use libc::{c_int, c_long, c_void};

use super::Place;

const OP_CONNECT: u8 = 16;
const OP_SOCKET: u8 = 45;
/// Where the three parts of a ring are mapped from.
const SUBMISSIONS: libc::off_t = 0;
const COMPLETIONS: libc::off_t = 0x800_0000;
const ENTRIES: libc::off_t = 0x1000_0000;
/// How long a connect that goes on by itself is asked after; the kernel gives it two seconds.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
/// Waits for completions.
const GET_EVENTS: u32 = 1;
/// Longer than each of the parts of so small a ring.
const PART: usize = 4096;

/// `struct io_uring_params`: 10 words of its own, 10 of offsets in the submissions, 10 of offsets in the completions.
type Params = [u32; 30];
const TAIL: usize = 1;
const MASK: usize = 2;
const ARRAY: usize = 6;
const CQES: usize = 5;

/// A ring of one entry. It goes with the process.
struct Ring {
    fd: c_int,
    params: Params,
    submissions: *mut u8,
    completions: *mut u8,
    entry: *mut [u64; 8],
}

/// Makes a socket and connects it.
pub fn connect(place: &Place) -> Result<(), c_int> {
    let ring = Ring::new()?;
    // The family stands where other operations have their descriptor.
    let socket = ring.run(OP_SOCKET, place.family, libc::SOCK_STREAM as u64, 0)?;
    let end = Instant::now() + PATIENCE;
    loop {
        match ring.run(OP_CONNECT, socket, place.address.len() as u64, place.address.as_ptr().addr() as u64) {
            Ok(_) | Err(libc::EISCONN) => return Ok(()),
            // It goes on by itself, and this only says that it is not over.
            Err(libc::EALREADY | libc::EINPROGRESS) if Instant::now() < end => thread::sleep(PAUSE),
            Err(errno) => return Err(errno),
        }
    }
}

impl Ring {
    fn new() -> Result<Self, c_int> {
        let mut params: Params = [0; 30];
        // SAFETY: the parameters are live and as long as the kernel takes them to be.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1 as c_long, params.as_mut_ptr()) };
        if fd < 0 {
            return Err(super::errno());
        }
        let fd = fd as c_int;
        let map = |from| -> Result<*mut u8, c_int> {
            // SAFETY: a new mapping wherever the kernel likes.
            let part = unsafe {
                libc::mmap(ptr::null_mut(), PART, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd, from)
            };
            if part == libc::MAP_FAILED { Err(super::errno()) } else { Ok(part.cast()) }
        };
        let (submissions, completions, entry) = (map(SUBMISSIONS)?, map(COMPLETIONS)?, map(ENTRIES)?.cast());
        Ok(Self { fd, params, submissions, completions, entry })
    }

    /// One operation from its submission to its result; `offset` and `address` are those fields of the entry.
    fn run(&self, operation: u8, fd: c_int, offset: u64, address: u64) -> Result<c_int, c_int> {
        let (submission, completion) = (&self.params[10..20], &self.params[20..30]);
        let first = u64::from(operation) | u64::from(fd as u32) << 32;
        let at = |part: *mut u8, offset: u32| part.wrapping_add(offset as usize);
        let tail = at(self.submissions, submission[TAIL]).cast::<AtomicU32>();
        let done = at(self.completions, completion[0]).cast::<AtomicU32>();
        // SAFETY: all of these lie in the mapped parts, where the kernel said, and are aligned; the kernel reads the entry
        // only after the tail has moved, and writes the completion before the call returns.
        unsafe {
            self.entry.write([first, offset, address, 0, 0, 0, 0, 0]);
            at(self.submissions, submission[ARRAY]).cast::<u32>().write(0);
            (*tail).fetch_add(1, Ordering::Release);
            let none = ptr::null::<c_void>();
            let entered = libc::syscall(libc::SYS_io_uring_enter, self.fd, 1, 1, GET_EVENTS, none, 0 as c_long);
            if entered < 0 {
                return Err(super::errno());
            }
            fence(Ordering::Acquire);
            let mask = at(self.completions, completion[MASK]).cast::<u32>().read();
            let index = (*done).fetch_add(1, Ordering::Release) & mask;
            // A completion has 16 bytes: two words of what it is about, the result, and flags.
            let result = at(self.completions, completion[CQES] + index * 16 + 8).cast::<i32>().read();
            if result < 0 { Err(-result) } else { Ok(result) }
        }
    }
}
