//! Doorbells: a store to a virtio notify register signals an event inside the hypervisor, without an exit to this process, and
//! a thread of the system's pool turns the event into a [`Kick`]. The only file that knows events. Called by `vm`.

use std::ffi::c_void;
use std::io::Error;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null_mut;
use std::sync::Arc;

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Hypervisor::*;
use windows_sys::Win32::System::Threading::{
    CreateEventW, INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEINWAITTHREAD,
};

use super::vm::WhpVm;
use crate::hv::HvError;
use crate::hv::foreign::whp::result::check;
use crate::kick::Kick;

/// Bytes of a notify register.
const LENGTH: u32 = 4;
/// `WHV_DOORBELL_MATCH_DATA`: only this value, and only at this length.
const MATCH_ON_VALUE: u32 = 1 << 0;
const MATCH_ON_LENGTH: u32 = 1 << 1;

/// A doorbell in service; dropping it gives the address back to the bus. Fields end in the order in which they stand.
pub struct Doorbell {
    _port: Port,
    _wait: Wait,
}

/// The hypervisor's end.
struct Port {
    vm: Arc<WhpVm>,
    handle: *mut c_void,
}

/// Our end.
struct Wait {
    handle: HANDLE,
    event: OwnedHandle,
    kick: Arc<Kick>,
}

// SAFETY: both handles are names of objects of the system, which takes them from any thread.
unsafe impl Send for Port {}
// SAFETY: nothing is done through a shared reference.
unsafe impl Sync for Port {}
// SAFETY: as above.
unsafe impl Send for Wait {}
// SAFETY: as above.
unsafe impl Sync for Wait {}

/// Makes stores of the 32-bit `value` to `address` signal `kick`. `None`: this Windows has no doorbells.
pub fn attach(vm: Arc<WhpVm>, address: u64, value: u32, kick: Arc<Kick>) -> Result<Option<Doorbell>, HvError> {
    let platform = &vm.partition.api().platform;
    let (Some(create), Some(_)) = (platform.create_port, platform.delete_port) else { return Ok(None) };
    let wait = Wait::new(kick)?;
    let doorbell = WHV_DOORBELL_MATCH_DATA {
        GuestAddress: address,
        Value: value.into(),
        Length: LENGTH,
        _bitfield: MATCH_ON_VALUE | MATCH_ON_LENGTH,
    };
    let parameters = WHV_NOTIFICATION_PORT_PARAMETERS {
        NotificationPortType: WHvNotificationPortTypeDoorbell,
        Reserved: 0,
        Anonymous: WHV_NOTIFICATION_PORT_PARAMETERS_0 { Doorbell: doorbell },
    };
    let mut handle = null_mut();
    // SAFETY: the parameters are read, the port's handle is written; the event outlives the port.
    let result =
        unsafe { create(vm.partition.handle(), &raw const parameters, wait.event.as_raw_handle(), &raw mut handle) };
    check("WHvCreateNotificationPort", result)?;
    Ok(Some(Doorbell { _port: Port { vm, handle }, _wait: wait }))
}

impl Drop for Port {
    fn drop(&mut self) {
        let Some(delete) = self.vm.partition.api().platform.delete_port else { return };
        // SAFETY: the port is this partition's, and not used after this.
        let result = unsafe { delete(self.vm.partition.handle(), self.handle) };
        if let Err(error) = check("WHvDeleteNotificationPort", result) {
            tracing::warn!(%error, source = %error.source, "a doorbell could not be given back");
        }
    }
}

impl Wait {
    /// Makes an event of which each signal reaches `kick`.
    fn new(kick: Arc<Kick>) -> Result<Self, HvError> {
        // SAFETY: no attributes and no name; it resets itself and is not set.
        let event = unsafe { CreateEventW(std::ptr::null(), 0, 0, std::ptr::null()) };
        if event.is_null() {
            return Err(HvError { call: "CreateEvent", source: Error::last_os_error() });
        }
        // SAFETY: the handle is open, and nobody else has it.
        let event = unsafe { OwnedHandle::from_raw_handle(event) };
        let mut handle = null_mut();
        let context: *const c_void = Arc::as_ptr(&kick).cast();
        // SAFETY: event and kick live until the wait has ended, see `drop`.
        let registered = unsafe {
            RegisterWaitForSingleObject(
                &raw mut handle,
                event.as_raw_handle(),
                Some(ring),
                context,
                INFINITE,
                WT_EXECUTEINWAITTHREAD,
            )
        };
        if registered == 0 {
            return Err(HvError { call: "RegisterWaitForSingleObject", source: Error::last_os_error() });
        }
        Ok(Self { handle, event, kick })
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // SAFETY: the wait is registered; this returns when no call of `ring` runs or will.
        if unsafe { UnregisterWaitEx(self.handle, INVALID_HANDLE_VALUE) } == 0 {
            tracing::warn!(error = %Error::last_os_error(), "a doorbell's wait could not be ended");
            // It may still ring.
            std::mem::forget(Arc::clone(&self.kick));
        }
    }
}

/// Called for each signal, by the thread that waits; so it must not wait for anything itself.
unsafe extern "system" fn ring(context: *mut c_void, _timed_out: bool) {
    // SAFETY: the context is a `Kick` that lives until the wait has ended.
    unsafe { &*context.cast::<Kick>() }.signal();
}
