//! The virtual machine monitor of `lighter`: a table of contents, and the front door [`Machine`].
//!
//! Data flows one way: `machine` builds memory and devices, hands both to an engine (`hv` + `virtio/mmio` for a real
//! hypervisor, `virtio/vhost_user` for QEMU as a software CPU), and gives the host side a [`VsockHandle`] to dial with.

/// What the caller asks for: CPUs, memory, kernel, disks.
pub mod config;
/// The initramfs archive.
pub mod cpio;
/// The one way to wake whoever serves a queue.
pub mod kick;
/// Guest RAM.
pub mod memory;
/// How often a warning that a guest can cause reaches the log.
mod rate_limit;
/// The virtio devices and their two transports.
pub mod virtio;

pub use config::{ConsoleSink, DiskConfig, EngineKind, MachineConfig};
