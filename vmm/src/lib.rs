//! The virtual machine monitor of `lighter`: a table of contents, and the front door [`Machine`].
//!
//! Data flows one way: `machine` builds memory and devices, hands both to an engine (`hv` + `virtio/mmio` for a real
//! hypervisor, `virtio/vhost_user` for QEMU as a software CPU), and gives the host side a [`VsockHandle`] to dial with.

/// What differs by instruction set.
pub mod arch;
/// The boot recipe of hypervisors in this process.
pub mod boot;
/// Addresses to devices.
pub mod bus;
/// What the caller asks for: CPUs, memory, kernel, disks.
pub mod config;
/// The initramfs archive.
pub mod cpio;
/// Files of the host at addresses of the guest.
pub mod dax;
/// Devices of the old PC.
pub mod devices;
/// What an engine is: the parts that it gets, how it ends, what it counts.
pub mod engine;
/// The CPU seam and the choice of the engine.
pub mod hv;
/// Interrupt lines and messages.
pub mod irq;
/// The one way to wake whoever serves a queue.
pub mod kick;
/// The running VM.
pub mod machine;
/// Guest RAM.
pub mod memory;
/// How often a warning that a guest can cause reaches the log.
pub mod rate_limit;
/// Rows of slices of guest memory.
mod slices;
/// The first reason to end a machine.
pub mod stop;
/// What differs by operating system.
mod sys;
/// vCPU threads and their end.
pub mod vcpus;
/// The virtio devices and their two transports.
pub mod virtio;

pub use config::{ConsoleSink, DiskConfig, EngineKind, MachineConfig};
pub use engine::{StartError, Stats, Stop};
pub use machine::Machine;
