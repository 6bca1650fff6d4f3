//! Windows binds no socket to an address that is not its own, so nobody has to ask for its table. Called by `net::reach`.

use std::net::IpAddr;

/// Whether packets to `address` end in this host: not told.
pub fn is_own(_address: IpAddr) -> Option<bool> {
    None
}
