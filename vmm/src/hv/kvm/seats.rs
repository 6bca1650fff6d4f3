//! Kicking vCPUs: one seat per vCPU, taken by the thread that runs it. A kick sets `immediate_exit`, so that the next
//! KVM_RUN returns at once, and sends a signal, so that the present one does.
//!
//! ```text
//!   empty ──occupy──► occupied ──vacate──► empty      kick in any state: pending is set; occupied: exit now
//!                                                     acknowledge: pending is cleared, once per kick seen
//! ```

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// Every vCPU's seat.
pub struct Seats(Vec<Mutex<Seat>>);

#[derive(Default)]
struct Seat {
    pending: bool,
    thread: Option<Thread>,
}

struct Thread {
    handle: libc::pthread_t,
    immediate_exit: *mut u8,
}

// SAFETY: `handle` may be signalled from any thread, and `immediate_exit` is only accessed atomically; both are valid for
// as long as the `Thread` is in its seat, because `vacate` runs on that thread before either ends.
unsafe impl Send for Thread {}

impl Seats {
    /// `count` empty seats.
    pub fn new(count: u8) -> Self {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(install_handler);
        Self((0..count).map(|_| Mutex::default()).collect())
    }

    /// Takes seat `index` for the calling thread.
    ///
    /// # Safety
    /// `immediate_exit` is that field of the vCPU's `kvm_run`, mapped until the same thread calls [`vacate`](Self::vacate).
    pub unsafe fn occupy(&self, index: u8, immediate_exit: *mut u8) {
        // SAFETY: pthread_self has no preconditions.
        let handle = unsafe { libc::pthread_self() };
        let mut seat = self.lock(index);
        let thread = Thread { handle, immediate_exit };
        if seat.pending {
            thread.set_immediate_exit(1);
        }
        seat.thread = Some(thread);
    }

    /// Gives the seat up; later kicks only set `pending`.
    pub fn vacate(&self, index: u8) {
        self.lock(index).thread = None;
    }

    /// Makes the vCPU leave guest mode, now or as soon as it enters.
    pub fn kick(&self, index: u8) {
        let mut seat = self.lock(index);
        seat.pending = true;
        if let Some(thread) = &seat.thread {
            thread.set_immediate_exit(1);
            // SAFETY: the thread has not vacated its seat, which it does before it ends, under this lock.
            unsafe { libc::pthread_kill(thread.handle, kick_signal()) };
        }
    }

    /// Says whether there was a kick, and forgets it.
    pub fn acknowledge(&self, index: u8) -> bool {
        let mut seat = self.lock(index);
        if let Some(thread) = &seat.thread {
            thread.set_immediate_exit(0);
        }
        std::mem::take(&mut seat.pending)
    }

    fn lock(&self, index: u8) -> MutexGuard<'_, Seat> {
        self.0[usize::from(index)].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Thread {
    fn set_immediate_exit(&self, value: u8) {
        // SAFETY: valid while in the seat (see `occupy`), and a byte is always aligned.
        unsafe { AtomicU8::from_ptr(self.immediate_exit) }.store(value, Ordering::Release);
    }
}

/// A real-time signal, so that it cannot be confused with the classic ones.
fn kick_signal() -> libc::c_int {
    libc::SIGRTMIN()
}

extern "C" fn ignore(_: libc::c_int) {}

/// A handler that does nothing, without SA_RESTART: its only effect is EINTR.
fn install_handler() {
    // SAFETY: zero is a valid sigaction: no flags, empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler touches nothing, so it may run at any point of any thread.
    let failed = unsafe { libc::sigaction(kick_signal(), &action, std::ptr::null_mut()) } != 0;
    if failed {
        tracing::error!(error = %std::io::Error::last_os_error(), "the vCPU kick signal has no handler");
    }
}
