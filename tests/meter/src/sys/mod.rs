//! What needs the operating system's own address formats.

/// The first process of a machine.
pub mod machine;
/// Memory that is a file.
pub mod mapping;
/// AF_VSOCK.
pub mod vsock;
/// Three ways to ask the kernel for a connection.
pub mod ways;
