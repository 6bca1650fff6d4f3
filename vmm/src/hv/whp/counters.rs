//! How often vCPUs left guest mode for this process, and why. Written by `vcpu`, read by `Machine::stats`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reasons, in the order of [`NAMES`].
#[derive(Debug, Clone, Copy)]
pub enum Reason {
    /// A load from a device.
    MmioRead,
    /// A store to a device.
    MmioWrite,
    /// An `in`.
    PioRead,
    /// An `out`.
    PioWrite,
    /// Of those above: an instruction that needed the platform's emulator.
    Emulated,
    /// A CPUID leaf that is answered here.
    Cpuid,
    /// A model-specific register that the hypervisor does not know.
    Msr,
    /// The end of a level-triggered interrupt.
    ApicEoi,
    /// An INIT or a start.
    InitSipi,
    /// A run that was cancelled, most often by a kick.
    Interrupted,
    /// Anything else.
    Other,
}

const NAMES: [&str; 11] = [
    "mmio_read",
    "mmio_write",
    "pio_read",
    "pio_write",
    "emulated",
    "cpuid",
    "msr",
    "apic_eoi",
    "init_sipi",
    "interrupted",
    "other",
];

/// The counters of one machine.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; NAMES.len()]);

impl Counters {
    /// Counts one exit.
    pub fn count(&self, reason: Reason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// All of them by name.
    pub fn snapshot(&self) -> BTreeMap<&'static str, u64> {
        NAMES.into_iter().zip(self.0.iter().map(|counter| counter.load(Ordering::Relaxed))).collect()
    }
}
