//! The virtio-mmio transport, version 2 (virtio 1.2 §4.2): a register file in front of one [`VirtioDevice`]. Built by
//! `boot` for every in-process hypervisor; its registers are reached through the bus from vCPU threads.

mod interrupt;
mod registers;
mod status;
#[cfg(test)]
mod tests;
mod transport;

pub use transport::{Doorbells, MmioTransport, Place};
