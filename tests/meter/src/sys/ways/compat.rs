//! `socketcall` by the gate of 32-bit programs, which 64-bit ones can go through as well if the kernel has it.

use std::arch::asm;
use std::ptr;

use libc::c_int;

use super::Place;

/// Its number among the 32-bit calls, and the numbers of what it does (linux/net.h).
const SOCKETCALL: u32 = 102;
const SOCKET: u32 = 1;
const CONNECT: u32 = 3;
/// Where the address lies behind the words.
const ADDRESS_AT: usize = 64;

/// Makes a socket and connects it.
pub fn connect(place: &Place) -> Result<(), c_int> {
    let page = low_page()?;
    let low = u32::try_from(page.addr()).map_err(|_| libc::EFAULT)?;
    // SAFETY: the page is longer than both, and nobody else knows of it.
    unsafe { ptr::copy_nonoverlapping(place.address.as_ptr(), page.add(ADDRESS_AT), place.address.len()) };
    let socket = call(page, SOCKET, [place.family as u32, libc::SOCK_STREAM as u32, 0])?;
    call(page, CONNECT, [socket, low + ADDRESS_AT as u32, place.address.len() as u32]).map(drop)
}

/// A page whose address fits into 32 bits. It goes with the process.
fn low_page() -> Result<*mut u8, c_int> {
    let (access, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT);
    // SAFETY: a new mapping wherever the kernel likes.
    let page = unsafe { libc::mmap(ptr::null_mut(), 4096, access, kind, -1, 0) };
    if page == libc::MAP_FAILED { Err(super::errno()) } else { Ok(page.cast()) }
}

/// One call with its words at the beginning of `page`; an errno if it fails.
fn call(page: *mut u8, what: u32, words: [u32; 3]) -> Result<u32, c_int> {
    // SAFETY: the page is long enough and aligned.
    unsafe { page.cast::<[u32; 3]>().write(words) };
    let result: u64;
    // SAFETY: the kernel reads the words and what they point to, both in the page. It keeps all registers but these; the
    // compiler has the base register for itself, so it is put aside.
    unsafe {
        asm!(
            "xchg {what:r}, rbx",
            "int 0x80",
            "xchg {what:r}, rbx",
            what = inout(reg) u64::from(what) => _,
            inlateout("rax") u64::from(SOCKETCALL) => result,
            in("rcx") page.addr() as u64,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    match result as i32 {
        failed @ ..=-1 => Err(-failed),
        done => Ok(done as u32),
    }
}
