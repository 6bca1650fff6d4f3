//! virtio-vsock (virtio 1.2 §5.10): byte streams between host tasks and guest sockets. The machine gives [`Vsock`] to a
//! transport and [`VsockHandle`] to the host side.
//!
//! `packet` and `ring` are bytes, `credit`, `connection` (guest side) and `endpoint` (host side) one connection, `muxer` (guest
//! side), `strays` and `host` (host side) all of them; none of these knows a task or a queue. `service` moves packets between
//! rings and muxer, `spans` is its view of a chain, `handle` and `stream` are what the host's tasks hold.

#[doc(hidden)]
pub mod connection;
mod credit;
mod device;
#[doc(hidden)]
pub mod endpoint;
mod handle;
#[doc(hidden)]
pub mod host;
#[doc(hidden)]
pub mod muxer;
#[doc(hidden)]
pub mod packet;
mod ring;
mod service;
mod spans;
mod strays;
mod stream;
#[cfg(test)]
mod tests;

pub use device::Vsock;
pub use handle::{DialError, Incoming, VsockHandle};
pub use stream::GuestStream;
