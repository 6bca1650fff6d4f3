//! What differs by operating system, under the same names: endpoints, processes, private files, the terminal, starting at login. The only file
//! of this crate that asks which system it is built for. A power that a system lacks is an `Option`.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::{addresses, endpoint, files, host, names, process, terminal};

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::{addresses, endpoint, files, host, login, names, process, terminal};

/// How this host spells its paths.
#[cfg(unix)]
pub const HOST_KIND: crate::shares::spelling::HostKind = crate::shares::spelling::HostKind::Unix;
/// How this host spells its paths.
#[cfg(windows)]
pub const HOST_KIND: crate::shares::spelling::HostKind = crate::shares::spelling::HostKind::Windows;

/// Who starts things at login: systemd, and nobody where there is none.
#[cfg(all(unix, not(target_os = "macos")))]
#[path = "unix/systemd.rs"]
pub mod login;
/// Who starts things at login: launchd.
#[cfg(target_os = "macos")]
#[path = "unix/launchd.rs"]
pub mod login;

/// Freed memory and the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc;

/// Gives freed memory back to the system; `None` where the allocator does so by itself.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub const GIVE_BACK: Option<fn()> = Some(glibc::give_back);
/// Gives freed memory back to the system; `None` where the allocator does so by itself.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub const GIVE_BACK: Option<fn()> = None;

/// Tells when a file may have changed: by an event on Linux, by looking elsewhere.
#[cfg(target_os = "linux")]
#[path = "unix/inotify.rs"]
pub mod changes;
/// Tells when a file may have changed: by an event on Linux, by looking elsewhere.
#[cfg(not(target_os = "linux"))]
#[path = "portable/look.rs"]
pub mod changes;

/// Ports that the system keeps for root, and ports in use.
#[cfg(all(unix, not(target_os = "macos")))]
#[path = "unix/low_ports.rs"]
pub mod low_ports;
/// Ports that the system keeps for root, and ports in use.
#[cfg(target_os = "macos")]
#[path = "unix/low_ports_macos.rs"]
pub mod low_ports;
/// Ports that the system keeps for others, and ports in use.
#[cfg(windows)]
#[path = "windows/low_ports.rs"]
pub mod low_ports;
