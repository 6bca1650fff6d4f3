//! vsock context ids and ports (virtio 1.2 §5.10). The host accepts guest-initiated connections to
//! [`HELLO`] and [`PUBLISH`] only.

/// The host's context id.
pub const HOST_CID: u64 = 2;
/// The guest's context id; one machine per device, so it need not be unique on the host.
pub const GUEST_CID: u64 = 3;
/// Guest → host: the agent's event channel, which begins with the boot secret.
pub const HELLO: u32 = 1024;
/// Host → guest: one control request per connection.
pub const CONTROL: u32 = 1025;
/// Host → guest: one connection to dockerd's socket.
pub const DOCKER: u32 = 1026;
/// Guest → host: one published port of a container, for as long as the connection lives; begins with the boot secret.
pub const PUBLISH: u32 = 1027;
