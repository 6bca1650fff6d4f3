//! What needs the operating system's own address formats.

/// AF_VSOCK.
pub mod vsock;
/// Three ways to ask the kernel for a connection.
pub mod ways;
