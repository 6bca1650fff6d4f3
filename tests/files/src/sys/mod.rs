//! What needs the operating system's own interfaces: processes, users, mappings, record locks, and calls with arguments that no
//! safe interface passes on.

/// Processes and users.
pub mod child;
/// Record locks.
pub mod lock;
/// Files as memory.
pub mod mapping;
/// Lengths below zero.
pub mod odd;
