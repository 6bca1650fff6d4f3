//! Ports that Windows keeps for others, and ports in use. Called by `forward::bind`.

/// Whether to take a port although the system still remembers connections of a listener that is gone; `None` where that
/// would take it from somebody, as it does here.
pub const REUSE: Option<bool> = None;

/// How a user comes to listen on `port` when the system says no: nobody needs to be root, but ranges of ports are reserved.
pub fn cure(port: u16) -> String {
    format!(
        "another program has it for itself, or the system has reserved it (`netsh interface ipv4 show excludedportrange tcp`): choose another port than {port}"
    )
}
