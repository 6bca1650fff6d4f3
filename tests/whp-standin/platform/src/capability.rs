//! What this system can do. Contract: WHvGetCapability (the page lists each capability's type). Features are those that the
//! stand-in has, not those that a Windows would have. Used by `exports`.

use windows_sys::Win32::Foundation::{WHV_E_INSUFFICIENT_BUFFER, WHV_E_UNKNOWN_CAPABILITY};
use windows_sys::Win32::System::Hypervisor::*;

use crate::kvm::{self, ask};
use crate::result::{Hr, Result};
use crate::script::script;

/// PartialUnmap, LocalApicEmulation.
const FEATURES: u64 = 0b11;
/// X64CpuidExit (by static results: see `cpuid`), X64MsrExit, X64ApicInitSipiExitTrap (see `startup`).
const EXITS: u64 = 1 | 1 << 1 | 1 << 6;
/// UnhandledMsrs.
const MSR_EXITS: u64 = 1;
/// HypervisorPresent, Hv1, VP run time, reference counter, hypercalls, VP index, reference TSC, frequencies.
const SYNTHETIC: u64 = 0xb8f;
/// KVM's local APICs count at 1 GHz.
const APIC_CLOCK: u64 = 1_000_000_000;

/// Copies a capability to a buffer; its size.
#[expect(non_upper_case_globals, reason = "Windows' names")]
pub fn get(code: i32, buffer: &mut [u8]) -> Result<usize> {
    let value: Vec<u8> = match code {
        WHvCapabilityCodeHypervisorPresent => i32::from(!script().absent && kvm::open().is_ok()).to_le_bytes().into(),
        _ if script().absent => return Err(Hr(WHV_E_UNKNOWN_CAPABILITY)),
        WHvCapabilityCodeFeatures => FEATURES.to_le_bytes().into(),
        WHvCapabilityCodeExtendedVmExits => EXITS.to_le_bytes().into(),
        WHvCapabilityCodeX64MsrExitBitmap => MSR_EXITS.to_le_bytes().into(),
        WHvCapabilityCodeExceptionExitBitmap => 0u64.to_le_bytes().into(),
        WHvCapabilityCodeProcessorVendor => vendor().to_le_bytes().into(),
        WHvCapabilityCodeProcessorClFlushSize => vec![6],
        WHvCapabilityCodeProcessorFeatures | WHvCapabilityCodeProcessorXsaveFeatures => 0u64.to_le_bytes().into(),
        WHvCapabilityCodeProcessorClockFrequency => clock()?.to_le_bytes().into(),
        WHvCapabilityCodeInterruptClockFrequency => APIC_CLOCK.to_le_bytes().into(),
        // A count of banks, four bytes of nothing, the banks. All of a processor's features come through CPUID here.
        WHvCapabilityCodeProcessorFeaturesBanks => banks(2, &[0, 0]),
        WHvCapabilityCodeSyntheticProcessorFeaturesBanks => banks(1, &[SYNTHETIC]),
        _ => return Err(Hr(WHV_E_UNKNOWN_CAPABILITY)),
    };
    buffer.get_mut(..value.len()).ok_or(Hr(WHV_E_INSUFFICIENT_BUFFER))?.copy_from_slice(&value);
    Ok(value.len())
}

fn banks(count: u32, banks: &[u64]) -> Vec<u8> {
    let head = count.to_le_bytes().into_iter().chain([0; 4]);
    head.chain(banks.iter().flat_map(|bank| bank.to_le_bytes())).collect()
}

/// AMD is 0, Intel 1.
fn vendor() -> i32 {
    let leaf = std::arch::x86_64::__cpuid(0);
    i32::from(leaf.ebx.to_le_bytes() == *b"Genu")
}

/// Cycles of the time stamp counter in a second, which only a processor tells.
fn clock() -> Result<u64> {
    let vm = kvm::open()?.create(ask::CREATE_VM, 0)?;
    let vcpu = vm.create(ask::CREATE_VCPU, 0)?;
    Ok(vcpu.control(ask::GET_TSC_KHZ, 0)? as u64 * 1000)
}
