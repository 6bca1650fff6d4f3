//! What needs the operating system's own address formats.

/// The first process of a machine.
pub mod machine;
/// AF_VSOCK.
pub mod vsock;
/// Three ways to ask the kernel for a connection.
pub mod ways;
