//! Windows.

/// Own addresses.
pub mod addresses;
/// Named pipes.
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
/// Who may use what is made here.
mod security;
/// Console size.
pub mod terminal;
