//! The Windows Hypervisor Platform as a hypervisor: local APICs in the hypervisor, everything else ours. Called by `hv` alone.
//!
//! ```text
//!   library ── api (functions, found at run time) ── system (is it usable) ── partition ── vm ── vcpu ── mmio, port ── emulator
//!                                                                                      │      └── registers
//!                                                                                      └── doorbell
//! ```
//! What exits mean and how they are answered is in `hv::foreign::whp`, where it is tested on every system.
#![allow(unsafe_code)] // The platform is a C interface that takes raw guest memory and calls back.
#![allow(non_upper_case_globals)] // Constants of the platform, in its own spelling, are patterns.

#[cfg(target_arch = "x86_64")]
mod api;
#[cfg(target_arch = "x86_64")]
mod counters;
#[cfg(target_arch = "x86_64")]
mod doorbell;
#[cfg(target_arch = "x86_64")]
mod emulator;
#[cfg(target_arch = "x86_64")]
mod library;
#[cfg(target_arch = "x86_64")]
mod mmio;
#[cfg(target_arch = "x86_64")]
mod partition;
#[cfg(target_arch = "x86_64")]
mod port;
#[cfg(target_arch = "x86_64")]
mod properties;
#[cfg(target_arch = "x86_64")]
mod registers;
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

/// Whether an ordinary guest can run here. A few milliseconds.
#[cfg(target_arch = "x86_64")]
pub fn probe() -> Result<(), Unusable> {
    system::Whp::open()?.try_out()
}

/// Starts `parts`.
#[cfg(target_arch = "x86_64")]
pub fn launch(parts: EngineParts) -> Result<Box<dyn RunningEngine>, StartError> {
    crate::boot::start(&system::Whp::open()?, parts)
}

/// Whether an ordinary guest can run here: there is no backend for this kind of CPU yet.
#[cfg(not(target_arch = "x86_64"))]
pub fn probe() -> Result<(), Unusable> {
    Err(Unusable::not_in_this_build(crate::config::EngineKind::Whp))
}

/// Starts `parts`: there is no backend for this kind of CPU yet.
#[cfg(not(target_arch = "x86_64"))]
pub fn launch(_parts: EngineParts) -> Result<Box<dyn RunningEngine>, StartError> {
    Err(Unusable::not_in_this_build(crate::config::EngineKind::Whp).into())
}
