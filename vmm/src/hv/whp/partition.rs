//! A partition, which is what the platform calls a machine, and its calls with errors that name them. What it is set up with is
//! in `properties`. Owned by `vm`; the probe makes one to see whether it can be made.

use std::ffi::c_void;
use std::mem::size_of_val;

use windows_sys::Win32::System::Hypervisor::*;

use super::api::Api;
use crate::hv::HvError;
use crate::hv::foreign::whp::interrupt::Request;
use crate::hv::foreign::whp::result::check;

/// A register's value as the platform wants it, which uses instructions that need the alignment.
#[repr(C, align(16))]
#[derive(Clone, Copy, Default)]
pub struct Value(pub WHV_REGISTER_VALUE);

/// What the platform says about an exit, aligned likewise.
#[repr(C, align(16))]
#[derive(Clone, Copy, Default)]
pub struct ExitContext(pub WHV_RUN_VP_EXIT_CONTEXT);

/// The partition; deleted when dropped.
pub struct Partition {
    api: &'static Api,
    handle: WHV_PARTITION_HANDLE,
}

impl Partition {
    /// Makes one without any properties.
    pub fn create(api: &'static Api) -> Result<Self, HvError> {
        let mut handle = 0;
        // SAFETY: the handle is written.
        check("WHvCreatePartition", unsafe { (api.platform.create_partition)(&raw mut handle) })?;
        Ok(Self { api, handle })
    }

    /// The functions.
    pub fn api(&self) -> &'static Api {
        self.api
    }

    /// The handle, for calls that are not here; valid while `self` lives.
    pub fn handle(&self) -> WHV_PARTITION_HANDLE {
        self.handle
    }

    /// Sets a property to `values`: one, or a list. `T` is a number or a structure of numbers without gaps.
    pub fn set<T: Copy>(
        &self,
        call: &'static str,
        code: WHV_PARTITION_PROPERTY_CODE,
        values: &[T],
    ) -> Result<(), HvError> {
        let size = size_of_val(values) as u32;
        // SAFETY: the values are read, as many bytes as there are.
        check(call, unsafe { (self.api.platform.set_property)(self.handle, code, values.as_ptr().cast(), size) })
    }

    /// Makes the properties final.
    pub fn set_up(&self) -> Result<(), HvError> {
        // SAFETY: the handle is valid.
        check("WHvSetupPartition", unsafe { (self.api.platform.set_up_partition)(self.handle) })
    }

    /// Shows `size` bytes at `host` to the guest at `address`, to read, write and execute.
    ///
    /// # Safety
    /// The range is mapped, and stays so until the partition is gone; the guest may change it at any time.
    pub unsafe fn map(&self, host: *const u8, address: u64, size: u64) -> Result<(), HvError> {
        let access = WHvMapGpaRangeFlagRead | WHvMapGpaRangeFlagWrite | WHvMapGpaRangeFlagExecute;
        let host: *const c_void = host.cast();
        // SAFETY: as the caller promises.
        check("WHvMapGpaRange", unsafe { (self.api.platform.map_memory)(self.handle, host, address, size, access) })
    }

    /// Makes virtual processor `index`.
    pub fn create_vcpu(&self, index: u8) -> Result<(), HvError> {
        // SAFETY: the handle is valid; there are no flags.
        let result = unsafe { (self.api.platform.create_vcpu)(self.handle, index.into(), 0) };
        check("WHvCreateVirtualProcessor", result)
    }

    /// Ends virtual processor `index`, which no thread runs.
    pub fn delete_vcpu(&self, index: u8) {
        // SAFETY: the handle is valid.
        let result = unsafe { (self.api.platform.delete_vcpu)(self.handle, index.into()) };
        if let Err(error) = check("WHvDeleteVirtualProcessor", result) {
            tracing::warn!(%error, index, "a virtual processor could not be given back");
        }
    }

    /// Runs virtual processor `index` until it exits. `context` is written.
    pub fn run(&self, index: u8, context: &mut ExitContext) -> Result<(), HvError> {
        let size = size_of_val(&context.0) as u32;
        let context: *mut c_void = (&raw mut context.0).cast();
        // SAFETY: the context is written, at most as many bytes as it has.
        let result = unsafe { (self.api.platform.run_vcpu)(self.handle, index.into(), context, size) };
        check("WHvRunVirtualProcessor", result)
    }

    /// Makes `run` of virtual processor `index` return, now or as soon as it is called.
    pub fn cancel(&self, index: u8) {
        // SAFETY: the handle is valid; there are no flags.
        let result = unsafe { (self.api.platform.cancel_vcpu)(self.handle, index.into(), 0) };
        if let Err(error) = check("WHvCancelRunVirtualProcessor", result) {
            tracing::warn!(%error, index, "a virtual processor could not be made to come back");
        }
    }

    /// Reads registers.
    pub fn get<const N: usize>(&self, index: u8, names: [WHV_REGISTER_NAME; N]) -> Result<[Value; N], HvError> {
        let mut values = [Value::default(); N];
        let out: *mut WHV_REGISTER_VALUE = values.as_mut_ptr().cast();
        // SAFETY: names are read and values written, N of each; a `Value` is as large as what is in it.
        let result =
            unsafe { (self.api.platform.get_registers)(self.handle, index.into(), names.as_ptr(), N as u32, out) };
        check("WHvGetVirtualProcessorRegisters", result).map(|()| values)
    }

    /// Writes registers.
    pub fn put(&self, index: u8, names: &[WHV_REGISTER_NAME], values: &[Value]) -> Result<(), HvError> {
        let count = names.len().min(values.len()) as u32;
        let values: *const WHV_REGISTER_VALUE = values.as_ptr().cast();
        // SAFETY: names and values are read, no more than there are of either; a `Value` is as large as what is in it.
        let result =
            unsafe { (self.api.platform.set_registers)(self.handle, index.into(), names.as_ptr(), count, values) };
        check("WHvSetVirtualProcessorRegisters", result)
    }

    /// Delivers an interrupt to local APICs.
    pub fn interrupt(&self, request: Request) -> Result<(), HvError> {
        let Request { bits, destination, vector } = request;
        let control = WHV_INTERRUPT_CONTROL { _bitfield: bits, Destination: destination, Vector: vector };
        // SAFETY: the control is read.
        let result = unsafe {
            (self.api.platform.request_interrupt)(self.handle, &raw const control, size_of_val(&control) as u32)
        };
        check("WHvRequestInterrupt", result)
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        // SAFETY: the handle is valid and not used after this.
        let result = unsafe { (self.api.platform.delete_partition)(self.handle) };
        if let Err(error) = check("WHvDeletePartition", result) {
            tracing::warn!(%error, "a partition could not be given back");
        }
    }
}

const _: () = assert!(size_of::<Value>() == size_of::<WHV_REGISTER_VALUE>() && size_of::<WHV_REGISTER_VALUE>() == 16);
// As winhvplatformdefs.h has it.
const _: () = assert!(size_of::<WHV_RUN_VP_EXIT_CONTEXT>() == 224);
