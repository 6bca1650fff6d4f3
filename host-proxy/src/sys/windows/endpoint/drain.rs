//! Waits until the other side of a pipe has read everything. Windows offers that only as a call that blocks, so it has a thread
//! for as long as it takes and [`PATIENCE`] at most, and all of them together [`MOST`] threads. Called by `stream`.
//!
//! Whoever waits does not learn whether it was read: a reader that is only slow finds its bytes in the pipe later on.
#![allow(unsafe_code)]

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use windows_sys::Win32::Foundation::{DUPLICATE_SAME_ACCESS, DuplicateHandle, HANDLE};
use windows_sys::Win32::Storage::FileSystem::FlushFileBuffers;
use windows_sys::Win32::System::IO::CancelSynchronousIo;
use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetCurrentThread};

/// How long to wait for a reader; one that lives and takes longer will see the end of the pipe instead of the end of the sending.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a thread is told again that nobody waits: it may not have been inside the call yet.
const AGAIN: Duration = Duration::from_millis(100);
/// Most threads that wait; file I/O has its threads from the same pool.
const MOST: usize = 64;
static ROOM: Semaphore = Semaphore::const_new(MOST);

/// The wait. It goes on by itself if this is dropped.
#[derive(Debug)]
pub(super) struct Drain(oneshot::Receiver<()>);

impl Drain {
    /// Begins to wait for the reader of what was written to `pipe`.
    pub(super) fn of(pipe: &impl AsHandle) -> io::Result<Drain> {
        Drain::within(pipe, PATIENCE)
    }

    /// As [`Drain::of`], with another patience.
    pub(super) fn within(pipe: &impl AsHandle, patience: Duration) -> io::Result<Drain> {
        let pipe = pipe.as_handle().try_clone_to_owned()?;
        let (done, waiting) = oneshot::channel();
        tokio::spawn(async move {
            let deadline = tokio::time::Instant::now() + patience;
            if let Ok(Ok(_room)) = tokio::time::timeout_at(deadline, ROOM.acquire()).await {
                let thread = Arc::new(Mutex::new(None));
                let mut flush = tokio::task::spawn_blocking({
                    let thread = Arc::clone(&thread);
                    move || flush(pipe, &thread)
                });
                if tokio::time::timeout_at(deadline, &mut flush).await.is_err() {
                    give_up(flush, &thread).await;
                }
            }
            // Whoever waited may be gone.
            let _ = done.send(());
        });
        Ok(Drain(waiting))
    }

    /// Ready when there is nothing to wait for any more.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Future::poll(std::pin::Pin::new(&mut self.0), cx).map(drop)
    }
}

/// The thread that is in the call, as long as it is.
type Waiter = Mutex<Option<OwnedHandle>>;

fn flush(pipe: OwnedHandle, waiter: &Waiter) {
    match this_thread() {
        Ok(thread) => *lock(waiter) = Some(thread),
        // Without a way to end the call it is not begun.
        Err(error) => return tracing::debug!(%error, "Cannot wait for a reader"),
    }
    // SAFETY: the handle is open as long as `pipe`.
    let flushed = unsafe { FlushFileBuffers(pipe.as_raw_handle()) };
    *lock(waiter) = None;
    if flushed == 0 {
        // The other side is gone, or nobody waits any more.
        tracing::trace!(error = %io::Error::last_os_error(), "Not everything was read");
    }
}

async fn give_up(mut flush: JoinHandle<()>, waiter: &Waiter) {
    loop {
        cancel(waiter);
        if tokio::time::timeout(AGAIN, &mut flush).await.is_ok() {
            return;
        }
    }
}

/// Ends the call that the thread is in. Nothing else of that thread can be met: it leaves its handle's place before it goes on.
fn cancel(waiter: &Waiter) {
    if let Some(thread) = &*lock(waiter) {
        // SAFETY: the handle is open as long as it is in its place, which is locked.
        // It fails if the thread is not inside the call just now; the caller comes again.
        unsafe { CancelSynchronousIo(thread.as_raw_handle()) };
    }
}

fn this_thread() -> io::Result<OwnedHandle> {
    let mut thread: HANDLE = ptr::null_mut();
    // SAFETY: the sources are pseudo handles, which are always valid, and `thread` is written to.
    unsafe {
        let process = GetCurrentProcess();
        if DuplicateHandle(process, GetCurrentThread(), process, &mut thread, 0, 0, DUPLICATE_SAME_ACCESS) == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedHandle::from_raw_handle(thread))
    }
}

fn lock(waiter: &Waiter) -> std::sync::MutexGuard<'_, Option<OwnedHandle>> {
    // A handle has no broken state.
    waiter.lock().unwrap_or_else(PoisonError::into_inner)
}
