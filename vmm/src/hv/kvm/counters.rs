//! How often vCPUs left guest mode for this process, and why. Written by `vcpu`, read by `Machine::stats`; benches compare
//! them because, unlike times, they do not depend on the host's load.

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
    /// A signal, most often a kick.
    Interrupted,
    /// Memory that KVM could not reach.
    Fault,
    /// Anything else.
    Other,
}

const NAMES: [&str; 7] = ["mmio_read", "mmio_write", "pio_read", "pio_write", "interrupted", "fault", "other"];

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
