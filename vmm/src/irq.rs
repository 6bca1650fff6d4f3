//! Interrupts as devices and interrupt chips see them: a line that can be pulsed, and a sink for message-signalled
//! interrupts. All lines are edge-triggered on every hypervisor.

/// One edge-triggered interrupt line.
pub trait IrqLine: Send + Sync {
    /// One edge. Never blocks; an edge on a masked line is remembered by the chip.
    fn pulse(&self);
}

/// A message-signalled interrupt as the guest programmed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Msi {
    /// Bus address (x86: 0xFEEx_xxxx with destination and mode).
    pub address: u64,
    /// Payload (x86: vector, delivery mode, trigger).
    pub data: u32,
}

/// Delivers messages to the vCPUs' local interrupt controllers.
pub trait MsiSink: Send + Sync {
    /// Delivers one message. A message to nobody is dropped, as on hardware.
    fn signal(&self, msi: Msi);
}
