//! File system device (virtio 1.2 §5.11) with the FUSE server behind it: folders of the host, as the guest's own kernel sees
//! them.
//!
//! ```text
//!   device ── queues, threads ── server ── fuse::request, fuse::reply (bytes)
//!                                  │  ├─── nodes, handles, shares (what the guest knows)
//!                                  │  └─── mapping ── dax::Window (what it sees without asking)
//!                                  └────── host::HostFs ── sys::…_fs (one for each system)
//! ```

mod device;
mod errno;
pub mod events;
pub mod foreign;
pub mod fuse;
mod handles;
pub mod host;
mod name;
mod nodes;
pub mod ownership;
mod server;
mod shares;
pub mod watching;
mod worker;

pub use crate::sys::NativeFs;
pub use device::Fs;
pub use errno::Errno;
pub use name::Name;
pub use server::{Answer, Exchange, Limits, Server};
