//! Windows.

/// Named pipes.
pub mod addresses;
pub mod endpoint;
/// Private directories and files.
pub mod files;
/// What `doctor` looks at.
pub mod host;
/// The Run key.
pub mod login;
/// Where names are resolved.
pub mod names;
/// Signals and limits.
pub mod process;
/// Console size.
pub mod terminal;
