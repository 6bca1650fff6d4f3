//! Ports that Linux keeps for root, and ports in use. Called by `forward::bind`.

/// Whether to take a port although the system still remembers connections of a listener that is gone; `None` where that
/// would take it from somebody.
pub const REUSE: Option<bool> = Some(true);

/// How a user comes to listen on `port` when the system says no.
pub fn cure(port: u16) -> String {
    format!(
        "allow it by `echo net.ipv4.ip_unprivileged_port_start={port} | sudo tee /etc/sysctl.d/50-lighter.conf && sudo sysctl --system`, or choose a port from 1024 on"
    )
}
