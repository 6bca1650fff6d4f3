//! The functions that the DLL exports, under their public names: each checks its pointers, asks the script, and calls what
//! does the work. Contract: the public page of each name.

use std::ffi::c_void;

use windows_sys::Win32::Foundation::{E_NOTIMPL, S_OK, WHV_E_INSUFFICIENT_BUFFER};
use windows_sys::Win32::System::Hypervisor::*;
use windows_sys::core::HRESULT;

use crate::partition::{self, find, lock};
use crate::result::{Hr, INVALID, Result};
use crate::script::script;
use crate::{capability, emulator, interrupt, registers, run, translate, vp};

/// Carries one call out, unless the script has it fail.
fn call(name: &str, work: impl FnOnce() -> Result<()>) -> HRESULT {
    let result = script().failure(name).map_or_else(work, Err);
    let Err(Hr(failure)) = result else { return S_OK };
    if script().trace {
        eprintln!("whp stand-in: {name} fails with {failure:#x}");
    }
    failure
}

/// A caller's buffer to be filled.
///
/// # Safety
/// `start` must be null or a place for `count` values that is the caller's alone.
unsafe fn fill<'a, T>(start: *mut T, count: u32) -> Result<&'a mut [T]> {
    if start.is_null() {
        return Err(INVALID);
    }
    // SAFETY: the caller vouches for it.
    Ok(unsafe { std::slice::from_raw_parts_mut(start, count as usize) })
}

/// A caller's values.
///
/// # Safety
/// `start` must be null or point to `count` values.
unsafe fn given<'a, T>(start: *const T, count: u32) -> Result<&'a [T]> {
    if start.is_null() {
        return Err(INVALID);
    }
    // SAFETY: the caller vouches for it.
    Ok(unsafe { std::slice::from_raw_parts(start, count as usize) })
}

/// Stores a result where the caller wants it, if it does.
///
/// # Safety
/// `place` must be null or a place for one value.
unsafe fn tell<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: the caller vouches for it.
        unsafe { place.write_unaligned(value) };
    }
}

macro_rules! export {
    ($name:ident($($argument:ident: $kind:ty),*) $work:block) => {
        #[doc = concat!("See the public page \"", stringify!($name), "\".")]
        ///
        /// # Safety
        /// Pointers are as that page says, and buffers as long as their sizes.
        #[unsafe(no_mangle)]
        pub unsafe extern "system" fn $name($($argument: $kind),*) -> HRESULT {
            call(stringify!($name), || $work)
        }
    };
}

export!(WHvGetCapability(code: i32, buffer: *mut c_void, size: u32, written: *mut u32) {
    // SAFETY: as the page says.
    let length = capability::get(code, unsafe { fill(buffer.cast(), size) }?)?;
    // SAFETY: as the page says.
    unsafe { tell(written, length as u32) };
    Ok(())
});

export!(WHvCreatePartition(partition: *mut isize) {
    // SAFETY: as the page says.
    let place = unsafe { fill(partition, 1) }?;
    // No page says which error this is where the feature is off.
    place[0] = if script().absent { Err(Hr(E_NOTIMPL)) } else { partition::create() }?;
    Ok(())
});

export!(WHvDeletePartition(partition: isize) {
    partition::delete(partition)
});

export!(WHvSetupPartition(partition: isize) {
    find(partition)?.set_up()
});

export!(WHvSetPartitionProperty(partition: isize, code: i32, buffer: *const c_void, size: u32) {
    let partition = find(partition)?;
    let late = partition.ready().is_ok();
    let mut properties = lock(&partition.properties);
    // SAFETY: as the page says.
    properties.set(code, unsafe { given(buffer.cast(), size) }?, late)?;
    if late { partition.apply_exits(&properties) } else { Ok(()) }
});

export!(WHvGetPartitionProperty(partition: isize, code: i32, buffer: *mut c_void, size: u32, written: *mut u32) {
    // SAFETY: as the page says.
    let length = lock(&find(partition)?.properties).get(code, unsafe { fill(buffer.cast(), size) }?)?;
    // SAFETY: as the page says.
    unsafe { tell(written, length as u32) };
    Ok(())
});

