//! What the stand-in's other DLL asks this one: the accesses of the instruction that the calling thread's last run stopped
//! in. The emulator's public functions are told neither partition nor processor, so each thread's last one is kept; a
//! backend that would emulate on another thread than it ran on cannot be served. Exported under names of our own.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use crate::vp::Vp;

thread_local! {
    static LAST: RefCell<Weak<Vp>> = const { RefCell::new(Weak::new()) };
}

/// One access, as the two DLLs hand it over.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct StandinAccess {
    /// Port or guest-physical address.
    pub address: u64,
    /// What the guest writes.
    pub data: [u8; 8],
    /// Bytes.
    pub size: u8,
    /// 1: a port.
    pub port: u8,
    /// 1: the guest writes.
    pub write: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

/// Notes whose exit this thread holds.
pub fn remember(vp: &Arc<Vp>) {
    LAST.with_borrow_mut(|last| *last = Arc::downgrade(vp));
}

/// The first access that waits: 1 and it is in `access`, else 0.
///
/// # Safety
/// `access` is a place for one.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn StandinPeekAccess(access: *mut StandinAccess) -> i32 {
    let Some(vp) = LAST.with_borrow(Weak::upgrade) else { return 0 };
    let Ok(seated) = vp.sit() else { return 0 };
    let Some(first) = seated.seat.pending.as_ref().and_then(|pending| pending.accesses.front()) else { return 0 };
    let first = StandinAccess {
        address: first.address,
        data: first.data,
        size: first.size,
        port: first.port.into(),
        write: first.write.into(),
        reserved: [0; 5],
    };
    // SAFETY: as above.
    unsafe { access.write(first) };
    1
}

/// The first access was served; `data` is what was read. 1: there are more, 0: the instruction is finished, -1: KVM failed.
///
/// # Safety
/// `data` points to eight bytes.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn StandinServedAccess(data: *const [u8; 8]) -> i32 {
    let Some(vp) = LAST.with_borrow(Weak::upgrade) else { return -1 };
    let Ok(mut seated) = vp.sit() else { return -1 };
    // SAFETY: as above.
    let data = unsafe { data.read() };
    match seated.seat.pending.as_mut().map(|pending| pending.served(&vp, &data)) {
        Some(Ok(true)) => {
            seated.seat.pending = None;
            0
        }
        Some(Ok(false)) => 1,
        Some(Err(_)) | None => -1,
    }
}
