//! Machines on which the docker cases run against a real guest: `software` on this host, `kvm` inside an emulated machine
//! with a real `/dev/kvm`, `network` in a network namespace of its own; `wine`, where
//! Windows programs run; and `windows_guest`, Linux booted by one of those in the emulated machine.

pub mod connect_proxy;
pub mod kvm;
pub mod network;
pub mod outer;
pub mod registries;
pub mod servers;
pub mod software;
pub mod tools;
mod windows_desktop;
mod windows_desktop_docker;
pub mod windows_docker;
pub mod windows_guest;
mod windows_guest_says;
pub mod wine;
pub mod world;
