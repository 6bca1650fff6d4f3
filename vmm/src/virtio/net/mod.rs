//! virtio-net (virtio 1.2 §5.1): Ethernet frames between the guest's network interface and the host's network stack. The
//! caller makes a pair with [`link`]: the machine gets [`Net`], the device; the stack keeps [`HostEnd`].
//!
//! `header` is bytes, `link` the two bounded queues between device and stack, `device` what a transport sees, `service` the
//! task that moves frames between rings and link. One queue pair and no control queue: there is nothing to filter on a link
//! with one station, and one pair is not what limits it.

mod device;
#[doc(hidden)]
pub mod header;
mod link;
mod service;
mod spares;
#[cfg(test)]
mod tests;

pub use device::Net;
pub use header::{Checksum, Offload, Segmentation, Version};
pub use link::{Accepts, Frame, FrameSender, GuestEnd, HostEnd, QUEUED_FRAMES, SendError, ends, link};
pub use spares::Spares;

/// Length of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Longest frame either way: an Ethernet header with a VLAN tag and the longest IP packet.
pub const LONGEST_FRAME: usize = ETHERNET + 4 + 65_535;
/// Largest MTU that a link may have: what Linux takes for a device with offloads is 65535, and a multiple of 8 less the
/// headers keeps TCP's segments aligned.
pub const LARGEST_MTU: u16 = 65_520;
