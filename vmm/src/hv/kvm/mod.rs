//! Linux KVM as a hypervisor: local APICs in the kernel, everything else ours (split irqchip). Called by `hv` alone.
#![allow(unsafe_code)] // KVM takes raw guest memory and wakes vCPU threads by signals.

#[cfg(target_arch = "x86_64")]
mod counters;
#[cfg(target_arch = "x86_64")]
mod doorbell;
#[cfg(target_arch = "x86_64")]
mod fault;
#[cfg(target_arch = "x86_64")]
mod kernel_stats;
#[cfg(target_arch = "x86_64")]
mod probe;
#[cfg(target_arch = "x86_64")]
mod registers;
#[cfg(target_arch = "x86_64")]
mod seats;
#[cfg(target_arch = "x86_64")]
mod system;
#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vcpu;
#[cfg(target_arch = "x86_64")]
mod vm;

use super::Unusable;
use crate::engine::{EngineParts, RunningEngine, StartError};

/// Whether an ordinary guest can run here.
#[cfg(target_arch = "x86_64")]
pub fn probe() -> Result<(), Unusable> {
    probe::probe()
}

/// Starts `parts`.
#[cfg(target_arch = "x86_64")]
pub fn launch(parts: EngineParts) -> Result<Box<dyn RunningEngine>, StartError> {
    crate::boot::start(&system::Kvm::open()?, parts)
}

/// Whether an ordinary guest can run here: there is no backend for this kind of CPU yet.
#[cfg(not(target_arch = "x86_64"))]
pub fn probe() -> Result<(), Unusable> {
    Err(Unusable::not_in_this_build(crate::config::EngineKind::Kvm))
}

/// Starts `parts`: there is no backend for this kind of CPU yet.
#[cfg(not(target_arch = "x86_64"))]
pub fn launch(_parts: EngineParts) -> Result<Box<dyn RunningEngine>, StartError> {
    Err(Unusable::not_in_this_build(crate::config::EngineKind::Kvm).into())
}
