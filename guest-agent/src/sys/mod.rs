//! The calls that rustix has no safe form for: vsock addresses, a child's own session, growing a mounted ext4,
//! a process's personality, signals as a descriptor. All `unsafe` of the agent is in this folder.
#![allow(unsafe_code)]

/// `EXT4_IOC_RESIZE_FS`. Called by `data_disk`.
pub mod ext4;
/// A child without address space randomisation. Called by `engine::dockerd`.
pub mod personality;
/// A child that leads its own session. Called by `control::shell`.
pub mod session;
/// Signals as a descriptor. Called by `docker_proxy`.
pub mod signals;
/// AF_VSOCK sockets. Called by `host`, `accept`, `publish` and `main`.
pub mod vsock;
