//! Windows.

/// Own addresses.
pub mod addresses;
/// Named pipes.
pub mod endpoint;
/// Private directories and files.
pub mod files;
/// What `doctor` looks at.
pub mod host;
/// Locks on files.
mod locks;
/// The Run key.
pub mod login;
/// Where names are resolved.
pub mod names;
/// Signals and limits.
pub mod process;
/// Who may use what is made here.
mod security;
/// Files with holes.
mod sparse;
/// Console size.
pub mod terminal;
