//! Linux and macOS.

/// Unix sockets with peer checks.
pub mod addresses;
pub mod endpoint;
/// Private directories and files, host memory.
pub mod files;
/// What `doctor` looks at.
pub mod host;
/// Where names are resolved.
pub mod names;
/// Sessions, signals, limits.
pub mod process;
/// Raw mode and window size.
pub mod terminal;
