//! What differs by operating system, behind one face per need. The only module of this crate, besides `hv`, that may ask
//! which system it is built for.

/// A child process that cannot outlive us.
#[cfg(target_os = "linux")]
pub mod child;
/// Waiting for event descriptors.
#[cfg(target_os = "linux")]
pub mod event;
