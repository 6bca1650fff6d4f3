//! Linux and macOS.

/// Unix sockets with peer checks.
pub mod endpoint;
/// Private directories and files, host memory.
pub mod files;
/// Sessions, signals, limits.
pub mod process;
/// Raw mode and window size.
pub mod terminal;
