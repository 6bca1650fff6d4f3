//! Devices of the old PC that a guest cannot do without; everything else is virtio.

pub mod i8042;
pub mod rtc;
pub mod serial;
