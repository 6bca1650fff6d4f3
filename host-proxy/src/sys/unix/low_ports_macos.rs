//! Ports that macOS keeps for root, and ports in use. Called by `forward::bind`.

/// Whether to take a port although the system still remembers connections of a listener that is gone; `None` where that
/// would take it from somebody.
pub const REUSE: Option<bool> = Some(true);

/// How a user comes to listen on `port` when the system says no: macOS lets everybody listen on every port, but only on all
/// addresses at once.
pub fn cure(port: u16) -> String {
    format!(
        "set `publish = \"as-asked\"` in config.toml, so that it is port {port} of all addresses, or choose a port from 1024 on"
    )
}
