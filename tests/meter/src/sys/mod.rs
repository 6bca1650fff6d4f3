//! What needs the operating system's own address formats.

/// AF_VSOCK.
pub mod vsock;
