//! The CPU seam: what a hypervisor must offer, and the one place that knows which engines exist on which system.
//! `machine` calls [`launch`], the daemon and `doctor` call [`choose`] and [`probe`]; `boot` and `vcpus` are written
//! against the traits alone.
//!
//! The seam is made to fit all three hypervisors: device accesses are callbacks because WHP's emulator calls back in
//! mid-instruction; a vCPU is made, run and dropped on one thread because HVF demands it; a kick is latched because the
//! target may not have entered the guest yet.

pub mod foreign;
/// Linux KVM.
#[cfg(target_os = "linux")]
pub mod kvm;

/// QEMU as a software CPU.
#[cfg(target_os = "linux")]
pub mod software;

/// The Windows Hypervisor Platform.
#[cfg(windows)]
pub mod whp;

mod choose;
mod seam;

pub use choose::{Chosen, NoEngine, Unusable, choose, offered, probe};
pub use seam::{DoorbellGuard, Exit, HvError, Hypervisor, IoBus, Vcpu, Vm};

use crate::config::EngineKind;
use crate::engine::{EngineParts, RunningEngine, StartError};

/// Engines that this build can offer at all, best first.
#[cfg(target_os = "linux")]
const CANDIDATES: &[EngineKind] = &[EngineKind::Kvm, EngineKind::Software];
/// Engines that this build can offer at all, best first.
#[cfg(windows)]
const CANDIDATES: &[EngineKind] = &[EngineKind::Whp];
/// Engines that this build can offer at all, best first.
#[cfg(target_os = "macos")]
const CANDIDATES: &[EngineKind] = &[EngineKind::Hvf];

/// Asks the backend itself; `None` means that this build has no such backend.
#[cfg(target_os = "linux")]
fn probe_backend(engine: EngineKind) -> Option<Result<(), Unusable>> {
    match engine {
        EngineKind::Kvm => Some(kvm::probe()),
        EngineKind::Software => Some(software::probe()),
        EngineKind::Whp | EngineKind::Hvf => None,
    }
}

/// Asks the backend itself; `None` means that this build has no such backend.
#[cfg(windows)]
fn probe_backend(engine: EngineKind) -> Option<Result<(), Unusable>> {
    (engine == EngineKind::Whp).then(whp::probe)
}

/// Asks the backend itself; `None` means that this build has no such backend.
#[cfg(not(any(target_os = "linux", windows)))]
fn probe_backend(_engine: EngineKind) -> Option<Result<(), Unusable>> {
    None
}

/// Starts `parts` on `engine`. Called inside a tokio runtime.
#[cfg(target_os = "linux")]
pub fn launch(engine: EngineKind, parts: EngineParts) -> Result<Box<dyn RunningEngine>, StartError> {
    match engine {
        EngineKind::Kvm => kvm::launch(parts),
        EngineKind::Software => software::launch(parts),
        EngineKind::Whp | EngineKind::Hvf => Err(Unusable::not_in_this_build(engine).into()),
    }
}

/// Starts `parts` on `engine`. Called inside a tokio runtime.
#[cfg(windows)]
pub fn launch(engine: EngineKind, parts: EngineParts) -> Result<Box<dyn RunningEngine>, StartError> {
    match engine {
        EngineKind::Whp => whp::launch(parts),
        EngineKind::Kvm | EngineKind::Software | EngineKind::Hvf => Err(Unusable::not_in_this_build(engine).into()),
    }
}

/// Starts `parts` on `engine`. Called inside a tokio runtime.
#[cfg(not(any(target_os = "linux", windows)))]
pub fn launch(engine: EngineKind, _parts: EngineParts) -> Result<Box<dyn RunningEngine>, StartError> {
    Err(Unusable::not_in_this_build(engine).into())
}