export!(WHvMapGpaRange(partition: isize, source: *const c_void, address: u64, size: u64, flags: i32) {
    let partition = find(partition)?;
    partition.ready()?;
    lock(&partition.memory).map(&partition.vm, source as u64, address, size, flags)
});

export!(WHvUnmapGpaRange(partition: isize, address: u64, size: u64) {
    let partition = find(partition)?;
    partition.ready()?;
    lock(&partition.memory).unmap(&partition.vm, address, size)
});

export!(WHvCreateVirtualProcessor(partition: isize, index: u32, flags: u32) {
    if flags == 0 { vp::create(&find(partition)?, index) } else { Err(INVALID) }
});

export!(WHvDeleteVirtualProcessor(partition: isize, index: u32) {
    vp::delete(&*find(partition)?, index)
});

export!(WHvRunVirtualProcessor(partition: isize, index: u32, context: *mut c_void, size: u32) {
    let partition = find(partition)?;
    let vp = partition.vp(index)?;
    if (size as usize) < size_of::<WHV_RUN_VP_EXIT_CONTEXT>() {
        return Err(Hr(WHV_E_INSUFFICIENT_BUFFER));
    }
    let exit = run::run(&partition, &vp)?;
    emulator::remember(&vp);
    // SAFETY: as the page says, and it is long enough.
    unsafe { tell(context.cast(), exit) };
    Ok(())
});

export!(WHvCancelRunVirtualProcessor(partition: isize, index: u32, flags: u32) {
    if flags != 0 {
        return Err(INVALID);
    }
    find(partition)?.vp(index)?.cancel();
    Ok(())
});

export!(WHvGetVirtualProcessorRegisters(
    partition: isize, index: u32, names: *const i32, count: u32, values: *mut WHV_REGISTER_VALUE
) {
    let vp = find(partition)?.vp(index)?;
    // SAFETY: as the page says.
    registers::get(&vp, unsafe { given(names, count) }?, unsafe { fill(values, count) }?)
});

export!(WHvSetVirtualProcessorRegisters(
    partition: isize, index: u32, names: *const i32, count: u32, values: *const WHV_REGISTER_VALUE
) {
    let vp = find(partition)?.vp(index)?;
    // SAFETY: as the page says.
    registers::set(&vp, unsafe { given(names, count) }?, unsafe { given(values, count) }?)
});

export!(WHvRequestInterrupt(partition: isize, interrupt: *const WHV_INTERRUPT_CONTROL, size: u32) {
    if (size as usize) < size_of::<WHV_INTERRUPT_CONTROL>() {
        return Err(INVALID);
    }
    // SAFETY: as the page says, and it is long enough.
    interrupt::request(&*find(partition)?, &unsafe { given(interrupt, 1) }?[0])
});

export!(WHvTranslateGva(
    partition: isize, index: u32, gva: u64, flags: i32, result: *mut WHV_TRANSLATE_GVA_RESULT, gpa: *mut u64
) {
    // KVM's walk knows no rights to check.
    let _ = flags;
    let (code, physical) = translate::gva(&*find(partition)?.vp(index)?, gva)?;
    // SAFETY: as the page says.
    unsafe { tell(result, WHV_TRANSLATE_GVA_RESULT { ResultCode: code, Reserved: 0 }) };
    // SAFETY: as the page says.
    unsafe { tell(gpa, physical) };
    Ok(())
});

export!(WHvGetPartitionCounters(partition: isize, set: i32, buffer: *mut c_void, size: u32, written: *mut u32) {
    let pages = lock(&find(partition)?.memory).pages();
    if set != WHvPartitionCounterSetMemory {
        return Err(INVALID);
    }
    let counters = WHV_PARTITION_MEMORY_COUNTERS { Mapped4KPageCount: pages, Mapped2MPageCount: 0, Mapped1GPageCount: 0 };
    if (size as usize) < size_of_val(&counters) {
        return Err(Hr(WHV_E_INSUFFICIENT_BUFFER));
    }
    // SAFETY: as the page says, and it is long enough.
    unsafe { tell(buffer.cast(), counters) };
    // SAFETY: as the page says.
    unsafe { tell(written, size_of_val(&counters) as u32) };
    Ok(())
});
