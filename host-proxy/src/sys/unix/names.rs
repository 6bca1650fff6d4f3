//! The system's files by which names are resolved. Called by `daemon::lifecycle`, for the guest's name server.

use crate::net::NameFiles;

/// Where they are.
pub fn files() -> NameFiles {
    NameFiles { hosts: "/etc/hosts".into(), resolv_conf: "/etc/resolv.conf".into() }
}
