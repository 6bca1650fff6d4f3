//! What host and guest promise each other: ports, paths, messages and frames. No operating-system calls, no async, so that
//! both sides and every test share one truth.
//!
//! A machine's conversation, in order:
//! 1. The agent dials [`ports::HELLO`] on the host and sends one [`Hello`] frame with the boot secret. The host answers
//!    with one [`Boot`] frame and the [`engine::Certificates`] frames that it announces, or closes if the secret is wrong.
//! 2. On the same connection the agent reports [`Event`] frames for as long as the machine lives.
//! 3. The host dials [`ports::CONTROL`] in the guest once per request: one [`Request`] frame, one [`Reply`] frame; after
//!    [`Reply::Stream`] both sides go on with [`wire::StreamFrame`]s.
//! 4. The host dials [`ports::DOCKER`] once per API connection: bytes to and from dockerd's own socket, each direction
//!    closed by itself.
//! 5. The agent dials [`ports::PUBLISH`] once per published port: one [`Publish`] frame with the boot secret, one
//!    [`Published`] frame. The host listens until the agent ends its side, and ends its own when it listens no more.

/// What dockerd has to know of the user's network.
pub mod engine;
/// Messages of the control channel.
pub mod message;
/// Guest paths and disk names that both sides must agree on.
pub mod paths;
/// vsock context ids and ports.
pub mod ports;
/// Messages about published ports.
pub mod publish;
/// Messages about changes in shared folders.
pub mod raise;
/// Frames on a byte stream: encoding and a decoder that trusts nothing.
pub mod wire;

pub use engine::{EngineSettings, Proxies};
pub use message::{Boot, Event, GuestInfo, Hello, LogSource, Network, Reply, Request, SharedFolder, Shell, VERSION};
pub use publish::{Port, Publish, Published, Transport};
pub use raise::{EntryKind, Outdated, Place, Raise, Raised};
