//! A virtual processor: its KVM descriptor, the page it shares with KVM, and what other threads may do to it while it runs:
//! cancel it, or start it. Contract: WHvCreateVirtualProcessor, WHvDeleteVirtualProcessor, WHvCancelRunVirtualProcessor (a
//! cancellation is kept for the next run if there is none now). Used by `exports`, `run` and `startup`.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};

use windows_sys::Win32::Foundation::{WHV_E_INVALID_VP_STATE, WHV_E_VP_ALREADY_EXISTS, WHV_E_VP_DOES_NOT_EXIST};

use crate::access::Pending;
use crate::cpuid;
use crate::kvm::{RunPage, ask};
use crate::linux::{self, Fd};
use crate::partition::{Partition, lock};
use crate::result::{Hr, INVALID, Result};
use crate::startup;

/// What the running thread, and register calls between runs, own.
#[derive(Default)]
pub struct Seat {
    /// The instruction that the last exit stopped in, until it is finished.
    pub pending: Option<Pending>,
}

/// One virtual processor.
pub struct Vp {
    /// Its number, which is also its APIC id.
    pub index: u32,
    /// KVM's descriptor.
    pub fd: Fd,
    /// KVM's page.
    pub page: RunPage,
    seat: Mutex<Seat>,
    cancelled: AtomicBool,
    thread: AtomicU32,
    /// Waits for the VMM to start it (`StartupSuspend`).
    suspended: Mutex<bool>,
    wake: Condvar,
}

/// Makes processor `index`.
pub fn create(partition: &Arc<Partition>, index: u32) -> Result<()> {
    let set_up = partition.ready()?;
    if index >= set_up.processors {
        return Err(INVALID);
    }
    let mut vps = partition.vps();
    if vps.contains_key(&index) {
        return Err(Hr(WHV_E_VP_ALREADY_EXISTS));
    }
    let fd = partition.vm.create(ask::CREATE_VCPU, index as usize)?;
    let size = partition.kvm.control(ask::GET_VCPU_MMAP_SIZE, 0)?;
    let page = RunPage(fd.map(size)?);
    let (synthetic, results) = {
        let properties = lock(&partition.properties);
        (properties.synthetic_features(), properties.cpuid_results())
    };
    let mut table = cpuid::table(&cpuid::supported(&partition.kvm)?, index, &set_up, synthetic, &results);
    // SAFETY: the structure is the request's, with as many entries as it says.
    unsafe { fd.exchange(ask::SET_CPUID2, &mut *table) }?;
    let suspended = set_up.traps_startup && index > 0;
    let vp = Vp {
        index,
        fd,
        page,
        seat: Mutex::default(),
        cancelled: AtomicBool::new(false),
        thread: AtomicU32::new(0),
        suspended: Mutex::new(suspended),
        wake: Condvar::new(),
    };
    vps.insert(index, Arc::new(vp));
    drop(vps);
    if suspended {
        startup::watch(partition, index);
    }
    Ok(())
}

/// Ends processor `index`. KVM keeps its number taken until the partition is deleted, so it cannot be made again.
pub fn delete(partition: &Partition, index: u32) -> Result<()> {
    partition.vps().remove(&index).map(drop).ok_or(Hr(WHV_E_VP_DOES_NOT_EXIST))
}

/// The right to run a processor or to touch its registers; says which thread has to be interrupted.
pub struct Seated<'vp> {
    /// What the seat owns.
    pub seat: MutexGuard<'vp, Seat>,
    vp: &'vp Vp,
}

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        self.vp.thread.store(0, Ordering::SeqCst);
    }
}

impl Vp {
    /// Takes the seat; an error while another thread has it. Windows may let register calls wait instead.
    pub fn sit(&self) -> Result<Seated<'_>> {
        match self.seat.try_lock() {
            Ok(seat) => Ok(self.seated(seat)),
            Err(TryLockError::Poisoned(poisoned)) => Ok(self.seated(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => Err(Hr(WHV_E_INVALID_VP_STATE)),
        }
    }

    /// Takes the seat to run, when another thread has done with the registers.
    pub fn sit_to_run(&self) -> Seated<'_> {
        self.seated(lock(&self.seat))
    }

    fn seated<'vp>(&'vp self, seat: MutexGuard<'vp, Seat>) -> Seated<'vp> {
        self.thread.store(linux::thread_id(), Ordering::SeqCst);
        Seated { seat, vp: self }
    }

    /// Makes the run that is under way, or else the next one, come back as cancelled.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        self.interrupt();
    }

    /// Makes the thread that runs it look around.
    pub fn interrupt(&self) {
        // The byte first: a thread between its last look and KVM_RUN sees it there, one inside gets the signal.
        self.page.set_immediate_exit(true);
        let thread = self.thread.load(Ordering::SeqCst);
        if thread != 0 {
            linux::kick(thread);
        }
        drop(lock(&self.suspended));
        self.wake.notify_all();
    }

    /// Whether it was cancelled since the last time. The caller has taken back the immediate exit before, never after.
    pub fn take_cancel(&self) -> bool {
        self.cancelled.swap(false, Ordering::SeqCst)
    }

    /// Waits, while it is suspended, for a start or a cancellation. Nobody may sit here: who starts it sets registers first.
    pub fn wait_for_start(&self) {
        let mut suspended = lock(&self.suspended);
        while *suspended && !self.cancelled.load(Ordering::SeqCst) {
            suspended = self.wake.wait(suspended).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether it waits for its start.
    pub fn is_suspended(&self) -> bool {
        *lock(&self.suspended)
    }

    /// Suspends it, or starts it.
    pub fn suspend(&self, suspended: bool) {
        *lock(&self.suspended) = suspended;
        self.wake.notify_all();
    }
}
