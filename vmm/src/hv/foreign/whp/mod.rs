//! The Windows Hypervisor Platform: what its exits mean and how they are answered. Called by `hv::whp`.

#[cfg(target_arch = "x86_64")]
pub mod cpuid;
#[cfg(target_arch = "x86_64")]
pub mod decode;
#[cfg(target_arch = "x86_64")]
pub mod interrupt;
#[cfg(target_arch = "x86_64")]
pub mod msr;
pub mod refusal;
pub mod result;
#[cfg(target_arch = "x86_64")]
pub mod seats;

/// Frequencies that the hypervisor names and the guest asks for, in Hz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// Of the time stamp counter.
    pub tsc: u64,
    /// Of the timer of the local APIC.
    pub apic: u64,
}
