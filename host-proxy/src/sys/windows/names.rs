//! The system's files by which names are resolved. Windows keeps its name servers elsewhere, so that file never exists, and
//! the system's own resolver is asked. Called by `daemon::lifecycle`, for the guest's name server.

use std::path::PathBuf;

use crate::net::NameFiles;

/// Where they are.
pub fn files() -> NameFiles {
    let root = std::env::var_os("SystemRoot").map_or_else(|| PathBuf::from("C:\\Windows"), PathBuf::from);
    let folder = root.join("System32\\drivers\\etc");
    NameFiles { hosts: folder.join("hosts"), resolv_conf: folder.join("resolv.conf") }
}
