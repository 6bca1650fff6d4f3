//! x87 and SSE registers. Contract: WHV_X64_FP_CONTROL_STATUS_REGISTER, WHV_X64_XMM_CONTROL_STATUS_REGISTER. Pure; used by
//! `registers`.

use windows_sys::Win32::System::Hypervisor::*;

use super::zero;
use crate::kvm::Fpu;

fn words(low: u64, high: u64) -> WHV_REGISTER_VALUE {
    let mut value = zero();
    value.Reg128 = WHV_UINT128 { Anonymous: WHV_UINT128_0 { Low64: low, High64: high } };
    value
}

/// Reads by name.
#[expect(non_upper_case_globals, reason = "Windows' names")]
pub fn get(fpu: &Fpu, name: i32) -> WHV_REGISTER_VALUE {
    match name {
        WHvX64RegisterXmm0..=WHvX64RegisterXmm15 => {
            let [low, high] = fpu.xmm[(name - WHvX64RegisterXmm0) as usize];
            words(low, high)
        }
        WHvX64RegisterFpMmx0..=WHvX64RegisterFpMmx7 => {
            let raw = fpu.fpr[(name - WHvX64RegisterFpMmx0) as usize];
            words(raw as u64, (raw >> 64) as u64)
        }
        WHvX64RegisterFpControlStatus => {
            let low = u64::from(fpu.fcw)
                | u64::from(fpu.fsw) << 16
                | u64::from(fpu.ftwx) << 32
                | u64::from(fpu.last_opcode) << 48;
            words(low, fpu.last_ip)
        }
        // The mask of all bits that the control word has.
        _ => words(fpu.last_dp, u64::from(fpu.mxcsr) | 0xffff << 32),
    }
}

/// Writes by name.
#[expect(non_upper_case_globals, reason = "Windows' names")]
pub fn set(fpu: &mut Fpu, name: i32, value: &WHV_REGISTER_VALUE) {
    // SAFETY: any bits are two words.
    let WHV_UINT128_0 { Low64: low, High64: high } = unsafe { value.Reg128.Anonymous };
    match name {
        WHvX64RegisterXmm0..=WHvX64RegisterXmm15 => fpu.xmm[(name - WHvX64RegisterXmm0) as usize] = [low, high],
        WHvX64RegisterFpMmx0..=WHvX64RegisterFpMmx7 => {
            fpu.fpr[(name - WHvX64RegisterFpMmx0) as usize] = u128::from(low) | u128::from(high) << 64;
        }
        WHvX64RegisterFpControlStatus => {
            (fpu.fcw, fpu.fsw, fpu.ftwx) = (low as u16, (low >> 16) as u16, (low >> 32) as u8);
            (fpu.last_opcode, fpu.last_ip) = ((low >> 48) as u16, high);
        }
        _ => (fpu.last_dp, fpu.mxcsr) = (low, high as u32),
    }
}
